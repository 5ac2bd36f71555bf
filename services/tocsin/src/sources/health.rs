//! Is the sender broken, or are we? Verdicts from what ingress saw. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;
use tocsin_wire::source::{OfLate, RefusedOfLate, Side, SourceFigures};

use super::text::since;
use super::{Health, title};
use crate::life_text::one_line;

/// After so long without a delivery nobody can say that all is well.
const QUIET_SECONDS: i64 = 24 * 60 * 60;
/// A clock that is off by more is worth a word: five minutes are refused.
const SKEW_SECONDS: u64 = 30;
/// Longest text of a finding.
pub(super) const COLUMNS: usize = 400;

/// Fewer refusals are a stranger's, or of a moment.
const SEVERAL: u64 = 3;
/// As long as deliveries were taken within it, those refused are weighed against them; after it, only what came
/// since counts.
const PATIENCE_SECONDS: i64 = 10 * 60;

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
    let seen = source.figures.as_ref();
    let late = seen.and_then(|figures| figures.of_late.clone());
    let (accepted, late) = (
        seen.and_then(|figures| figures.last_accepted),
        late.unwrap_or_default(),
    );
    if let Some((side, refused)) = at_fault(&late, accepted, now) {
        let (code, ago) = (&refused.last_code, ago(refused.last_at, now));
        return match side {
            Side::Us => (
                "us",
                format!("we could not store what {sender} sent ({code}, {ago}); it tries again"),
            ),
            Side::Limit => (
                "limited",
                format!("{sender} sends more than the rate tier allows, {ago}"),
            ),
            Side::Sender => (
                "sender",
                format!("what {sender} sends is refused ({code}, {ago})"),
            ),
        };
    }
    let Some(accepted) = accepted else {
        return (
            "silent",
            format!("nothing has come yet; is the URL set at {sender}?"),
        );
    };
    let last = ago(accepted, now);
    let since = refused_since(&late);
    if now.as_second().saturating_sub(accepted) > QUIET_SECONDS {
        return (
            "quiet",
            format!("the last delivery was taken {last}{since}"),
        );
    }
    ("ok", format!("last delivery taken {last}{since}"))
}

/// For whose sake too much is refused of late. Before anything was taken each refusal counts: somebody sets
/// the sender up.
fn at_fault(
    late: &OfLate,
    accepted: Option<i64>,
    now: Timestamp,
) -> Option<(Side, &RefusedOfLate)> {
    let waited = accepted.map(|accepted| now.as_second().saturating_sub(accepted));
    let is_taken_now = waited.is_some_and(|waited| waited <= PATIENCE_SECONDS);
    let weight = |refused: &RefusedOfLate| match is_taken_now {
        true => refused.count,
        false => refused.since_taken,
    };
    let all = match is_taken_now {
        true => late.deliveries,
        false => late.refused.values().map(weight).sum(),
    };
    let least = if accepted.is_some() { SEVERAL } else { 1 };
    let refused = late.refused.iter();
    let refused = refused.filter(|(_, refused)| {
        let weight = weight(refused);
        weight >= least && weight.saturating_mul(2) >= all
    });
    // Of two halves the one that is ours.
    let worst = refused.max_by_key(|(side, refused)| (weight(refused), **side));
    worst.map(|(side, refused)| (*side, refused))
}

/// What is not enough for a verdict.
fn refused_since(late: &OfLate) -> String {
    let since = late.refused.values();
    let since = since.filter(|refused| refused.since_taken > 0);
    let told: Vec<String> = since
        .map(|refused| format!("{} {}", refused.since_taken, refused.last_code))
        .collect();
    match told.as_slice() {
        [] => String::new(),
        some => format!("; refused since: {}", some.join(", ")),
    }
}

fn ago(seconds: i64, now: Timestamp) -> String {
    let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::MIN);
    format!("{} ago", since(at, now))
}

/// `3 bad_signature, 1 malformed_timestamp`
fn by_code<'a>(counts: impl Iterator<Item = (&'a String, u64)>) -> String {
    let told = counts.filter(|(_, count)| *count > 0);
    let told: Vec<String> = told
        .map(|(code, count)| format!("{count} {code}"))
        .collect();
    match told.as_slice() {
        [] => "none".to_owned(),
        some => some.join(", "),
    }
}

