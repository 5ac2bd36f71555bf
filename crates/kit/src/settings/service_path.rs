//! Files of which each service has its own.

use std::{convert::Infallible, fmt, path::PathBuf, str::FromStr};

/// What stands for the service's name.
const PLACEHOLDER: &str = "{service}";

/// A path in which `{service}` stands for the name of the service that reads it, so that one setting
/// serves several services in one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePath(String);

impl ServicePath {
    /// The path for that service.
    #[must_use]
    pub fn of(&self, service: &str) -> PathBuf {
        PathBuf::from(self.0.replace(PLACEHOLDER, service))
    }
}

impl FromStr for ServicePath {
    type Err = Infallible;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        Ok(Self(path.to_owned()))
    }
}

impl fmt::Display for ServicePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
