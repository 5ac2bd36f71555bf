//! Secrets while they are rotated: each holds from one time to another.

use jiff::Timestamp;

/// A secret as its sender shows it, and when it counts.
#[derive(Clone, Copy)]
pub struct LiveSecret<'a> {
    pub text: &'a str,
    pub validity: Validity,
}

/// From when (inclusive) until when (exclusive); always, where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Option<Timestamp>,
    pub expires: Option<Timestamp>,
}

impl Validity {
    #[must_use]
    pub fn holds(self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|from| now >= from)
            && self.expires.is_none_or(|until| now < until)
    }
}

impl<'a> LiveSecret<'a> {
    /// One that holds until it is taken away.
    #[must_use]
    pub fn always(text: &'a str) -> Self {
        Self {
            text,
            validity: Validity::default(),
        }
    }
}
