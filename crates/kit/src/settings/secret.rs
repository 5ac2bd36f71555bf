//! Values that must not be printed.

use std::{fmt, str::FromStr};

use secrecy::{ExposeSecret, SecretString};

/// What every secret prints as.
const MASK: &str = "***";

/// One secret. Wiped from memory when dropped; prints as `***`.
#[derive(Clone)]
pub struct Secret(SecretString);

/// A secret that is set must not be empty: an empty key verifies anything.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a secret must not be empty: set it to the secret's value, or leave it out")]
pub struct EmptySecret;

impl Secret {
    /// Takes the value as it is.
    ///
    /// # Errors
    /// When it is empty or only white space.
    pub fn new(value: impl Into<String>) -> Result<Self, EmptySecret> {
        let value = value.into();
        if value.trim().is_empty() {
            return Err(EmptySecret);
        }
        Ok(Self(SecretString::from(value)))
    }

    /// The value itself. Do not keep, log or format it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl FromStr for Secret {
    type Err = EmptySecret;

    /// Surrounding white space is dropped: it comes from files and shells, not from the secret.
    fn from_str(value: &str) -> Result<Self, Self::Err> {
        Self::new(value.trim())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MASK)
    }
}

/// Several secrets that are valid at once, so that one can be rotated without a pause. Written
/// comma-separated; entries are trimmed and empty ones dropped. May be empty.
#[derive(Clone, Default)]
pub struct SecretList(Vec<Secret>);

impl SecretList {
    pub fn iter(&self) -> std::slice::Iter<'_, Secret> {
        self.0.iter()
    }

    /// The newest secret, with which to sign: the first of the list.
    #[must_use]
    pub fn first(&self) -> Option<&Secret> {
        self.0.first()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<'a> IntoIterator for &'a SecretList {
    type Item = &'a Secret;
    type IntoIter = std::slice::Iter<'a, Secret>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<Secret> for SecretList {
    fn from_iter<I: IntoIterator<Item = Secret>>(secrets: I) -> Self {
        Self(secrets.into_iter().collect())
    }
}

impl FromStr for SecretList {
    type Err = std::convert::Infallible;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        // An entry that is no secret is an empty one, which the list drops.
        Ok(list
            .split(',')
            .filter_map(|entry| entry.parse().ok())
            .collect())
    }
}

impl fmt::Debug for SecretList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{MASK} ({})", self.0.len())
    }
}

impl fmt::Display for SecretList {
    /// Prints nothing for an empty list, so that it can be a default value in `--help`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_empty() { "" } else { MASK })
    }
}
