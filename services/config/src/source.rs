//! Sources: one sender of an org, with a URL, secrets and limits of its own. Pure.
//!
//! The values of its secrets are secrets of the org's own node, for ingress, under names that only this
//! module makes ([`SourceId::secret_name`]): sealed and moved under new master keys as all others, and
//! changed only together with their source.

mod pick;
mod refusal;
mod secret;
mod settings;

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use tocsin_wire::source::{SourceProvider, SourceSettings};
use tocsin_wire::{InvalidToken, OrgId, SecretName};

use crate::decide::Author;

pub(crate) use refusal::{Fault, SourceRefusal};
pub(crate) use secret::{
    DEFAULT_OLD_EXPIRES_IN_SECONDS, Rotation, SecretState, SourceSecret, check_secret,
    generated_secret,
};
pub(crate) use settings::{check_settings, read_settings, unknown_team};

/// Sources that one org may have: more are a mistake of a script.
pub(crate) const MAX_PER_ORG: usize = 500;
/// Longest name of a source.
pub(crate) const MAX_NAME_CHARS: usize = 63;

const ID_PREFIX: &str = "src_";
/// Hex digits after the prefix: 96 bits, so that nobody guesses a URL.
const ID_DIGITS: usize = 24;
/// Bytes of randomness in an id.
pub(crate) const ID_BYTES: usize = ID_DIGITS / 2;

/// `src_` and 24 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub(crate) struct SourceId(String);

impl SourceId {
    /// The id that these random bytes make.
    pub(crate) fn from_random(bytes: &[u8; ID_BYTES]) -> Self {
        Self(format!("{ID_PREFIX}{}", tocsin_wire::signing::hex(bytes)))
    }

    /// `None` when the text is no such id.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(ID_PREFIX)?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (digits.len() == ID_DIGITS && digits.bytes().all(is_hex)).then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Name of the org's secret that holds the value of one of this source's secrets.
    pub(crate) fn secret_name(&self, number: u32) -> Result<SecretName, InvalidToken> {
        SecretName::new(format!("source-{self}-{number}"))
    }

    /// The source whose secret has this name; `None` for the names of all other secrets.
    pub(crate) fn owning(name: &SecretName) -> Option<Self> {
        let (id, number) = name.as_str().strip_prefix("source-")?.rsplit_once('-')?;
        number.parse::<u32>().ok()?;
        Self::parse(id)
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A source as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Source {
    pub(crate) id: SourceId,
    pub(crate) org: OrgId,
    /// Name of a [`SourceProvider`].
    pub(crate) provider: String,
    /// For people; unique per org and provider.
    pub(crate) name: String,
    pub(crate) disabled: bool,
    pub(crate) settings: SourceSettings,
    /// By number.
    pub(crate) secrets: Vec<SourceSecret>,
    /// Number of the newest secret that it ever had.
    pub(crate) last_secret: u32,
    pub(crate) version: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) created_by: String,
    pub(crate) updated_at: Timestamp,
    pub(crate) updated_by: String,
}

/// What is to be different; `None`: as it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceChange {
    pub(crate) name: Option<String>,
    pub(crate) settings: Option<SourceSettings>,
    pub(crate) disabled: Option<bool>,
}

impl Source {
    /// Below ingress: where its sender posts to.
    pub(crate) fn path(&self) -> String {
        format!("/webhooks/{}/{}", self.provider, self.id)
    }

    /// The source after a change; itself when nothing is different.
    pub(crate) fn changed(&self, change: &SourceChange, author: &Author) -> Self {
        let mut after = self.clone();
        if let Some(name) = &change.name {
            after.name.clone_from(name);
        }
        if let Some(settings) = &change.settings {
            after.settings.clone_from(settings);
        }
        after.disabled = change.disabled.unwrap_or(after.disabled);
        if after != *self {
            after.touch(author);
        }
        after
    }

    /// Its next version.
    pub(crate) fn touch(&mut self, author: &Author) {
        self.version += 1;
        self.updated_at = author.at;
        self.updated_by.clone_from(&author.by);
    }

    /// Refuses when somebody else wrote in between.
    pub(crate) fn must_be_at(&self, expected: Option<u64>) -> Result<(), SourceRefusal> {
        match expected {
            Some(expected) if expected != self.version => Err(SourceRefusal::VersionConflict {
                id: self.id.clone(),
                expected,
                actual: self.version,
            }),
            _ => Ok(()),
        }
    }
}

/// The provider with this name.
pub(crate) fn provider(name: &str) -> Result<&'static SourceProvider, Fault> {
    SourceProvider::named(name).ok_or_else(|| {
        let known: Vec<&str> = tocsin_wire::source::PROVIDERS
            .iter()
            .map(|provider| provider.name)
            .collect();
        Fault::new(
            "unknown_provider",
            "provider",
            format!("must be one of {}", known.join(", ")),
        )
    })
}

/// A name that people can read and tell apart.
pub(crate) fn check_name(name: &str) -> Result<(), Fault> {
    let is_readable = name.trim() == name && !name.chars().any(char::is_control);
    if is_readable && (1..=MAX_NAME_CHARS).contains(&name.chars().count()) {
        return Ok(());
    }
    Err(Fault::new(
        "invalid_name",
        "name",
        format!(
            "must be 1 to {MAX_NAME_CHARS} characters, without spaces at its ends and without control characters"
        ),
    ))
}

#[cfg(test)]
mod tests;
