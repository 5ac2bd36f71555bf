//! Schedules, time zones and points in time, checked when they are saved. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tocsin_wire::cron::Cron;

/// Whether the text is a schedule of five fields.
pub(crate) fn is_cron(text: &str) -> bool {
    text.parse::<Cron>().is_ok()
}

/// Whether the text names a zone of the IANA database: `Europe/Berlin`, `UTC`.
pub(crate) fn is_time_zone(text: &str) -> bool {
    TimeZone::get(text).is_ok()
}

/// Whether the text is a point in time with its offset: `2026-11-21T02:00:00+01:00`.
pub(crate) fn is_timestamp(text: &str) -> bool {
    text.parse::<Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_and_times_are_told_from_other_text() {
        for (text, zone, time) in [
            ("UTC", true, false),
            ("Europe/Berlin", true, false),
            ("Europe/Atlantis", false, false),
            ("", false, false),
            ("2026-11-21T02:00:00Z", false, true),
            ("2026-11-21T02:00:00+01:00", false, true),
            ("2026-11-21T02:00:00", false, false),
            ("tomorrow", false, false),
        ] {
            assert_eq!(
                (is_time_zone(text), is_timestamp(text)),
                (zone, time),
                "{text}"
            );
        }
        assert!(is_cron("0 2 * * sat") && !is_cron("@daily"));
    }
}
