//! Times as providers write them. What does not parse is no time.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

/// RFC 3339 with any offset. The year 1 is how Go writes "none".
pub(super) fn rfc3339(text: &str) -> Option<Timestamp> {
    let at: Timestamp = text.parse().ok()?;
    is_some(at)
}

/// RFC 3339, or whole seconds since 1970: GitHub writes both.
pub(super) fn rfc3339_or_seconds(text: &str) -> Option<Timestamp> {
    rfc3339(text).or_else(|| slack(text))
}

/// Date and time of any sender: RFC 3339, `2025/10/09 08:53:20 GMT`, `2011-12-12 18:08:09 UTC`,
/// `2021-04-28 21:50:00 +0200`, `2015-06-03T17:43:27.123+0000`. Without a zone it is UTC.
pub(super) fn date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let (civil, offset) = split_zone(text)?;
    let civil: DateTime = match civil.get(..10)? {
        date if date.contains('/') => civil.replacen('/', "-", 2).parse().ok()?,
        _ => civil.parse().ok()?,
    };
    is_some(offset.to_timestamp(civil).ok()?)
}

/// A number of seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by its size: each
/// unit holds from 2001 to 2286. Seconds may have a fraction. Else as [`date`].
pub(super) fn number_or_date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return slack(text).and_then(is_some).or_else(|| date(text));
    }
    let number: i128 = text.parse().ok()?;
    let nanoseconds_each = match text.trim_start_matches('0').len() {
        0 => return None,
        1..=11 => 1_000_000_000,
        12..=14 => 1_000_000,
        15..=17 => 1_000,
        _ => 1,
    };
    Timestamp::from_nanosecond(number.checked_mul(nanoseconds_each)?).ok()
}

/// Slack's `seconds` or `seconds.micros`, which is also a message's id: never through a float.
pub(super) fn slack(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let whole = Timestamp::from_second(seconds.parse().ok()?).ok()?;
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    whole.checked_add(SignedDuration::from_nanos(nanos)).ok()
}

/// Nothing that we are told of happened before 1970.
fn is_some(at: Timestamp) -> Option<Timestamp> {
    (at > Timestamp::UNIX_EPOCH).then_some(at)
}

/// The date and time without its zone, and the zone as an offset.
fn split_zone(text: &str) -> Option<(&str, Offset)> {
    for zone in ["UTC", "GMT", "Z", "z"] {
        if let Some(civil) = text.strip_suffix(zone) {
            return Some((civil.trim_end(), Offset::UTC));
        }
    }
    // A date has two hyphens: what follows the time is the zone.
    let time = text.find([' ', 'T', 't'])?;
    let Some(sign) = text.get(time..)?.rfind(['+', '-']) else {
        return Some((text, Offset::UTC));
    };
    let (civil, zone) = text.split_at_checked(time + sign)?;
    Some((civil.trim_end(), offset(zone)?))
}

/// `+0200`, `+02:00` or `+02`.
fn offset(zone: &str) -> Option<Offset> {
    let negative = zone.starts_with('-');
    let digits = zone.get(1..)?.replacen(':', "", 1);
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let hours: i32 = digits.get(..2)?.parse().ok()?;
    let minutes: i32 = digits.get(2..).unwrap_or_default().parse().unwrap_or(0);
    let seconds = hours * 3600 + minutes * 60;
    Offset::from_seconds(if negative { -seconds } else { seconds }).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Parse = fn(&str) -> Option<Timestamp>;

    #[track_caller]
    fn check(parse: Parse, cases: &[(&str, Option<&str>)]) {
        for (text, expected) in cases {
            let expected = expected.map(|text| text.parse().expect("a time"));
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn slack_writes_seconds_with_a_fraction() {
        check(
            slack,
            &[
                ("1595926230.009600", Some("2020-07-28T08:50:30.0096Z")),
                ("1599616881", Some("2020-09-09T02:01:21Z")),
                ("111.111", Some("1970-01-01T00:01:51.111Z")),
                ("", None),
                ("-1", None),
                ("1e9", None),
                ("99999999999999999999", None),
                ("1.1234567890", None),
            ],
        );
    }

    #[test]
    fn rfc_3339_with_any_offset() {
        check(
            rfc3339,
            &[
                ("2019-05-15T15:20:41+09:00", Some("2019-05-15T06:20:41Z")),
                ("2020-10-02T18:45:22.169Z", Some("2020-10-02T18:45:22.169Z")),
                ("0001-01-01T00:00:00Z", None),
                ("yesterday", None),
            ],
        );
        check(
            rfc3339_or_seconds,
            &[("1557933591", Some("2019-05-15T15:19:51Z"))],
        );
    }

    #[test]
    fn dates_of_all_forms() {
        check(
            date,
            &[
                ("2025-10-09T08:53:20Z", Some("2025-10-09T08:53:20Z")),
                (
                    "2018-04-05T17:31:00.123456789+00:00",
                    Some("2018-04-05T17:31:00.123456789Z"),
                ),
                ("2025/10/09 08:53:20 GMT", Some("2025-10-09T08:53:20Z")),
                ("2011-12-12 18:08:09 UTC", Some("2011-12-12T18:08:09Z")),
                ("2021-04-28 21:50:00 +0200", Some("2021-04-28T19:50:00Z")),
                (
                    "2019-02-15T19:11:18.321-0800",
                    Some("2019-02-16T03:11:18.321Z"),
                ),
                (
                    "2015-06-03T17:43:27.123+0000",
                    Some("2015-06-03T17:43:27.123Z"),
                ),
                ("2021-04-28 21:50:00 -03", Some("2021-04-29T00:50:00Z")),
                ("2021-04-28 21:50:00", Some("2021-04-28T21:50:00Z")),
                ("2021-04-28T21:50:00", Some("2021-04-28T21:50:00Z")),
                ("0001-01-01T00:00:00Z", None),
                ("0001-01-01 00:00:00 UTC", None),
                ("2021-04-28", None),
                ("2021-04-28 21:50:00 CEST", None),
                ("2021-04-28 21:50:00 +2", None),
                ("2021-04-31 21:50:00 UTC", None),
                ("UTC", None),
                ("", None),
            ],
        );
    }

    #[test]
    fn numbers_are_told_apart_by_their_size() {
        check(
            number_or_date,
            &[
                ("1533204620", Some("2018-08-02T10:10:20Z")),
                ("1550286678321", Some("2019-02-16T03:11:18.321Z")),
                ("1550286678321000", Some("2019-02-16T03:11:18.321Z")),
                (
                    "1550286678321000001",
                    Some("2019-02-16T03:11:18.321000001Z"),
                ),
                ("1550286678.5", Some("2019-02-16T03:11:18.5Z")),
                ("2011-12-12 18:08:09 UTC", Some("2011-12-12T18:08:09Z")),
                ("0", None),
                ("000", None),
                ("", None),
                ("-1550286678", None),
                ("99999999999999999999999999999999999999999999", None),
            ],
        );
    }

    proptest! {
        #[test]
        fn what_we_print_is_read_and_the_rest_never_panics(
            seconds in 1_000_000_000_i64..9_999_999_999,
            text in ".{0,30}",
        ) {
            let at = Timestamp::from_second(seconds).expect("in range");
            for parse in [date, number_or_date] {
                prop_assert_eq!(parse(&at.to_string()), Some(at));
                let _time_or_none = parse(&text);
            }
            for factor in [1_i128, 1_000, 1_000_000, 1_000_000_000] {
                let number = i128::from(seconds) * factor;
                prop_assert_eq!(number_or_date(&number.to_string()), Some(at));
            }
        }
    }
}
