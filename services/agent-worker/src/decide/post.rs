//! Posts as the journal keeps them.

use std::fmt;

use tocsin_wire::proto::journal_entry::Posted;

/// When a message is written: at the start, to be updated, or at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    First,
    Final,
}

/// One post; in the journal it reads `first slack:C123/1700000000.000100`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PostKey {
    pub phase: Phase,
    pub destination: String,
}

/// What is known about a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Post {
    /// Begun; whether it happened is unknown until somebody looked.
    Open,
    Delivered {
        message_id: String,
        channel: String,
        found_after_restart: bool,
    },
    Undelivered(Undelivered),
}

/// Why nothing was posted. The journal keeps it as a `Posted` without a message id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undelivered {
    /// Posting there is not configured, or not supported.
    Off(String),
    /// The provider did not answer in time; the final message is tried all the same.
    Unavailable(String),
    /// The provider refused for good.
    Refused(String),
}

impl Phase {
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Final => "final",
        }
    }
}

impl PostKey {
    pub fn new(phase: Phase, destination: impl Into<String>) -> Self {
        Self {
            phase,
            destination: destination.into(),
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (phase, destination) = text.split_once(' ')?;
        let phase = [Phase::First, Phase::Final]
            .into_iter()
            .find(|known| known.name() == phase)?;
        Some(Self::new(phase, destination))
    }
}

impl fmt::Display for PostKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.phase.name(), self.destination)
    }
}

const OFF: &str = "off";
const UNAVAILABLE: &str = "unavailable";
const REFUSED: &str = "refused";

impl Undelivered {
    /// Stable word and the reason.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Off(why) => (OFF, why),
            Self::Unavailable(why) => (UNAVAILABLE, why),
            Self::Refused(why) => (REFUSED, why),
        }
    }
}

impl fmt::Display for Undelivered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, why) = self.parts();
        write!(formatter, "{word}: {why}")
    }
}

impl Post {
    /// A `Posted` without a message id was not delivered; its channel then says why.
    pub(super) fn from_journal(posted: &Posted) -> Self {
        if !posted.message_id.is_empty() {
            return Self::Delivered {
                message_id: posted.message_id.clone(),
                channel: posted.channel.clone(),
                found_after_restart: posted.found_after_restart,
            };
        }
        let (word, why) = posted.channel.split_once(": ").unwrap_or_default();
        let why = why.to_owned();
        Self::Undelivered(match word {
            OFF => Undelivered::Off(why),
            REFUSED => Undelivered::Refused(why),
            _ => Undelivered::Unavailable(why),
        })
    }

    /// As the journal keeps it; `None` for an open one.
    pub fn to_journal(&self, key: &PostKey) -> Option<Posted> {
        let destination = key.to_string();
        match self {
            Self::Open => None,
            Self::Delivered {
                message_id,
                channel,
                found_after_restart,
            } => Some(Posted {
                destination,
                message_id: message_id.clone(),
                channel: channel.clone(),
                found_after_restart: *found_after_restart,
            }),
            Self::Undelivered(why) => Some(Posted {
                destination,
                channel: why.to_string(),
                ..Posted::default()
            }),
        }
    }
}
