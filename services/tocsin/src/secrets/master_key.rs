//! The file of master keys: `id:base64` lines, the current one first.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tocsin_wire::sealed::Zeroizing;

use crate::error::CommandError;
use crate::random;

/// Name in a folder of keys.
const FILE: &str = "master.keys";

/// Makes the file with a first key unless it is there; returns its name if it made it.
pub(crate) fn init(folder: &Path, key: [u8; 32]) -> Result<Option<String>, CommandError> {
    let path = folder.join(FILE);
    if path.exists() {
        return Ok(None);
    }
    write(&path, &Zeroizing::new(entry("m1", key)))?;
    Ok(Some(FILE.to_owned()))
}

/// Puts a new key before the others; returns its id.
pub(crate) fn add(path: &Path) -> Result<String, CommandError> {
    let old = fs::read_to_string(path).map_err(|source| CommandError::Files {
        operation: format!("read {}", path.display()),
        source,
    })?;
    let old = Zeroizing::new(old);
    let id = next_id(&old);
    let new = Zeroizing::new(entry(&id, random::bytes()?));
    let text = Zeroizing::new(format!("{}{}", new.as_str(), old.as_str()));
    // Written beside and renamed: config may read it at this moment, and half a file is none.
    let fresh = path.with_extension("new");
    write(&fresh, &text)?;
    fs::rename(&fresh, path).map_err(|source| CommandError::Files {
        operation: format!("replace {}", path.display()),
        source,
    })?;
    Ok(id)
}

/// `m1`, `m2`, …: one more than the highest.
fn next_id(text: &str) -> String {
    let numbers = text
        .split(['\n', ','])
        .filter_map(|entry| entry.trim().strip_prefix('m')?.split_once(':'))
        .filter_map(|(number, _)| number.parse::<u32>().ok());
    format!("m{}", numbers.max().unwrap_or(0).saturating_add(1))
}

fn entry(id: &str, key: [u8; 32]) -> String {
    let key = Zeroizing::new(key);
    let encoded = Zeroizing::new(BASE64.encode(key.as_slice()));
    format!("{id}:{}\n", encoded.as_str())
}

/// Readable by the owner alone, from the first byte on.
fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| CommandError::Files {
        operation: format!("write {}", path.display()),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_on() {
        for (text, expected) in [
            ("", "m1"),
            ("m1:AAAA\n", "m2"),
            ("m9:AAAA\nm10:AAAA\n# m99:old\n", "m11"),
            ("prod:AAAA,m3:AAAA", "m4"),
        ] {
            assert_eq!(next_id(text), expected, "{text}");
        }
    }
}
