//! Secrets: values that config keeps for the rooms that use them, and that nobody reads back.
//!
//! * **At rest** each value is encrypted under a data key of its own, which is wrapped under a master
//!   key ([`envelope`], [`master`]). Only this room holds master keys.
//! * **Published** it is only sealed to the public keys of its one audience ([`publish`]).
//! * **Referenced** in configs as `${secret:name}` ([`usage`]); the config itself never holds it.
//!
//! A value comes in with one request and is decrypted only to be sealed; no answer, log line,
//! history row or message holds it.

pub(crate) mod envelope;
pub(crate) mod master;
pub(crate) mod publish;
pub(crate) mod usage;

use std::path::PathBuf;

use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use tocsin_kit::SecretList;
use tocsin_wire::sealed::{Audience, MAX_VALUE_BYTES, Zeroizing};
use tocsin_wire::{OrgId, SecretName};

use crate::node::NodeId;
use crate::pg::{StoredSecret, secret_refused};
use master::{MasterKeyError, Vault};

/// Secrets that one node may own: more are a mistake of a script.
pub(crate) const MAX_PER_NODE: i64 = 500;

/// Settings of this part.
#[derive(Clone, Debug, clap::Args)]
pub struct SecretSettings {
    /// File with the master keys under which secrets are stored, one `id:base64 of 32 bytes` per line,
    /// the current one first. Read anew when it is needed, so keys change without a restart.
    #[arg(long, env = "MASTER_KEY_FILE", value_name = "PATH")]
    pub master_key_file: Option<PathBuf>,

    /// The same as a comma-separated list, when there is no file. Without either, secrets cannot be
    /// stored.
    #[arg(
        long,
        env = "MASTER_KEYS",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub master_keys: SecretList,
}

/// A request about secrets that the rules do not allow. No text holds a value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretRefusal {
    /// Nothing to encrypt with, or to decrypt with.
    #[error(transparent)]
    Master(#[from] MasterKeyError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// A stored value does not open: the row was changed by somebody else than this program.
    #[error(
        "secret {name} of {node} in {org} does not open; set it anew: its row was changed, moved or put back"
    )]
    Tampered {
        org: OrgId,
        node: NodeId,
        name: SecretName,
    },
    /// No such secret at this node.
    #[error("node {node} of org {org} has no secret {name}")]
    Unknown {
        org: OrgId,
        node: NodeId,
        name: SecretName,
    },
    /// Empty, too long, or with a zero byte.
    #[error("value: must be 1 to {MAX_VALUE_BYTES} bytes of UTF-8 text without U+0000")]
    Value,
    /// Somebody else set it in between.
    #[error(
        "secret {name} is at version {actual}, not {expected}; look at it again and repeat the change"
    )]
    VersionConflict {
        name: SecretName,
        expected: u64,
        actual: u64,
    },
    /// A config that is to be saved refers to what is not there.
    #[error("{}", bad.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    References { bad: Vec<usage::BadReference> },
    /// Deleting it would leave references without a value.
    #[error(
        "secret {name} is used by {}; remove those references first, or delete with force=true",
        used_by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Referenced {
        name: SecretName,
        used_by: Vec<usage::Use>,
    },
    /// Too many.
    #[error("node {node} already has {MAX_PER_NODE} secrets; delete some that nothing uses")]
    TooMany { node: NodeId },
}

/// What is known of a secret besides its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretFacts {
    pub(crate) org: OrgId,
    pub(crate) node: NodeId,
    pub(crate) name: SecretName,
    pub(crate) version: u64,
    pub(crate) audience: Audience,
    pub(crate) master_key_id: String,
    pub(crate) updated_at: Timestamp,
    pub(crate) updated_by: String,
}

/// The value of a row, for sealing it or for a call on its owner's behalf; wiped when it is dropped.
/// A row that is older than its history says does not open either.
pub(crate) fn open(
    vault: &Vault,
    stored: &StoredSecret,
) -> Result<Zeroizing<Vec<u8>>, SecretRefusal> {
    let facts = &stored.facts;
    if stored.latest_version != facts.version {
        return Err(SecretRefusal::Tampered {
            org: facts.org.clone(),
            node: facts.node.clone(),
            name: facts.name.clone(),
        });
    }
    let keys = vault.keys()?;
    envelope::decrypt(&keys, &stored.place(), &stored.at_rest)
        .map_err(|error| secret_refused(error, facts))
}

/// Random bytes from the system, wiped when they are dropped.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, SecretRefusal> {
    let mut bytes = Zeroizing::new([0; N]);
    SystemRandom::new()
        .fill(bytes.as_mut_slice())
        .map_err(|_| SecretRefusal::Random)?;
    Ok(bytes)
}

/// A value that can be stored, sealed and used: text, because it ends in headers and environments.
pub(crate) fn check_value(value: &str) -> Result<(), SecretRefusal> {
    if value.trim().is_empty() || value.len() > MAX_VALUE_BYTES || value.contains('\0') {
        return Err(SecretRefusal::Value);
    }
    Ok(())
}
