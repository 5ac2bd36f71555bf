//! Refusals about sources as answers, and ingress's silence.

use std::time::Duration;

use http::StatusCode;
use tocsin_bus::AskError;
use tocsin_kit::{ErrorChain, Problem};

use crate::ingress::IngressError;
use crate::source::{Fault, SourceRefusal};

/// An ingress that restarts is back within seconds.
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let detail = fault.to_string();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, fault.code, detail).with("path", fault.path)
    }
}

impl From<SourceRefusal> for Problem {
    fn from(refusal: SourceRefusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            SourceRefusal::Unknown { .. } => Self::not_found("source_not_found", detail),
            SourceRefusal::UnknownSecret { .. } => {
                Self::not_found("source_secret_not_found", detail)
            }
            SourceRefusal::Taken { by, .. } => {
                Self::conflict("source_exists", detail).with("source_id", by.as_str())
            }
            SourceRefusal::Field(fault) => fault.into(),
            SourceRefusal::VersionConflict {
                expected, actual, ..
            } => Self::conflict("stale_version", detail)
                .with("expected_version", expected)
                .with("current_version", actual),
            SourceRefusal::LastSecret { .. } => Self::conflict("last_live_secret", detail),
            SourceRefusal::TooMany { .. } => Self::conflict("too_many_sources", detail),
            SourceRefusal::TooManySecrets { .. } => {
                Self::conflict("too_many_source_secrets", detail)
            }
            SourceRefusal::Owned { source_id, .. } => {
                Self::conflict("secret_of_source", detail).with("source_id", source_id.as_str())
            }
        }
    }
}

impl From<IngressError> for Problem {
    fn from(error: IngressError) -> Self {
        if let IngressError::Ask(AskError::Refused { code, detail, .. }) = &error
            && let Ok(status) = StatusCode::from_u16(*code)
            && status.is_client_error()
        {
            return Self::new(status, "ingress_refused", detail.clone());
        }
        tracing::debug!(error = %ErrorChain(&error), "ingress does not answer");
        Self::unavailable(
            "ingress_unavailable",
            "no ingress answers, and only ingress knows this; is one running and connected to NATS?",
            RETRY_AFTER,
        )
    }
}
