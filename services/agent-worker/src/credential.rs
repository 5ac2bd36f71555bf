//! What a run shows to others to be let in: the operator's own tokens, or its team's.
//!
//! A team's config holds text with references, `${secret:name}`. They are resolved at each use, from
//! the bucket `secrets`, at the team and the nodes above it and nowhere else: what was replaced,
//! deleted or given to another audience counts at the next use. The value lives for that use alone.

use std::fmt;
use std::sync::Arc;

use tocsin_bus::{SecretError, SecretReader};
use tocsin_kit::Secret;
use tocsin_wire::sealed::{Piece, Zeroizing, pieces};
use tocsin_wire::{OrgId, SecretName, TeamId};

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
    #[error("a reference in the team's config is not of the form ${{secret:name}}")]
    Malformed,
    #[error("the team's config refers to secret {0}, and this worker has no SEALING_KEY_FILE")]
    NoKeys(SecretName),
    #[error("the team's config refers to secret {0}, and there is no record of the team")]
    NoOwner(SecretName),
    #[error("the team's config refers to secret {name}")]
    Secret {
        name: SecretName,
        #[source]
        source: SecretError,
    },
}

impl CredentialError {
    /// Whether the same use may succeed later without anybody doing something.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Secret { source, .. } if source.is_temporary())
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
        owner: Option<Arc<Owner>>,
        secrets: Option<SecretReader>,
    },
}

impl Credential {
    /// The value, for one use.
    ///
    /// # Errors
    /// When a reference leads to nothing that this worker may open.
    pub async fn reveal(&self) -> Result<Zeroizing<String>, CredentialError> {
        let (written, owner, secrets) = match self {
            Self::Operator(secret) => return Ok(Zeroizing::new(secret.expose().to_owned())),
            Self::Team {
                written,
                owner,
                secrets,
            } => (written, owner, secrets),
        };
        let mut text = Zeroizing::new(String::new());
        for piece in pieces(&written.0).ok_or(CredentialError::Malformed)? {
            let name = match piece {
                Piece::Text(plain) => {
                    append(&mut text, plain);
                    continue;
                }
                Piece::Secret(name) => name,
            };
            let (Some(secrets), Some(owner)) = (secrets, owner) else {
                return Err(match secrets {
                    None => CredentialError::NoKeys(name),
                    Some(_) => CredentialError::NoOwner(name),
                });
            };
            let value = secrets.read(&owner.org, &owner.line, &name).await;
            let value = value.map_err(|source| CredentialError::Secret { name, source })?;
            append(&mut text, &value);
        }
        Ok(text)
    }
}

/// Growing a string leaves its old bytes behind; these are wiped.
fn append(text: &mut Zeroizing<String>, more: &str) {
    if text.capacity() - text.len() < more.len() {
        let mut grown = Zeroizing::new(String::with_capacity(text.len() + more.len()));
        grown.push_str(text);
        std::mem::swap(text, &mut grown);
    }
    text.push_str(more);
}
