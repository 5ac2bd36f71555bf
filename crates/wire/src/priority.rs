//! The order in which a team's waiting runs move up.

use std::fmt;
use std::str::FromStr;

use crate::proto::Severity;

/// Place of a run among the waiting ones of its team: severe events first, in order of arrival within one
/// severity. A token of the backlog's subject, so that the broker counts and finds each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// `p1`: critical.
    Critical,
    /// `p2`: high.
    High,
    /// `p3`: medium, and what tells no severity: a person's question waits behind alarms only.
    Normal,
    /// `p4`: low.
    Low,
    /// `p5`: information.
    Info,
}

/// The text is no priority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no priority: expected p1 (critical) to p5 (information)")]
pub struct InvalidPriority(pub String);

impl Priority {
    /// Every priority, first to last.
    pub const ALL: [Self; 5] = [
        Self::Critical,
        Self::High,
        Self::Normal,
        Self::Low,
        Self::Info,
    ];

    /// As a token of a subject.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "p1",
            Self::High => "p2",
            Self::Normal => "p3",
            Self::Low => "p4",
            Self::Info => "p5",
        }
    }
}

impl From<Severity> for Priority {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Critical => Self::Critical,
            Severity::High => Self::High,
            Severity::Medium | Severity::Unspecified => Self::Normal,
            Severity::Low => Self::Low,
            Severity::Info => Self::Info,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = InvalidPriority;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL
            .into_iter()
            .find(|priority| priority.as_str() == text);
        known.ok_or_else(|| InvalidPriority(text.chars().take(20).collect()))
    }
}
