//! Sources as records.

use tocsin_wire::proto::{SourceRecord, SourceSecret};
use tocsin_wire::time;

use super::PublishingError;
use crate::source::Source;

/// What ingress reads of a source: everything but the values of its secrets, which it opens itself.
pub(super) fn source_record(source: &Source) -> Result<SourceRecord, PublishingError> {
    let settings =
        serde_json::to_vec(&source.settings).map_err(|error| PublishingError::EncodeSource {
            id: source.id.clone(),
            source: error,
        })?;
    let mut secrets = Vec::with_capacity(source.secrets.len());
    for secret in &source.secrets {
        let name = source.id.secret_name(secret.number);
        secrets.push(SourceSecret {
            id: secret.number.to_string(),
            name: name.map_err(PublishingError::SecretName)?.to_string(),
            version: secret.version,
            not_before: secret.not_before.map(time::to_proto),
            expires: secret.expires.map(time::to_proto),
        });
    }
    Ok(SourceRecord {
        id: source.id.to_string(),
        org: source.org.to_string(),
        provider: source.provider.clone(),
        name: source.name.clone(),
        disabled: source.disabled,
        settings: settings.into(),
        secrets,
        version: source.version,
    })
}
