//! What two runs found about one event, side by side. It compares words: whether two sentences mean the
//! same is for whoever reads them.

use std::collections::BTreeSet;

use tocsin_wire::proto::journal_entry::Finished;
use tocsin_wire::proto::{Comparison, Findings, RunOutcome, RunResult};

/// Share of common words, in percent, from which two root causes count as the same.
const SAME: u32 = 60;

/// Characters of one line of the difference.
const MAX_LINE: usize = 400;

/// Lines of the difference: two full findings fit.
const MAX_LINES: usize = 120;

/// Words that say nothing about a cause.
const FILLERS: &[&str] = &[
    "a", "after", "all", "an", "and", "are", "as", "at", "be", "because", "been", "by", "due",
    "for", "from", "had", "has", "have", "in", "is", "it", "its", "of", "on", "or", "since", "so",
    "that", "the", "their", "then", "there", "this", "to", "was", "were", "which", "with",
];

/// Compares what `now` tells with how the run `original_run` ended; `None`: it did not, or is forgotten.
pub fn compare(original_run: &str, original: Option<&Finished>, now: &RunResult) -> Comparison {
    let Some(original) = original else {
        return Comparison {
            original_run_id: original_run.to_owned(),
            ..Comparison::default()
        };
    };
    let before = original.findings.clone().unwrap_or_default();
    let found = now.findings.clone().unwrap_or_default();
    let likeness_percent = likeness(cause(&before), cause(&found));
    let mut difference = Difference::default();
    let outcome = |outcome: RunOutcome| {
        let name = outcome.as_str_name().trim_start_matches("RUN_OUTCOME_");
        name.to_ascii_lowercase()
    };
    difference.one(
        "outcome",
        &outcome(original.outcome()),
        &outcome(now.outcome()),
    );
    difference.one("root cause", &before.root_cause, &found.root_cause);
    difference.one("summary", &before.summary, &found.summary);
    difference.one("confidence", &percent(&before), &percent(&found));
    difference.many("evidence", &before.evidence, &found.evidence);
    difference.many(
        "recommended",
        &before.recommendations,
        &found.recommendations,
    );
    Comparison {
        original_run_id: original_run.to_owned(),
        original_outcome: original.outcome,
        original: original.findings.clone(),
        same_root_cause: likeness_percent >= SAME,
        likeness_percent,
        difference: difference.text(),
    }
}

/// An agent that names no root cause has only its summary.
fn cause(findings: &Findings) -> &str {
    if findings.root_cause.trim().is_empty() {
        &findings.summary
    } else {
        &findings.root_cause
    }
}

fn percent(findings: &Findings) -> String {
    let confidence = findings.confidence;
    confidence.map_or_else(String::new, |percent| format!("{percent} %"))
}

/// Words that both have, in percent of those that either has; nothing is like nothing else.
fn likeness(one: &str, other: &str) -> u32 {
    let (one, other) = (words(one), words(other));
    let all = one.union(&other).count();
    let common = one.intersection(&other).count();
    let percent = (common * 100).checked_div(all).unwrap_or_default();
    u32::try_from(percent).unwrap_or_default()
}

/// Without fillers, and without numbers: times and rates differ between any two runs.
fn words(text: &str) -> BTreeSet<String> {
    text.split(|symbol: char| !symbol.is_alphanumeric())
        .map(str::to_lowercase)
        .filter(|word| word.chars().any(char::is_alphabetic))
        .filter(|word| !FILLERS.contains(&word.as_str()))
        .collect()
}

#[derive(Default)]
struct Difference(Vec<String>);

impl Difference {
    fn line(&mut self, sign: char, name: &str, text: &str) {
        if !text.trim().is_empty() {
            let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let line: String = format!("{sign} {name}: {flat}")
                .chars()
                .take(MAX_LINE)
                .collect();
            self.0.push(line);
        }
    }

    fn one(&mut self, name: &str, before: &str, now: &str) {
        if before.trim() == now.trim() {
            self.line('=', name, now);
        } else {
            self.line('-', name, before);
            self.line('+', name, now);
        }
    }

    fn many(&mut self, name: &str, before: &[String], now: &[String]) {
        for text in before.iter().filter(|text| !now.contains(text)) {
            self.line('-', name, text);
        }
        for text in now {
            let sign = if before.contains(text) { '=' } else { '+' };
            self.line(sign, name, text);
        }
    }

    fn text(mut self) -> String {
        let left_out = self.0.len().saturating_sub(MAX_LINES);
        self.0.truncate(MAX_LINES);
        if left_out > 0 {
            self.0.push(format!("  and {left_out} more lines"));
        }
        self.0.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_alike_by_their_words() {
        for (one, other, percent) in [
            ("pool exhausted", "Pool exhausted.", 100),
            (
                "The connection pool of payments is exhausted",
                "payments: connection pool exhausted since 14:02 (98 % of 20)",
                100,
            ),
            ("connection pool exhausted", "bad deploy of checkout", 0),
            ("bad deploy of checkout v2", "bad deploy of checkout v3", 60),
            ("", "", 0),
            ("the of", "12 %", 0),
        ] {
            assert_eq!(likeness(one, other), percent, "{one} / {other}");
            assert_eq!(likeness(other, one), percent, "{other} / {one}");
        }
    }

    #[test]
    fn the_difference_reads_like_one() {
        let findings = |cause: &str, evidence: &[&str]| Findings {
            root_cause: cause.to_owned(),
            evidence: evidence.iter().map(|text| (*text).to_owned()).collect(),
            confidence: Some(80),
            ..Findings::default()
        };
        let before = Finished {
            outcome: RunOutcome::Completed.into(),
            findings: Some(findings("pool exhausted", &["20 of 20\nin use", "errors"])),
            ..Finished::default()
        };
        let now = RunResult {
            outcome: RunOutcome::Partial.into(),
            findings: Some(findings("bad deploy", &["errors", "v2 since 14:00"])),
            ..RunResult::default()
        };
        let compared = compare("r1", Some(&before), &now);
        assert!(!compared.same_root_cause);
        assert_eq!(
            compared.difference,
            "- outcome: completed\n+ outcome: partial\n- root cause: pool exhausted\n+ root cause: bad deploy\n\
             = confidence: 80 %\n- evidence: 20 of 20 in use\n= evidence: errors\n+ evidence: v2 since 14:00"
        );
        let unknown = compare("r1", None, &now);
        assert_eq!(unknown.original_outcome(), RunOutcome::Unspecified);
        assert!(unknown.difference.is_empty() && !unknown.same_root_cause);
    }
}
