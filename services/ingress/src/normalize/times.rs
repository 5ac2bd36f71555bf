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
        ] {
            let expected = expected.map(|text| text.parse().expect("a time"));
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
