//! Sealing keys in the folder: `ingress.seal`, `agent-worker.seal` (pool `default`), and
//! `agent-worker-<pool>.seal` for each other pool.

use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use tocsin_wire::Pool;
use tocsin_wire::sealed::{Audience, SealingKeyRecord, SealingKeys, Zeroizing};

use super::{CLOCK_ALLOWANCE, KeyDirectory, KeyDirectoryError};

const ENDING: &str = ".seal";

impl KeyDirectory {
    /// Makes the sealing key of `audience` unless it is there; returns the file's name if it made it.
    pub fn init_sealing(
        &self,
        audience: &Audience,
        random: &mut dyn FnMut() -> [u8; 32],
    ) -> Result<Option<String>, KeyDirectoryError> {
        let name = file_name(audience);
        if self.file(&name).exists() {
            return Ok(None);
        }
        let keys = SealingKeys::new(audience.clone(), random());
        self.write(&name, &keys.to_file())?;
        Ok(Some(name))
    }

    /// Puts a new key before the ones of `audience`. The file keeps the old ones, to which secrets
    /// stay sealed until they are revoked.
    pub fn rotate_sealing(
        &self,
        audience: &Audience,
        seed: [u8; 32],
    ) -> Result<SealingKeys, KeyDirectoryError> {
        let name = file_name(audience);
        let keys = self.sealing_keys(&name)?.rotated(seed);
        // Written beside and renamed: a service may read it at this moment, and half a file is none.
        let fresh = format!("{name}.new");
        self.write(&fresh, &keys.to_file())?;
        fs::rename(self.file(&fresh), self.file(&name))
            .map_err(|source| self.files("rename", &fresh, source))?;
        Ok(keys)
    }

    /// A record for the newest sealing key of each audience in the folder, signed by the root.
    pub fn sealing_records(
        &self,
        now: Timestamp,
    ) -> Result<Vec<SealingKeyRecord>, KeyDirectoryError> {
        let root = self.root()?;
        let not_before = now
            .checked_sub(CLOCK_ALLOWANCE)
            .unwrap_or(Timestamp::UNIX_EPOCH);
        let listing = |source| self.files("list", "", source);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(listing)? {
            let name = entry.map_err(listing)?.file_name();
            names.extend(
                name.to_str()
                    .filter(|name| name.ends_with(ENDING))
                    .map(str::to_owned),
            );
        }
        names.sort();
        let mut records = Vec::new();
        for name in names {
            let keys = self.sealing_keys(&name)?;
            let audience = keys.audience().clone();
            records.extend(keys.newest().map(|key| {
                let public = key.public().clone();
                SealingKeyRecord::issue(&root, public, audience, not_before, None)
            }));
        }
        Ok(records)
    }

    /// The private sealing keys of `audience`.
    pub fn sealing_key_file(&self, audience: &Audience) -> PathBuf {
        self.file(&file_name(audience))
    }

    fn sealing_keys(&self, name: &str) -> Result<SealingKeys, KeyDirectoryError> {
        let text = Zeroizing::new(self.read(name)?);
        SealingKeys::from_file(&text).map_err(|source| KeyDirectoryError::SealingKey {
            path: self.file(name),
            source,
        })
    }
}

fn file_name(audience: &Audience) -> String {
    match audience {
        Audience::Worker(pool) if *pool != Pool::shared() => {
            format!("{}-{pool}{ENDING}", audience.service())
        }
        _ => format!("{}{ENDING}", audience.service()),
    }
}
