//! What ingress says of a captured delivery, for people. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;

use super::health::COLUMNS;
use super::text::since;
use crate::life_text::{items, one_line, text};

/// What ingress says of a captured delivery, or of the last one that it refused.
pub(super) fn verdict_page(answer: &Value, is_captured: bool, now: Timestamp) -> String {
    let code = text(answer, "/verdict");
    let at = answer.get("at").and_then(Value::as_i64);
    let at = at.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let ago = at.map_or_else(String::new, |at| format!(", {} ago", since(at, now)));
    let mut page = match code {
        "ok" => format!("this delivery would be taken{}\n", becoming(answer)),
        "filtered" => "this delivery would be acknowledged and dropped\n".to_owned(),
        "nothing_refused" => {
            "nothing was refused; give a captured delivery with --body and --header, or let the sender send one\n"
                .to_owned()
        }
        code if is_captured => format!("this delivery would be refused: {code}\n"),
        code => format!("the last delivery that was refused: {code}{ago}\n"),
    };
    for finding in items(answer, "findings") {
        let _infallible = writeln!(
            page,
            "  {}: {}",
            text(finding, "/code"),
            one_line(text(finding, "/text"), COLUMNS)
        );
    }
    page.push_str(&picked(answer));
    page
}

/// What is stored of it.
fn becoming(answer: &Value) -> String {
    let kinds = items(answer, "kinds").filter_map(Value::as_str);
    let kinds: Vec<_> = kinds.map(|kind| one_line(kind, COLUMNS)).collect();
    match text(answer, "/becomes") {
        "ping" => " as a ping: nothing is stored".to_owned(),
        "handshake" => " as a handshake: it is answered, and nothing is stored".to_owned(),
        "subscription" => " as a subscription: it is confirmed, and nothing is stored".to_owned(),
        "event" if !kinds.is_empty() => format!(" as {}", kinds.join(", ")),
        _ => String::new(),
    }
}

/// What the source's expressions take out of the body, field by field, and what they failed to.
fn picked(answer: &Value) -> String {
    let mut lines = String::new();
    let fields = answer.get("picked").and_then(Value::as_object);
    let mut line = |field: &str, value: &Value| {
        let value = one_line(value.as_str().unwrap_or_default(), COLUMNS);
        let _infallible = writeln!(lines, "  picked {field}: {value}");
    };
    for (field, value) in fields.into_iter().flatten() {
        match value.as_object() {
            Some(identifiers) => identifiers
                .iter()
                .for_each(|(name, value)| line(&format!("{field}.{name}"), value)),
            None => line(field, value),
        }
    }
    for why in items(answer, "not_picked") {
        let why = one_line(why.as_str().unwrap_or_default(), COLUMNS);
        let _infallible = writeln!(lines, "  not picked {why}");
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).expect("a time")
    }

    #[test]
    fn a_test_tells_its_findings() {
        let finding =
            json!({"code": "clock_skew", "text": "The signed time is 900 s behind our clock."});
        let answer = json!({"verdict": "stale_timestamp", "at": NOW - 60, "findings": [finding]});
        let last = verdict_page(&answer, false, now());
        assert_eq!(
            last,
            "the last delivery that was refused: stale_timestamp, 1 min ago\n  clock_skew: The signed time is 900 s behind our clock.\n"
        );
        assert!(verdict_page(&answer, true, now()).starts_with("this delivery would be refused"));
        let fine = verdict_page(&json!({"verdict": "ok", "findings": []}), true, now());
        assert_eq!(fine, "this delivery would be taken\n");
        for (becomes, kinds, expected) in [
            ("event", json!(["push"]), "would be taken as push"),
            ("event", json!([]), "would be taken\n"),
            (
                "ping",
                json!([]),
                "would be taken as a ping: nothing is stored",
            ),
            ("handshake", json!([]), "would be taken as a handshake: it"),
        ] {
            let answer = json!({"verdict": "ok", "becomes": becomes, "kinds": kinds});
            let page = verdict_page(&answer, true, now());
            assert!(page.contains(expected), "{page}");
        }
        let dropped = json!({"verdict": "filtered", "becomes": "event", "kinds": ["push"]});
        let dropped = verdict_page(&dropped, true, now());
        assert_eq!(dropped, "this delivery would be acknowledged and dropped\n");
        let answer = json!({"verdict": "ok", "findings": [],
            "picked": {"identifiers": {"service": "db"}, "title": "Disk\nfull"},
            "not_picked": ["severity: body.level has no value"]});
        assert_eq!(
            verdict_page(&answer, true, now()),
            "this delivery would be taken\n  picked identifiers.service: db\n  picked title: Disk full\n  \
             not picked severity: body.level has no value\n"
        );
    }
}
