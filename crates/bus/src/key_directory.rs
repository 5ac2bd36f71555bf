//! The keys of one installation in one folder, as `tocsin keys init` makes them.
//!
//! ```text
//! root.key           the operator's root, secret; needed only to issue and revoke
//! root.pub           its public half: every service pins it (SIGNING_ROOT_FILE)
//! <service>.key      private signing key (SIGNING_KEY_FILE)
//! <service>.nk       seed of the NATS user key, secret (NATS_NKEY_FILE)
//! <service>.nkpub    its public half: the server's environment takes it
//! <service>.seal     private sealing keys (SEALING_KEY_FILE), of the rooms that open secrets
//! ```

mod sealing;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tocsin_wire::permissions::user_key_variable;
use tocsin_wire::sealed::{Audience, SealingKeyError};
use tocsin_wire::signing::KeyError;
use tocsin_wire::{KeyRecord, Service, SigningKey};

use crate::identity::UserKey;
use crate::settings::BusSettings;

/// How far a server's clock may be behind ours without refusing a new key's first messages.
const CLOCK_ALLOWANCE: Duration = Duration::from_secs(300);

/// A folder of keys.
#[derive(Debug, Clone)]
pub struct KeyDirectory {
    path: PathBuf,
}

/// Why keys were not made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyDirectoryError {
    /// The file system said no.
    #[error("cannot {operation} {}", path.display())]
    Files {
        /// read, write, create.
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key file holds something else.
    #[error("{} does not hold a usable key", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What was expected.
        #[source]
        source: KeyError,
    },
    /// A sealing key file holds something else.
    #[error("{} does not hold usable sealing keys", path.display())]
    SealingKey {
        /// Which file.
        path: PathBuf,
        /// What was expected.
        #[source]
        source: SealingKeyError,
    },
    /// The NATS key library refused the random bytes.
    #[error("cannot make a NATS user key")]
    UserKey,
}

impl KeyDirectory {
    /// Opens a folder, without reading it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Makes whatever key is missing; returns the names of the files it made.
    pub fn init(
        &self,
        random: &mut dyn FnMut() -> [u8; 32],
    ) -> Result<Vec<String>, KeyDirectoryError> {
        fs::create_dir_all(&self.path).map_err(|source| self.files("create", "", source))?;
        let mut made = Vec::new();
        if !self.file("root.key").exists() {
            let root = self.generated("root.key", Service::Operator, random())?;
            self.write("root.pub", &format!("{}\n", root.public()))?;
            made.extend(["root.key".to_owned(), "root.pub".to_owned()]);
        }
        for service in Service::ALL {
            let name = format!("{service}.key");
            if !self.file(&name).exists() {
                self.generated(&name, service, random())?;
                made.push(name);
            }
            let name = format!("{service}.nk");
            if !self.file(&name).exists() {
                let user = UserKey::from_random(random()).ok_or(KeyDirectoryError::UserKey)?;
                self.write(&name, &format!("{}\n", user.seed))?;
                self.write(&format!("{service}.nkpub"), &format!("{}\n", user.public))?;
                made.push(name);
            }
        }
        for audience in [Audience::Ingress, Audience::default()] {
            made.extend(self.init_sealing(&audience, random)?);
        }
        Ok(made)
    }

    /// Replaces the signing key of `service` by a new one; the old file keeps its content under
    /// `<service>.key.previous`, for messages that are already signed nothing changes.
    pub fn rotate(
        &self,
        service: Service,
        seed: [u8; 32],
    ) -> Result<SigningKey, KeyDirectoryError> {
        let name = format!("{service}.key");
        let previous = self.file(&format!("{name}.previous"));
        fs::rename(self.file(&name), &previous)
            .map_err(|source| self.files("rename", &name, source))?;
        self.generated(&name, service, seed)
    }

    /// The root's private key.
    pub fn root(&self) -> Result<SigningKey, KeyDirectoryError> {
        self.signing_key("root.key")
    }

    /// A record for the current key of every service, signed by the root.
    pub fn records(&self, now: Timestamp) -> Result<Vec<KeyRecord>, KeyDirectoryError> {
        let root = self.root()?;
        let not_before = now
            .checked_sub(CLOCK_ALLOWANCE)
            .unwrap_or(Timestamp::UNIX_EPOCH);
        let issue = |service: Service| {
            let key = self.signing_key(&format!("{service}.key"))?;
            Ok(KeyRecord::issue(
                &root,
                key.public(),
                service,
                not_before,
                None,
                None,
            ))
        };
        Service::ALL.into_iter().map(issue).collect()
    }

    /// File with the seed of a service's NATS user key.
    pub fn user_seed(&self, service: Service) -> PathBuf {
        self.file(&format!("{service}.nk"))
    }

    /// What the server's environment needs so that `accounts.conf` finds the user keys.
    pub fn server_environment(&self) -> Result<Vec<(String, String)>, KeyDirectoryError> {
        let variable = |service: Service| {
            let public = self.read(&format!("{service}.nkpub"))?;
            Ok((user_key_variable(service), public.trim().to_owned()))
        };
        Service::ALL.into_iter().map(variable).collect()
    }

    /// Settings that use this folder.
    pub fn settings(&self, nats_url: &str) -> BusSettings {
        let path = |name: &str| self.file(name).display().to_string();
        BusSettings {
            nats_url: nats_url.to_owned(),
            nats_nkey_file: Some(path("{service}.nk")),
            nats_creds: None,
            nats_ca_file: None,
            nats_cert_file: None,
            nats_cert_key_file: None,
            signing_key_file: path("{service}.key"),
            signing_root_file: self.file("root.pub"),
            declare_streams: false,
            nats_replicas: 1,
            stream_size_factor: 1,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn files(
        &self,
        operation: &'static str,
        name: &str,
        source: std::io::Error,
    ) -> KeyDirectoryError {
        KeyDirectoryError::Files {
            operation,
            path: self.file(name),
            source,
        }
    }

    fn read(&self, name: &str) -> Result<String, KeyDirectoryError> {
        fs::read_to_string(self.file(name)).map_err(|source| self.files("read", name, source))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), KeyDirectoryError> {
        write_private(&self.file(name), text).map_err(|source| self.files("write", name, source))
    }

    fn signing_key(&self, name: &str) -> Result<SigningKey, KeyDirectoryError> {
        SigningKey::from_file(&self.read(name)?).map_err(|source| KeyDirectoryError::Key {
            path: self.file(name),
            source,
        })
    }

    fn generated(
        &self,
        name: &str,
        service: Service,
        seed: [u8; 32],
    ) -> Result<SigningKey, KeyDirectoryError> {
        let key = SigningKey::from_seed(service, seed);
        self.write(name, &key.to_file())?;
        Ok(key)
    }
}

/// Readable by the owner alone, from the first byte on.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)?.write_all(text.as_bytes())
}
