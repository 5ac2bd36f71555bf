//! Severities as most senders write them. A provider with words of its own maps them in its own file.

use tocsin_wire::proto::Severity;

/// `P1` to `P5`, of either case, or the digit alone.
pub(super) fn numbered(native: &str) -> Severity {
    match native.strip_prefix(['P', 'p']).unwrap_or(native) {
        "1" => Severity::Critical,
        "2" => Severity::High,
        "3" => Severity::Medium,
        "4" => Severity::Low,
        "5" => Severity::Info,
        _ => Severity::Unspecified,
    }
}

/// A number, or a word that people use for how bad something is. What nobody knows is unspecified.
pub(super) fn worded(native: &str) -> Severity {
    match native.to_ascii_lowercase().as_str() {
        "critical" | "crit" | "fatal" | "emergency" | "disaster" | "page" => Severity::Critical,
        "high" | "major" | "error" | "urgent" => Severity::High,
        "medium" | "moderate" | "warning" | "warn" => Severity::Medium,
        "low" | "minor" => Severity::Low,
        "info" | "informational" | "notice" | "debug" | "verbose" | "ok" | "success" => {
            Severity::Info
        }
        other => numbered(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_have_a_rank_and_the_rest_has_none() {
        for (native, expected) in [
            ("P1", Severity::Critical),
            ("p5", Severity::Info),
            ("3", Severity::Medium),
            ("P6", Severity::Unspecified),
            ("PP1", Severity::Unspecified),
            ("CRITICAL", Severity::Critical),
            ("Error", Severity::High),
            ("warning", Severity::Medium),
            ("minor", Severity::Low),
            ("debug", Severity::Info),
            ("none", Severity::Unspecified),
            ("tier-1", Severity::Unspecified),
            ("", Severity::Unspecified),
        ] {
            assert_eq!(worded(native), expected, "{native:?}");
        }
        assert_eq!(numbered("critical"), Severity::Unspecified);
    }
}