/// The numbers.
fn counts(figures: &SourceFigures) -> String {
    let ours = &figures.refused_by_us;
    let theirs = figures.refused.iter().map(|(code, count)| {
        let ours = ours.get(code).copied().unwrap_or_default();
        (code, count.saturating_sub(ours))
    });
    let ours = ours.iter().map(|(code, count)| (code, *count));
    let stored = figures.accepted.saturating_add(figures.duplicates);
    let share = figures.retries.saturating_mul(100).checked_div(stored);
    let mut parts = vec![
        format!("{} taken", figures.accepted),
        format!("{} seen before", figures.duplicates),
        format!(
            "{} tried again ({} %)",
            figures.retries,
            share.unwrap_or_default()
        ),
        format!("refused: {}", by_code(theirs)),
        format!("not stored by us: {}", by_code(ours)),
        format!("answered in {}", millis(figures.mean_ack_micros)),
    ];
    if let Some(late) = &figures.of_late {
        parts.push(format!(
            "slowest of the last {}: {}",
            late.deliveries,
            millis(late.slowest_ack_micros)
        ));
    }
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

fn millis(micros: u64) -> String {
    format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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

    /// Figures whose last delivery was taken so many seconds ago, after `taken` others; of late so many were
    /// refused for the sake of each side, in all and since then.
    fn figures(accepted: Option<i64>, taken: u64, refused: &[(&str, &str, u64, u64)]) -> Value {
        let all: u64 = refused.iter().map(|(_, _, count, _)| count).sum();
        let refused: serde_json::Map<String, Value> = refused
            .iter()
            .map(|(side, code, count, since)| {
                let of_side = json!({"count": count, "since_taken": since, "last_code": code, "last_at": NOW - 180});
                ((*side).to_owned(), of_side)
            })
            .collect();
        let accepted = accepted.map(|ago| NOW - ago);
        json!({"last_accepted": accepted, "of_late": {"deliveries": taken + all, "refused": refused}})
    }

    #[test]
    fn a_verdict_says_whose_turn_it_is() {
        let sender = |count, since| ("sender", "bad_signature", count, since);
        let us = |count, since| ("us", "sns_unavailable", count, since);
        let limit = |count, since| ("limit", "rate_limited", count, since);
        for (case, figures, expected) in [
            ("unseen", json!(null), "silent"),
            ("nothing counted", json!({"duplicates": 0}), "silent"),
            ("taken", figures(Some(120), 9, &[]), "ok"),
            ("long ago", figures(Some(90_000), 9, &[]), "quiet"),
            (
                "the first is refused",
                figures(None, 0, &[sender(1, 1)]),
                "sender",
            ),
            (
                "the first finds no bus",
                figures(None, 0, &[us(1, 1)]),
                "us",
            ),
            (
                "a stranger's",
                figures(Some(200), 31, &[sender(1, 1)]),
                "ok",
            ),
            (
                "several strangers'",
                figures(Some(200), 20, &[sender(9, 9)]),
                "ok",
            ),
            (
                "half of all",
                figures(Some(5), 8, &[sender(8, 0)]),
                "sender",
            ),
            (
                "none for a while",
                figures(Some(900), 20, &[sender(3, 3)]),
                "sender",
            ),
            (
                "two for a while",
                figures(Some(900), 20, &[sender(9, 2)]),
                "ok",
            ),
            (
                "all by us",
                figures(Some(900), 20, &[us(5, 5), sender(1, 1)]),
                "us",
            ),
            (
                "both alike",
                figures(Some(900), 20, &[us(3, 3), sender(3, 3)]),
                "us",
            ),
            ("one of ours", figures(Some(60), 20, &[us(1, 1)]), "ok"),
            (
                "over its limit",
                figures(Some(5), 10, &[limit(20, 1)]),
                "limited",
            ),
        ] {
            let (word, why) = verdict(&health(false, figures.clone()), now());
            assert_eq!(word, expected, "{case}: {why}");
            let (word, _) = verdict(&health(true, figures), now());
            assert_eq!(word, "off", "{case}");
        }
        let (_, why) = verdict(&health(false, figures(Some(900), 1, &[us(4, 4)])), now());
        assert!(why.contains("sns_unavailable, 3 min ago"), "{why}");
        let (_, why) = verdict(&health(false, figures(Some(60), 9, &[sender(1, 1)])), now());
        assert!(why.ends_with("refused since: 1 bad_signature"), "{why}");
    }

    #[test]
    fn what_a_verdict_rests_on_stands_below() {
        let broken = health(
            false,
            json!({"accepted": 1204, "duplicates": 3, "retries": 30, "unavailable": 1, "mean_ack_micros": 4_150,
                "refused": {"bad_signature": 5, "bus_timeout": 1}, "refused_by_us": {"bus_timeout": 1},
                "last_accepted": NOW - 4000, "clock_skew_seconds": -70,
                "last_findings": [{"code": "wrong_secret", "text": "No secret\u{1b} signs this."}],
                "of_late": {"deliveries": 32, "slowest_ack_micros": 12_345, "refused":
                    {"sender": {"count": 5, "since_taken": 5, "last_code": "bad_signature", "last_at": NOW - 60}}}}),
        );
        let fine = health(false, json!({"accepted": 1, "last_accepted": NOW - 2}));
        insta::assert_snapshot!(
            "health",
            page(&[broken, fine, health(false, json!(null))], now())
        );
        assert_eq!(page(&[], now()), "the org has no sources\n");
    }
}
