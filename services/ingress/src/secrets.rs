//! Secrets of sources: opened with the keys of this room, at the moment a delivery is verified.
//!
//! A secret whose audience is not `ingress` cannot even be asked for here: the server refuses it, and
//! it is sealed to another key.

use tocsin_bus::{Bus, SecretError, SecretReader};
use tocsin_kit::settings::ServicePath;
use tocsin_wire::sealed::{Audience, Zeroizing};
use tocsin_wire::{OrgId, SecretName, Service, TeamId};

/// Opens secrets for the audience `ingress`. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SourceSecrets(SecretReader);

impl SourceSecrets {
    /// With the private keys in SEALING_KEY_FILE.
    ///
    /// # Errors
    /// When the file is not there, or holds the keys of somebody else.
    pub fn new(bus: &Bus, key_file: &ServicePath) -> Result<Self, SecretError> {
        let path = key_file.of(Service::Ingress.name());
        SecretReader::new(bus, Audience::Ingress, path).map(Self)
    }

    /// The value of `name` at the last node of `line` (root first). Wiped from memory when it is dropped.
    ///
    /// # Errors
    /// When there is none that this room may open; the error names it.
    pub async fn read(
        &self,
        org: &OrgId,
        line: &[TeamId],
        name: &SecretName,
    ) -> Result<Zeroizing<String>, SecretError> {
        self.0.read(org, line, name).await
    }
}
