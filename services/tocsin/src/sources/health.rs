//! Is the sender broken, or are we? Verdicts from what ingress saw. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;
use tocsin_wire::source::SourceFigures;

use super::text::since;
use super::{Health, title};
use crate::life_text::{items, one_line, text};

/// After so long without a delivery nobody can say that all is well.
const QUIET_SECONDS: i64 = 24 * 60 * 60;
/// A clock that is off by more is worth a word: five minutes are refused.
const SKEW_SECONDS: u64 = 30;
/// Longest text of a finding.
const COLUMNS: usize = 400;

/// Codes of refusals that are our trouble: ingress answers 503 with them, and the sender tries again.
const OURS: [&str; 6] = [
    "bus_unavailable",
    "bus_timeout",
    "bus_full",
    "bus_refused",
    "source_loading",
    "internal",
];

/// A verdict per source, with what it rests on below.
pub(super) fn page(sources: &[Health], now: Timestamp) -> String {
    let mut page = String::new();
    if sources.is_empty() {
        page.push_str("the org has no sources\n");
    }
    for source in sources {
        let (word, why) = verdict(source, now);
        // Writing to a String cannot fail.
        let _infallible = writeln!(page, "{word:<7} {}/{}: {why}", source.provider, source.name);
        let Some(figures) = &source.figures else {
            continue;
        };
        let _infallible = writeln!(page, "        {}", counts(figures));
        for finding in &figures.last_findings {
            if word == "sender" {
                let _infallible = writeln!(page, "        {}", one_line(&finding.text, COLUMNS));
            }
        }
    }
    page
}

/// One word, and a sentence that says whose turn it is.
fn verdict(source: &Health, now: Timestamp) -> (&'static str, String) {
    let sender = title(&source.provider);
    if source.disabled {
        return ("off", "disabled here, so everything is refused".to_owned());
    }
    let nothing = || {
        (
            "silent",
            format!("nothing has come yet; is the URL set at {sender}?"),
        )
    };
    let Some(figures) = &source.figures else {
        return nothing();
    };
    let ago = |seconds: Option<i64>| {
        let at = Timestamp::from_second(seconds.unwrap_or_default());
        since(at.unwrap_or(Timestamp::MIN), now)
    };
    let refused = ago(figures.last_refused);
    // In the same second both came; then it works.
    if figures.last_refused > figures.last_accepted {
        let code = figures.last_refusal.as_deref().unwrap_or("unknown");
        return match code {
            ours if OURS.contains(&ours) => (
                "us",
                format!(
                    "we could not store what {sender} sent ({code}, {refused} ago); it tries again"
                ),
            ),
            "rate_limited" => (
                "limited",
                format!("{sender} sends more than the rate tier allows, {refused} ago"),
            ),
            _ => (
                "sender",
                format!("what {sender} sends is refused ({code}, {refused} ago)"),
            ),
        };
    }
    let Some(accepted) = figures.last_accepted else {
        return nothing();
    };
    let last = ago(Some(accepted));
    if now.as_second().saturating_sub(accepted) > QUIET_SECONDS {
        return ("quiet", format!("nothing has come for {last}"));
    }
    ("ok", format!("last delivery taken {last} ago"))
}

/// The numbers.
fn counts(figures: &SourceFigures) -> String {
    let refusals = figures.refused.iter();
    let theirs: Vec<String> = refusals
        .filter(|(code, _)| !OURS.contains(&code.as_str()))
        .map(|(code, count)| format!("{count} {code}"))
        .collect();
    let refused = match theirs.as_slice() {
        [] => "none refused".to_owned(),
        some => format!("refused: {}", some.join(", ")),
    };
    let mut parts = vec![
        format!("{} taken", figures.accepted),
        format!("{} seen before", figures.duplicates),
        format!("{} tried again", figures.retries),
        refused,
        format!("{} not stored by us", figures.unavailable),
        format!(
            "answered in {}.{} ms",
            figures.mean_ack_micros / 1_000,
            figures.mean_ack_micros % 1_000 / 100
        ),
    ];
    if figures.not_picked > 0 {
        parts.push(format!(
            "{} not picked as the settings say",
            figures.not_picked
        ));
    }
    let skew = figures.clock_skew_seconds.unwrap_or_default();
    if skew.unsigned_abs() > SKEW_SECONDS {
        let side = if skew < 0 { "behind" } else { "ahead of" };
        parts.push(format!(
            "its clock is {} s {side} ours",
            skew.unsigned_abs()
        ));
    }
    parts.join("; ")
}

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

    #[expect(
        clippy::needless_pass_by_value,
        reason = "literals read best as they are"
    )]
    fn health(disabled: bool, figures: Value) -> Health {
        let source = json!({"provider": "pagerduty", "name": "prod", "disabled": disabled, "figures": figures});
        serde_json::from_value(source).expect("health")
    }

    #[test]
    fn a_verdict_says_whose_turn_it_is() {
        let refused = |code: &str, accepted: i64| json!({"last_refusal": code, "last_refused": NOW - 180, "last_accepted": accepted});
        for (disabled, figures, expected) in [
            (true, refused("bad_signature", 0), "off"),
            (false, json!(null), "silent"),
            (false, json!({"duplicates": 0}), "silent"),
            (false, json!({"last_accepted": NOW - 120}), "ok"),
            (false, json!({"last_accepted": NOW - 90_000}), "quiet"),
            (false, refused("bad_signature", NOW - 200), "sender"),
            (false, refused("bad_signature", NOW - 180), "ok"),
            (false, refused("bus_unavailable", NOW - 200), "us"),
            (false, refused("rate_limited", NOW - 200), "limited"),
        ] {
            let (word, why) = verdict(&health(disabled, figures.clone()), now());
            assert_eq!(word, expected, "{figures}: {why}");
        }
        for code in OURS {
            let (word, why) = verdict(&health(false, refused(code, 0)), now());
            assert_eq!(word, "us");
            assert!(why.contains(code) && why.contains("3 min ago"), "{why}");
        }
    }

    #[test]
    fn what_a_verdict_rests_on_stands_below() {
        let broken = health(
            false,
            json!({"accepted": 1204, "duplicates": 3, "retries": 2, "unavailable": 1, "mean_ack_micros": 4_150,
                "refused": {"bad_signature": 5, "bus_timeout": 1}, "last_refused": NOW - 60, "last_refusal": "bad_signature",
                "clock_skew_seconds": -70, "last_findings": [{"code": "wrong_secret", "text": "No secret\u{1b} signs this."}]}),
        );
        let fine = health(false, json!({"accepted": 1, "last_accepted": NOW - 2}));
        insta::assert_snapshot!(
            "health",
            page(&[broken, fine, health(false, json!(null))], now())
        );
        assert_eq!(page(&[], now()), "the org has no sources\n");
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
