//! What a run shows to others to be let in: the operator's own tokens, or its team's.
//!
//! A team's config holds text with references, `${secret:name}`. They are resolved at each use, from
//! the bucket `secrets`, at the team and the nodes above it and nowhere else: what was replaced,
//! deleted or given to another audience counts at the next use. The value lives for that use alone.

use std::fmt;
use std::sync::Arc;

use tocsin_bus::{SecretError, SecretReader};
use tocsin_kit::Secret;
use tocsin_wire::sealed::{REFERENCE, Zeroizing};
use tocsin_wire::{OrgId, TeamId};

/// A text of a team's config that may be a secret, or refer to one. It never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Written(Arc<Zeroizing<String>>);

impl Written {
    /// As it stands in the config.
    pub fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// Whose secrets a run may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub org: OrgId,
    /// From the org to the team, as config says.
    pub line: Vec<TeamId>,
}

/// A text could not be resolved. No text of these holds a value.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error(
        "the team's config refers to secrets, and this worker opens none; set SEALING_KEY_FILE"
    )]
    NoKeys,
    #[error("the team's config refers to a secret")]
    Secret(#[source] SecretError),
}

impl CredentialError {
    /// Whether the same use may succeed later without anybody doing something.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Secret(error) if error.is_temporary())
    }
}

/// Shown to others at each use.
#[derive(Debug, Clone)]
pub enum Credential {
    /// The operator's, from the settings.
    Operator(Secret),
    /// The team's, from its config.
    Team {
        written: Written,
        owner: Arc<Owner>,
        /// `None`: this worker opens no secrets.
        secrets: Option<SecretReader>,
    },
}

impl Credential {
    /// The value, for one use.
    ///
    /// # Errors
    /// When a reference leads to nothing that this worker may open.
    pub async fn reveal(&self) -> Result<Zeroizing<String>, CredentialError> {
        match self {
            Self::Operator(secret) => Ok(Zeroizing::new(secret.expose().to_owned())),
            Self::Team {
                written,
                owner,
                secrets: Some(secrets),
            } => {
                let resolved = secrets.resolve(&owner.org, &owner.line, &written.0);
                resolved.await.map_err(CredentialError::Secret)
            }
            Self::Team { written, .. } if written.0.contains(REFERENCE) => {
                Err(CredentialError::NoKeys)
            }
            Self::Team { written, .. } => Ok(Zeroizing::new(written.0.to_string())),
        }
    }
}
