//! Tokens that may stand in a subject: `[a-z0-9][a-z0-9_-]{0,62}`.
//!
//! A token that fails the rule is refused with the rule named; it is never mended silently.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// Longest token, in bytes.
pub const MAX_TOKEN_BYTES: usize = 63;

/// Stands for the org and team of what could not be routed; no tenant may take the name.
pub const UNROUTED: &str = "unrouted";

/// In the subject of a command: not one team or org, but all of them; no tenant may take the name.
pub const ALL: &str = "all";

/// The text breaks the rule for subject tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {value:?} must be 1 to 63 characters of a-z, 0-9, '_' and '-', starting with a letter or digit"
)]
pub struct InvalidToken {
    /// What the token was meant to be, for people ("org id").
    pub what: &'static str,
    /// What was given, cut to 80 characters.
    pub value: String,
}

fn check(what: &'static str, value: &str) -> Result<(), InvalidToken> {
    let mut bytes = value.bytes();
    let starts_well = bytes
        .next()
        .is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit());
    let goes_on_well = bytes.all(|byte| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
    });
    if starts_well && goes_on_well && value.len() <= MAX_TOKEN_BYTES {
        return Ok(());
    }
    Err(InvalidToken {
        what,
        value: value.chars().take(80).collect(),
    })
}

macro_rules! tokens {
    ($($(#[$doc:meta])* $name:ident = $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks `value` against the rule for subject tokens.
            pub fn new(value: impl Into<String>) -> Result<Self, InvalidToken> {
                let value = value.into();
                check($what, &value)?;
                Ok(Self(value))
            }

            /// The text of the token.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidToken;

            fn from_str(value: &str) -> Result<Self, Self::Err> {
                Self::new(value)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = String::deserialize(deserializer)?;
                Self::new(value).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

tokens! {
    /// Any subject token that has no type of its own: a provider, a kind, a verb.
    Token = "subject token";
    /// An organisation.
    OrgId = "org id";
    /// A team; ids of units and orgs follow the same rule.
    TeamId = "team id";
    /// A pool of workers.
    Pool = "worker pool";
    /// What a secret is called in references: `${secret:name}`.
    SecretName = "secret name";
}

impl OrgId {
    /// Every org, in the subject of a command.
    pub fn all() -> Self {
        Self(ALL.to_owned())
    }

    /// Stands in for the org of an event that no team owns.
    pub fn unrouted() -> Self {
        Self(UNROUTED.to_owned())
    }
}

impl TeamId {
    /// Every team, in the subject of a command.
    pub fn all() -> Self {
        Self(ALL.to_owned())
    }

    /// Stands in for the team of an event that no team owns.
    pub fn unrouted() -> Self {
        Self(UNROUTED.to_owned())
    }
}

impl Pool {
    /// The pool that every team uses unless it says otherwise.
    pub fn shared() -> Self {
        Self("default".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_named_alphabet_is_accepted() {
        let sixty_three = "a".repeat(63);
        for good in ["a", "0", "checkout", "team_1-b", sixty_three.as_str()] {
            assert_eq!(
                Token::new(good).map(|token| token.to_string()),
                Ok(good.to_owned())
            );
        }
        let sixty_four = "a".repeat(64);
        for bad in [
            "",
            "-a",
            "_a",
            "A",
            "a.b",
            "a b",
            "a*",
            ">",
            "é",
            "a\n",
            sixty_four.as_str(),
        ] {
            let error = Token::new(bad).expect_err(bad);
            assert!(error.to_string().contains("1 to 63"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_token_never_holds_a_subject_separator(text in ".{0,80}") {
            if let Ok(token) = OrgId::new(text.clone()) {
                prop_assert!(!token.as_str().contains(['.', '*', '>', ' ']));
                prop_assert_eq!(token.as_str(), text);
            }
        }
    }
}
