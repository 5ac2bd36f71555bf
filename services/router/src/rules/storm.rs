//! `storm`: which alerts are one and the same, and for how long.

use jiff::SignedDuration;
use serde_json::Value;

use super::field::Field;
use super::{at, text, texts};

/// An alert that fires again after so long gets an investigation of its own.
const WINDOW: SignedDuration = SignedDuration::from_mins(30);

/// How a team wants repeated alerts to be taken together.
#[derive(Clone, Debug, PartialEq)]
pub struct Storm {
    /// `enabled`
    pub enabled: bool,
    /// `window`, from the event that started the run.
    pub window: SignedDuration,
    /// `fingerprint`: alerts that are alike in all these fields are one; an alert that lacks one of them
    /// is like no other.
    pub fingerprint: Vec<Field>,
    /// `providers`: only theirs; empty for all.
    pub providers: Vec<String>,
}

impl Default for Storm {
    fn default() -> Self {
        Self {
            enabled: true,
            window: WINDOW,
            fingerprint: vec![Field::correlation_key()],
            providers: Vec::new(),
        }
    }
}

impl Storm {
    pub(super) fn read(config: &Value) -> Self {
        let storm = at(config, "storm");
        let default = Self::default();
        let fields: Vec<Field> = texts(storm, "fingerprint")
            .filter_map(|name| Field::read(&name))
            .collect();
        Self {
            enabled: at(storm, "enabled").as_bool().unwrap_or(default.enabled),
            window: text(storm, "window")
                .and_then(|text| duration(&text))
                .unwrap_or(default.window),
            fingerprint: if fields.is_empty() {
                default.fingerprint
            } else {
                fields
            },
            providers: texts(storm, "providers").collect(),
        }
    }

    /// Whether the alerts of this provider are taken together.
    #[must_use]
    pub fn covers(&self, provider: &str) -> bool {
        let named = self.providers.is_empty() || self.providers.iter().any(|one| one == provider);
        self.enabled && named
    }
}

/// `90s`, `30m`, `2h`, `1d`.
pub(super) fn duration(text: &str) -> Option<SignedDuration> {
    let unit = text.chars().next_back()?;
    let number: i64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return None,
    };
    let seconds = number.checked_mul(seconds)?;
    (seconds > 0).then(|| SignedDuration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, seconds) in [
            ("90s", Some(90)),
            ("30m", Some(1_800)),
            ("2h", Some(7_200)),
            ("1d", Some(86_400)),
            ("0m", None),
            ("-1m", None),
            ("30", None),
            ("m", None),
            ("", None),
            ("9223372036854775807d", None),
            ("3ü", None),
        ] {
            assert_eq!(
                duration(text),
                seconds.map(SignedDuration::from_secs),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_odd_counts_as_absent() {
        assert_eq!(Storm::read(&json!({})), Storm::default());
        let odd = json!({"storm": {"enabled": "no", "window": 30, "fingerprint": ["colour", 1], "providers": 5}});
        assert_eq!(Storm::read(&odd), Storm::default());
        let own = Storm::read(
            &json!({"storm": {"window": "5m", "providers": ["pagerduty"],
            "fingerprint": ["title", "attributes.service_name"]}}),
        );
        assert_eq!(own.window, SignedDuration::from_mins(5));
        let names: Vec<&str> = own.fingerprint.iter().map(Field::name).collect();
        assert_eq!(names, ["title", "attributes.service_name"]);
        assert!(own.covers("pagerduty") && !own.covers("github"));
        let off = Storm::read(&json!({"storm": {"enabled": false}}));
        assert!(!off.covers("pagerduty"));
    }
}
