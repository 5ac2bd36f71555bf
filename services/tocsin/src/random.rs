//! Random bytes from the system.

use ring::rand::{SecureRandom as _, SystemRandom};

use crate::error::CommandError;

/// 32 of them, for keys and ids.
pub(crate) fn bytes() -> Result<[u8; 32], CommandError> {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| CommandError::Random)?;
    Ok(bytes)
}

/// Upper-case letters and digits, as providers' ids look.
pub(crate) fn id(length: usize) -> Result<String, CommandError> {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let symbols = bytes()?
        .into_iter()
        .filter_map(|byte| ALPHABET.get(usize::from(byte) % 32));
    Ok(symbols
        .take(length)
        .map(|symbol| char::from(*symbol))
        .collect())
}
