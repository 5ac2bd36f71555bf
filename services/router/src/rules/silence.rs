//! `silences`: what a team does not want to be looked at for a while.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tocsin_wire::cron::Cron;
use tocsin_wire::proto::Event;

use super::field::Field;
use super::storm::duration;
use super::{entries, list, text};

/// A silence, or a maintenance window.
#[derive(Clone, Debug, PartialEq)]
pub struct Silence {
    pub name: String,
    /// Why, in the words of whoever set it; may be empty.
    pub reason: String,
    /// Field and patterns of which one must match; all fields must.
    matches: Vec<(Field, Vec<String>)>,
    span: Span,
}

#[derive(Clone, Debug, PartialEq)]
enum Span {
    Range {
        from: Option<Timestamp>,
        until: Timestamp,
    },
    Recurring {
        cron: Cron,
        duration: SignedDuration,
        zone: TimeZone,
    },
}

impl Silence {
    /// The silences of a config. One that is not understood is left out: an alert too many is better than
    /// one too few. Config refuses such when they are saved.
    pub(super) fn read_all(config: &Value) -> Vec<Self> {
        list(config, "silences").filter_map(Self::read).collect()
    }

    fn read(value: &Value) -> Option<Self> {
        let mut matches = Vec::new();
        for (name, wanted) in entries(value, "match") {
            let patterns: Vec<String> = match wanted {
                Value::String(one) => vec![one.clone()],
                Value::Array(several) => several
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
                _ => return None,
            };
            matches.push((Field::read(name)?, patterns));
        }
        Some(Self {
            name: text(value, "name")?,
            reason: text(value, "reason").unwrap_or_default(),
            matches,
            span: Span::read(value)?,
        })
    }

    /// When the silence ends that holds for `event` at `at`; `None` when none does.
    #[must_use]
    pub fn holds(&self, event: &Event, at: Timestamp) -> Option<Timestamp> {
        let fits = self.matches.iter().all(|(field, patterns)| {
            let value = field.of(event).unwrap_or_default();
            patterns.iter().any(|pattern| is_like(&value, pattern))
        });
        fits.then(|| self.span.end(at)).flatten()
    }
}

impl Span {
    fn read(value: &Value) -> Option<Self> {
        let Some(cron) = text(value, "cron") else {
            let time = |name| text(value, name).map(|text| text.parse::<Timestamp>());
            return Some(Self::Range {
                from: time("from").transpose().ok()?,
                until: time("until")?.ok()?,
            });
        };
        let zone = text(value, "time_zone").map_or(Ok(TimeZone::UTC), |name| TimeZone::get(&name));
        Some(Self::Recurring {
            cron: cron.parse().ok()?,
            duration: duration(&text(value, "duration")?)?,
            zone: zone.ok()?,
        })
    }

    /// The end is not part of it.
    fn end(&self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Range { from, until } => {
                let has_begun = from.is_none_or(|from| from <= at);
                (has_begun && at < *until).then_some(*until)
            }
            Self::Recurring {
                cron,
                duration,
                zone,
            } => {
                let begun = cron.latest(at, *duration, zone)?;
                begun.checked_add(*duration).ok()
            }
        }
    }
}

/// Without regard to case; `*` stands for any characters.
fn is_like(value: &str, pattern: &str) -> bool {
    let value = value.to_lowercase();
    let pattern = pattern.to_lowercase();
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = value.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tocsin_wire::proto::Severity;

    use super::*;

    fn alert() -> Event {
        Event {
            provider: "pagerduty".to_owned(),
            kind: "incident_triggered".to_owned(),
            severity: Severity::Low.into(),
            title: "Disk usage on db-3".to_owned(),
            attributes: [("service_name".to_owned(), "checkout".to_owned())].into(),
            ..Event::default()
        }
    }

    fn end(silence: &Value, at: &str) -> Option<String> {
        let all = Silence::read_all(&json!({"silences": [silence]}));
        let silence = all.first()?;
        let end = silence.holds(&alert(), at.parse().expect("time"));
        end.map(|end| end.to_string())
    }

    #[test]
    fn a_silence_holds_from_its_beginning_until_its_end() {
        let range = json!({"name": "n", "from": "2026-11-21T02:00:00+01:00", "until": "2026-11-21T02:00:00Z"});
        let open = json!({"name": "n", "until": "2026-11-21T02:00:00Z"});
        let night = json!({"name": "n", "cron": "0 2 * * *", "duration": "90m", "time_zone": "Europe/Berlin"});
        let end_of_range = Some("2026-11-21T02:00:00Z");
        for (silence, at, expected) in [
            (&range, "2026-11-21T00:59:59Z", None),
            (&range, "2026-11-21T01:00:00Z", end_of_range),
            (&range, "2026-11-21T01:59:59Z", end_of_range),
            (&range, "2026-11-21T02:00:00Z", None),
            (&open, "2020-01-01T00:00:00Z", end_of_range),
            (&night, "2026-11-21T00:59:59Z", None),
            (&night, "2026-11-21T01:00:00Z", Some("2026-11-21T02:30:00Z")),
            (&night, "2026-11-21T02:29:59Z", Some("2026-11-21T02:30:00Z")),
            (&night, "2026-11-21T02:30:00Z", None),
            // In summer the same hour of the wall clock is another one.
            (&night, "2026-07-01T00:10:00Z", Some("2026-07-01T01:30:00Z")),
        ] {
            assert_eq!(end(silence, at).as_deref(), expected, "{silence} at {at}");
        }
    }

    #[test]
    fn all_fields_must_match_and_one_pattern_of_each() {
        for (matches, expected) in [
            (json!({}), true),
            (json!({"severity": "low"}), true),
            (json!({"severity": ["info", "LOW"]}), true),
            (json!({"severity": "high"}), false),
            (json!({"severity": "low", "provider": "github"}), false),
            (json!({"title": "disk*"}), true),
            (json!({"title": "disk*db-?"}), false),
            (json!({"title": "*usage*db-3"}), true),
            (json!({"title": "disk"}), false),
            (json!({"title": "*"}), true),
            (json!({"attributes.service_name": "checkout"}), true),
            (json!({"attributes.region": "eu"}), false),
            (json!({"severity": []}), false),
        ] {
            let silence = json!({"name": "n", "until": "2030-01-01T00:00:00Z", "match": matches});
            assert_eq!(
                end(&silence, "2026-01-01T00:00:00Z").is_some(),
                expected,
                "{matches}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_silences_nothing() {
        for broken in [
            json!({"name": "n"}),
            json!({"until": "2030-01-01T00:00:00Z"}),
            json!({"name": "n", "until": "tomorrow"}),
            json!({"name": "n", "until": "2030-01-01T00:00:00Z", "from": "x"}),
            json!({"name": "n", "until": "2030-01-01T00:00:00Z", "match": {"colour": "red"}}),
            json!({"name": "n", "until": "2030-01-01T00:00:00Z", "match": {"kind": 5}}),
            json!({"name": "n", "cron": "* * * * *"}),
            json!({"name": "n", "cron": "* * * * *", "duration": "1h", "time_zone": "Mars"}),
            json!({"name": "n", "cron": "@daily", "duration": "1h"}),
            json!("n"),
        ] {
            assert_eq!(end(&broken, "2026-01-01T00:00:00Z"), None, "{broken}");
        }
    }
}
