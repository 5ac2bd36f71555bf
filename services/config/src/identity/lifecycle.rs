//! When tokens end, and when their holders are told. Pure.

use jiff::{SignedDuration, Timestamp};

/// Days before its end at which a token's holder is told, unless the org's policy says otherwise.
const WARN_DAYS: u32 = 7;
/// Longest that a policy or a request may name: a hundred years, far inside what times can hold.
pub(crate) const MAX_DAYS: u32 = 36_500;

/// What an org's security policy says about tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenPolicy {
    /// Life of a token whose issuer names none.
    pub(crate) expiry_days: Option<u32>,
    /// How long before its end its holder is told.
    pub(crate) warn_before_days: u32,
    /// A token that nobody used for so long is revoked.
    pub(crate) revoke_inactive_days: Option<u32>,
}

impl Default for TokenPolicy {
    fn default() -> Self {
        Self {
            expiry_days: None,
            warn_before_days: WARN_DAYS,
            revoke_inactive_days: None,
        }
    }
}

impl TokenPolicy {
    /// When a token ends whose issuer names no end.
    pub(crate) fn default_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.expiry_days.map(|days| after(now, days))
    }

    /// Tokens that end by then are about to.
    pub(crate) fn warn_until(&self, now: Timestamp) -> Timestamp {
        after(now, self.warn_before_days)
    }

    /// Tokens last used before then are inactive.
    pub(crate) fn inactive_before(&self, now: Timestamp) -> Option<Timestamp> {
        let days = self.revoke_inactive_days.filter(|days| *days > 0)?;
        now.checked_sub(whole_days(days)).ok()
    }
}

/// The new end of a token that is extended: counted from its end, or from now if that has passed.
pub(crate) fn extended(end: Option<Timestamp>, now: Timestamp, days: u32) -> Timestamp {
    after(end.map_or(now, |end| end.max(now)), days)
}

fn after(time: Timestamp, days: u32) -> Timestamp {
    time.saturating_add(whole_days(days)).unwrap_or(time)
}

fn whole_days(days: u32) -> SignedDuration {
    SignedDuration::from_hours(24 * i64::from(days.min(MAX_DAYS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("time")
    }

    #[test]
    fn ends_and_warnings_follow_the_policy() {
        let now = at("2026-03-01T12:00:00Z");
        let silent = TokenPolicy::default();
        assert_eq!(silent.default_end(now), None);
        assert_eq!(silent.warn_until(now), at("2026-03-08T12:00:00Z"));
        assert_eq!(silent.inactive_before(now), None);
        let strict = TokenPolicy {
            expiry_days: Some(30),
            warn_before_days: 1,
            revoke_inactive_days: Some(10),
        };
        assert_eq!(strict.default_end(now), Some(at("2026-03-31T12:00:00Z")));
        assert_eq!(strict.warn_until(now), at("2026-03-02T12:00:00Z"));
        assert_eq!(
            strict.inactive_before(now),
            Some(at("2026-02-19T12:00:00Z"))
        );
        let off = TokenPolicy {
            revoke_inactive_days: Some(0),
            ..strict
        };
        assert_eq!(off.inactive_before(now), None);
    }

    #[test]
    fn an_extension_counts_from_the_later_of_end_and_now() {
        let now = at("2026-03-01T00:00:00Z");
        for (end, expected) in [
            (None, "2026-03-11T00:00:00Z"),
            (Some("2026-02-01T00:00:00Z"), "2026-03-11T00:00:00Z"),
            (Some("2026-03-05T00:00:00Z"), "2026-03-15T00:00:00Z"),
        ] {
            assert_eq!(extended(end.map(at), now, 10), at(expected), "{end:?}");
        }
        assert_eq!(extended(Some(Timestamp::MAX), now, 10), Timestamp::MAX);
    }
}
