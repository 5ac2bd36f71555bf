//! Refusals about secrets as answers.

use std::time::Duration;

use http::StatusCode;
use tocsin_kit::Problem;

use crate::secrets::SecretRefusal;
use crate::secrets::master::MasterKeyError;

/// An operator adds a key file in about so long.
const RETRY_AFTER: Duration = Duration::from_secs(60);

impl From<SecretRefusal> for Problem {
    fn from(refusal: SecretRefusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            SecretRefusal::Master(MasterKeyError::Missing) => {
                Self::unavailable("master_key_not_configured", detail, RETRY_AFTER)
            }
            SecretRefusal::Master(error) => {
                tracing::error!(%error, "the master keys cannot be used");
                Self::unavailable("master_key_unusable", detail, RETRY_AFTER)
            }
            SecretRefusal::Random => {
                tracing::error!("the system gives no random bytes");
                Self::internal()
            }
            SecretRefusal::Tampered { .. } => {
                tracing::error!(%detail, "a stored secret does not open");
                Self::conflict("secret_damaged", detail)
            }
            SecretRefusal::Unknown { .. } => Self::not_found("secret_not_found", detail),
            SecretRefusal::Value => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_value", detail)
            }
            SecretRefusal::VersionConflict { actual, .. } => {
                Self::conflict("version_conflict", detail).with("current", actual)
            }
            SecretRefusal::References { bad } => {
                let errors = bad.iter().map(|one| serde_json::json!(one));
                let errors: serde_json::Value = errors.collect();
                Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "invalid_secret_reference",
                    detail,
                )
                .with("errors", errors)
            }
            SecretRefusal::Referenced { used_by, .. } => {
                let used_by = used_by.iter().map(|one| serde_json::json!(one));
                let used_by: serde_json::Value = used_by.collect();
                Self::conflict("secret_in_use", detail).with("used_by", used_by)
            }
            SecretRefusal::TooMany { .. } => Self::conflict("too_many_secrets", detail),
        }
    }
}
