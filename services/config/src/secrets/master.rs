//! Master keys: under which data keys are wrapped. They are never in the database.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tocsin_wire::Token;
use tocsin_wire::sealed::Zeroizing;

use super::SecretSettings;

/// Keys that may be live at once: the current one, and old ones until nothing is under them.
const MAX_KEYS: usize = 16;

/// One key with the name under which rows refer to it.
struct MasterKey {
    id: String,
    bytes: Zeroizing<[u8; 32]>,
}

/// All master keys, the current one first; never empty.
pub(crate) struct MasterKeys {
    current: MasterKey,
    older: Vec<MasterKey>,
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.ids()).finish()
    }
}

/// No master key can be used. No text holds one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MasterKeyError {
    /// Neither setting is there.
    #[error(
        "this server has no master key, so it stores no secrets; set MASTER_KEY_FILE or MASTER_KEYS \
         (`tocsin keys generate` makes a file)"
    )]
    Missing,
    /// The file cannot be read.
    #[error("cannot read MASTER_KEY_FILE {}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// An entry is no key.
    #[error(
        "master key number {number} is not \"id:base64\" with an id of a-z, 0-9, '_' and '-' and 32 bytes in base64"
    )]
    Malformed {
        /// From 1, blank lines and comments not counted.
        number: usize,
    },
    /// Two keys with one name, or too many.
    #[error("master key id {id} stands there twice")]
    Twice {
        /// Which.
        id: String,
    },
    /// More than [`MAX_KEYS`].
    #[error(
        "there are more than {MAX_KEYS} master keys; remove those that `tocsin secrets rotate-master` has emptied"
    )]
    TooMany,
    /// A row is under a key that is not there.
    #[error(
        "master key {id} is needed and not there; put it back until `tocsin secrets rotate-master` reports nothing left under it"
    )]
    Unknown {
        /// Which.
        id: String,
    },
}

impl MasterKeys {
    /// Reads `id:base64` entries, the current one first. Entries are separated by line ends or commas;
    /// a line that begins with `#` says nothing.
    pub(crate) fn parse(text: &str) -> Result<Self, MasterKeyError> {
        let entries = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        let mut keys: Vec<MasterKey> = Vec::new();
        for (entry, number) in entries.zip(1..) {
            let key = parse_entry(entry).ok_or(MasterKeyError::Malformed { number })?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(MasterKeyError::Twice { id: key.id });
            }
            if keys.len() >= MAX_KEYS {
                return Err(MasterKeyError::TooMany);
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let current = keys.next().ok_or(MasterKeyError::Missing)?;
        Ok(Self {
            current,
            older: keys.collect(),
        })
    }

    /// Id of the key for new values.
    pub(crate) fn current_id(&self) -> &str {
        &self.current.id
    }

    pub(super) fn current(&self) -> &[u8; 32] {
        &self.current.bytes
    }

    pub(super) fn find(&self, id: &str) -> Result<&[u8; 32], MasterKeyError> {
        let mut all = std::iter::once(&self.current).chain(&self.older);
        let found = all.find(|key| key.id == id);
        found
            .map(|key| &*key.bytes)
            .ok_or_else(|| MasterKeyError::Unknown { id: id.to_owned() })
    }

    /// Ids, the current one first.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.current)
            .chain(&self.older)
            .map(|key| key.id.as_str())
    }
}

fn parse_entry(entry: &str) -> Option<MasterKey> {
    let (id, key) = entry.split_once(':')?;
    let id = Token::new(id.trim()).ok()?.to_string();
    let decoded = Zeroizing::new(BASE64.decode(key.trim()).ok()?);
    let bytes = <[u8; 32]>::try_from(decoded.as_slice()).ok()?;
    Some(MasterKey {
        id,
        bytes: Zeroizing::new(bytes),
    })
}

/// Where master keys come from.
#[derive(Debug, Clone)]
pub(crate) enum Vault {
    /// Read each time: a key that is added to the file counts at once, in every process that reads it.
    File(PathBuf),
    /// From the environment, as they were at the start.
    Given(Arc<MasterKeys>),
    /// Secrets cannot be stored.
    Empty,
}

impl Vault {
    /// Checks what is set: wrong keys stop the service at its start, missing ones do not.
    pub(crate) fn new(settings: &SecretSettings) -> Result<Self, MasterKeyError> {
        if let Some(path) = &settings.master_key_file {
            let vault = Self::File(path.clone());
            vault.keys()?;
            return Ok(vault);
        }
        if settings.master_keys.is_empty() {
            return Ok(Self::Empty);
        }
        let mut list = Zeroizing::new(String::new());
        for entry in &settings.master_keys {
            list.push_str(entry.expose());
            list.push('\n');
        }
        Ok(Self::Given(Arc::new(MasterKeys::parse(&list)?)))
    }

    /// The keys as they are now. A file of a few lines on a local disk: not worth a thread.
    pub(crate) fn keys(&self) -> Result<Arc<MasterKeys>, MasterKeyError> {
        match self {
            Self::Empty => Err(MasterKeyError::Missing),
            Self::Given(keys) => Ok(Arc::clone(keys)),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| MasterKeyError::File {
                    path: path.clone(),
                    why: error.to_string(),
                })?;
                MasterKeys::parse(&Zeroizing::new(text)).map(Arc::new)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    const TWO: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

    #[test]
    fn the_first_is_current_and_broken_lists_are_refused_without_showing_a_key() {
        let keys = MasterKeys::parse(&format!("# kept\nm2:{TWO}\n\n m1 : {ONE} ")).expect("keys");
        assert_eq!(keys.current_id(), "m2");
        assert_eq!(keys.ids().collect::<Vec<_>>(), ["m2", "m1"]);
        assert_eq!(keys.find("m1"), Ok(&[1; 32]));
        assert!(keys.find("m3").is_err());
        assert_eq!(format!("{keys:?}"), r#"["m2", "m1"]"#);
        for (text, expected) in [
            ("", MasterKeyError::Missing),
            ("# nothing", MasterKeyError::Missing),
            (ONE, MasterKeyError::Malformed { number: 1 }),
            (
                &format!("m1:{ONE},M2:{TWO}"),
                MasterKeyError::Malformed { number: 2 },
            ),
            ("m1:AQEB", MasterKeyError::Malformed { number: 1 }),
            (
                &format!("m1:{ONE},m1:{TWO}"),
                MasterKeyError::Twice {
                    id: "m1".to_owned(),
                },
            ),
        ] {
            let refused = MasterKeys::parse(text).expect_err(text);
            assert_eq!(refused, expected, "{text}");
            assert!(!refused.to_string().contains("AQEB"), "{refused}");
        }
    }
}
