//! Who a service is: its NATS user key, its signing key, the root it trusts.

use std::fs;
use std::path::{Path, PathBuf};

use nkeys::KeyPair;
use tocsin_wire::signing::KeyError;
use tocsin_wire::{PublicKey, Service, SigningKey};

use crate::settings::BusSettings;

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file is not there or not ours to read.
    #[error("cannot read {}; make keys with `tocsin keys init`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{} does not hold a usable key", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// What was expected.
        #[source]
        source: KeyError,
    },
    /// A signing key of another service.
    #[error("{} is the key of {found}, not of {expected}", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// Whose key it is.
        found: Service,
        /// Whose it should be.
        expected: Service,
    },
    /// Not the seed of a NATS user key.
    #[error("{} is not the seed of a NATS user key (it starts with SU)", path.display())]
    UserKey {
        /// Which file.
        path: PathBuf,
    },
}

fn read(path: &Path) -> Result<String, IdentityError> {
    fs::read_to_string(path).map_err(|source| IdentityError::Read {
        path: path.to_owned(),
        source,
    })
}

pub(crate) fn signing_key(
    settings: &BusSettings,
    service: Service,
) -> Result<SigningKey, IdentityError> {
    let path = settings.signing_key_path(service);
    let key = SigningKey::from_file(&read(&path)?).map_err(|source| IdentityError::Broken {
        path: path.clone(),
        source,
    })?;
    if key.service() == service {
        Ok(key)
    } else {
        Err(IdentityError::Foreign {
            path,
            found: key.service(),
            expected: service,
        })
    }
}

pub(crate) fn root(settings: &BusSettings) -> Result<PublicKey, IdentityError> {
    let path = settings.signing_root_file.clone();
    read(&path)?
        .parse()
        .map_err(|source| IdentityError::Broken { path, source })
}

/// The seed is checked here, because the client would only say "authorization violation".
pub(crate) fn user_seed(
    settings: &BusSettings,
    service: Service,
) -> Result<Option<String>, IdentityError> {
    let Some(path) = settings.nkey_path(service) else {
        return Ok(None);
    };
    let seed = read(&path)?.trim().to_owned();
    let is_user = seed.starts_with("SU") && KeyPair::from_seed(&seed).is_ok();
    if is_user {
        Ok(Some(seed))
    } else {
        Err(IdentityError::UserKey { path })
    }
}

/// A new NATS user key.
pub struct UserKey {
    /// Secret: what the service holds.
    pub seed: String,
    /// What the server is told.
    pub public: String,
}

impl UserKey {
    /// From 32 random bytes; `None` when the key library refuses them.
    pub fn from_random(bytes: [u8; 32]) -> Option<Self> {
        let pair = KeyPair::new_from_raw(nkeys::KeyPairType::User, bytes).ok()?;
        Some(Self {
            seed: pair.seed().ok()?,
            public: pair.public_key(),
        })
    }
}
