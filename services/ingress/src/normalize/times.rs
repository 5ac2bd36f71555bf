//! Times as providers write them. What does not parse is no time.

use jiff::{SignedDuration, Timestamp};

/// RFC 3339 with any offset. The year 1 is how Go writes "none".
pub(super) fn rfc3339(text: &str) -> Option<Timestamp> {
    let at: Timestamp = text.parse().ok()?;
    (at > Timestamp::UNIX_EPOCH).then_some(at)
}

/// RFC 3339, or whole seconds since 1970: GitHub writes both.
pub(super) fn rfc3339_or_seconds(text: &str) -> Option<Timestamp> {
    rfc3339(text).or_else(|| slack(text))
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

/// A time in any of the forms that templates give: RFC 3339 (an offset without its colon too),
/// `2025/10/09 08:53:20 GMT`, `2025-10-09 08:53:20 UTC`, or a number since 1970.
pub(super) fn any(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let zoned = ["GMT", "UTC"]
        .iter()
        .find_map(|zone| text.strip_suffix(zone));
    match zoned {
        Some(local) => rfc3339(&format!("{}Z", local.trim_end().replace('/', "-"))),
        None => rfc3339(text).or_else(|| epoch(text)),
    }
}

/// Seconds (perhaps with a fraction), milliseconds, microseconds or nanoseconds since 1970. The number
/// of digits tells which: from 1973 to 5138 no two of them are as long. Never through a float.
pub(super) fn epoch(text: &str) -> Option<Timestamp> {
    let per_second = match text.len() {
        _ if text.contains('.') => return slack(text),
        9..=11 => return slack(text),
        12..=14 => 1_000,
        15..=17 => 1_000_000,
        18..=20 => 1_000_000_000,
        _ => return None,
    };
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i128 = text.parse().ok()?;
    Timestamp::from_nanosecond(number * (1_000_000_000 / per_second)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_all_forms_and_none() {
        for (parse, text, expected) in [
            (
                slack as fn(&str) -> Option<Timestamp>,
                "1595926230.009600",
                Some("2020-07-28T08:50:30.0096Z"),
            ),
            (slack, "1599616881", Some("2020-09-09T02:01:21Z")),
            (slack, "111.111", Some("1970-01-01T00:01:51.111Z")),
            (slack, "", None),
            (slack, "-1", None),
            (slack, "1e9", None),
            (slack, "99999999999999999999", None),
            (slack, "1.1234567890", None),
            (
                rfc3339,
                "2019-05-15T15:20:41+09:00",
                Some("2019-05-15T06:20:41Z"),
            ),
            (
                rfc3339,
                "2020-10-02T18:45:22.169Z",
                Some("2020-10-02T18:45:22.169Z"),
            ),
            (rfc3339, "0001-01-01T00:00:00Z", None),
            (rfc3339, "yesterday", None),
            (
                rfc3339_or_seconds,
                "1557933591",
                Some("2019-05-15T15:19:51Z"),
            ),
            (any, "2024/08/14 21:28:56 GMT", Some("2024-08-14T21:28:56Z")),
            (any, "2011-12-12 18:08:09 UTC", Some("2011-12-12T18:08:09Z")),
            (
                any,
                "2021-10-12T09:51:03.157+0200",
                Some("2021-10-12T07:51:03.157Z"),
            ),
            (
                any,
                " 2025-10-09T08:53:20.123456789Z ",
                Some("2025-10-09T08:53:20.123456789Z"),
            ),
            (any, "1760000000", Some("2025-10-09T08:53:20Z")),
            (any, "1760000000.5", Some("2025-10-09T08:53:20.5Z")),
            (any, "1713769708699", Some("2024-04-22T07:08:28.699Z")),
            (any, "1713769708699001", Some("2024-04-22T07:08:28.699001Z")),
            (
                any,
                "1502709956288000110",
                Some("2017-08-14T11:25:56.28800011Z"),
            ),
            (any, "0001-01-01T00:00:00Z", None),
            (any, "0", None),
            (any, "17137697086x9", None),
            (any, "999999999999999999999", None),
            (any, "$TIMESTAMP UTC", None),
            (any, "", None),
        ] {
            let expected = expected.map(|text| text.parse().expect("a time"));
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
