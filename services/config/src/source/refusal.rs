//! Why a request about a source is refused. No text holds a secret.

use tocsin_wire::{OrgId, SecretName};

use super::secret::MAX_SECRETS;
use super::{MAX_PER_ORG, SourceId};

/// One field of a request that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {rule}")]
pub(crate) struct Fault {
    /// Stable: `snake_case`.
    pub(crate) code: &'static str,
    /// Where in the body: `settings.allowed_addresses.2`.
    pub(crate) path: String,
    /// What it must be.
    pub(crate) rule: String,
}

impl Fault {
    pub(crate) fn new(
        code: &'static str,
        path: impl Into<String>,
        rule: impl Into<String>,
    ) -> Self {
        Self {
            code,
            path: path.into(),
            rule: rule.into(),
        }
    }
}

/// A request about a source that the rules do not allow.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceRefusal {
    /// No such source in this org.
    #[error("org {org} has no source {id}")]
    Unknown {
        org: OrgId,
        /// As it was given.
        id: String,
    },
    /// No such secret of this source.
    #[error("source {id} has no secret {number}; its list shows those it has")]
    UnknownSecret { id: SourceId, number: u32 },
    /// Another source has the name.
    #[error(
        "source {by} of {provider} is named {name:?} already; choose another name, or change that one"
    )]
    Taken {
        provider: String,
        name: String,
        by: SourceId,
    },
    /// A field breaks a rule.
    #[error(transparent)]
    Field(#[from] Fault),
    /// Somebody else wrote in between.
    #[error(
        "source {id} is at version {actual}, not {expected}; read it again and repeat the change"
    )]
    VersionConflict {
        id: SourceId,
        expected: u64,
        actual: u64,
    },
    /// Nothing that its sender sends could be verified any more.
    #[error(
        "secret {number} is the only one of source {id} that counts now; add another first, or disable the source"
    )]
    LastSecret { id: SourceId, number: u32 },
    /// Too many sources.
    #[error("org {org} already has {MAX_PER_ORG} sources; delete some that nobody sends to")]
    TooMany { org: OrgId },
    /// Too many secrets.
    #[error(
        "source {id} already has {MAX_SECRETS} secrets that count or will count; remove some first"
    )]
    TooManySecrets { id: SourceId },
    /// A value of a source, asked for as an ordinary secret.
    #[error(
        "secret {name} belongs to source {source_id}; add and remove its secrets at that source"
    )]
    Owned {
        name: SecretName,
        source_id: SourceId,
    },
}
