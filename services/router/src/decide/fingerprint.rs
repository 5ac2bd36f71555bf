//! Which alerts are one and the same.

use jiff::SignedDuration;
use tocsin_wire::KeyToken;
use tocsin_wire::proto::Event;

use super::event_parts::is_said;
use crate::owner::Owner;
use crate::rules::{Field, TeamRules};

/// Events of one team with the same fingerprint tell of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Names and values of the fields, as a JSON list of pairs: no two lists of fields read the same.
    pub text: String,
    /// How long a run is joined, from the event that started it.
    pub window: SignedDuration,
}

impl Fingerprint {
    /// The key in the bucket `open`.
    #[must_use]
    pub fn key(&self, owner: &Owner) -> String {
        let token = KeyToken::encode(&self.text);
        format!("{}.{}.{token}", owner.org, owner.team)
    }
}

/// `None` for what people say, which is never the same thing twice; for what the team wants apart; and for
/// an alert that lacks a field of the fingerprint: two that tell nothing are not alike.
///
/// `is_asked`: a rule of the team lets it join, whatever is taken together else.
pub(super) fn fingerprint(event: &Event, rules: &TeamRules, is_asked: bool) -> Option<Fingerprint> {
    let storm = &rules.storm;
    if is_said(event) || !(is_asked || storm.covers(&event.provider)) {
        return None;
    }
    let fields = storm.fingerprint.iter();
    let pairs: Option<Vec<_>> = fields
        .map(|field| Some((field.name(), field.of(event)?)))
        .collect();
    Some(Fingerprint {
        text: serde_json::to_string(&pairs?).ok()?,
        window: storm.window,
    })
}

/// What only an alert and its end have in common; `None` when `fingerprint` is that already.
pub(super) fn resolution(event: &Event, fingerprint: Option<&Fingerprint>) -> Option<Fingerprint> {
    let key = &event.correlation_key;
    if key.is_empty() || is_said(event) {
        return None;
    }
    let by_default = serde_json::to_string(&[[Field::correlation_key().name(), key]]).ok()?;
    if fingerprint.is_some_and(|fingerprint| fingerprint.text == by_default) {
        return None;
    }
    Some(Fingerprint {
        text: serde_json::to_string(&[["resolves", key]]).ok()?,
        window: SignedDuration::ZERO,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tocsin_wire::proto::{Identifier, Severity};

    use super::*;

    fn alert() -> Event {
        Event {
            provider: "pagerduty".to_owned(),
            kind: "incident_triggered".to_owned(),
            correlation_key: "pagerduty:shared:P1".to_owned(),
            title: "5xx".to_owned(),
            severity: Severity::High.into(),
            attributes: [("service_name".to_owned(), "checkout".to_owned())].into(),
            identifiers: vec![Identifier {
                r#type: "service".to_owned(),
                value: "pay".to_owned(),
            }],
            ..Event::default()
        }
    }

    fn text(event: &Event, storm: &Value) -> Option<String> {
        let config = json!({ "storm": storm }).to_string();
        let rules = TeamRules::parse(config.as_bytes()).expect("JSON");
        fingerprint(event, &rules, false).map(|fingerprint| fingerprint.text)
    }

    #[test]
    fn the_fields_that_the_team_names_make_alerts_alike() {
        for (storm, expected) in [
            (
                json!({}),
                Some(r#"[["correlation_key","pagerduty:shared:P1"]]"#),
            ),
            (
                json!({"fingerprint": ["title", "attributes.service_name", "identifiers.service", "severity"]}),
                Some(
                    r#"[["title","5xx"],["attributes.service_name","checkout"],["identifiers.service","pay"],["severity","high"]]"#,
                ),
            ),
            (json!({"fingerprint": ["title", "attributes.region"]}), None),
            (json!({"enabled": false}), None),
            (json!({"providers": ["incidentio"]}), None),
        ] {
            assert_eq!(text(&alert(), &storm).as_deref(), expected, "{storm}");
        }
        let without = Event {
            correlation_key: String::new(),
            ..alert()
        };
        assert_eq!(text(&without, &json!({})), None);
    }

    #[test]
    fn what_people_say_is_never_the_same_thing_twice() {
        for (provider, kind) in [
            ("slack", "app_mention"),
            ("github", "issue_comment"),
            ("github", "pull_request_review_comment"),
        ] {
            let said = Event {
                provider: provider.to_owned(),
                kind: kind.to_owned(),
                ..alert()
            };
            assert_eq!(text(&said, &json!({})), None, "{provider} {kind}");
        }
    }

    #[test]
    fn no_two_fingerprints_share_a_key_by_accident() {
        let window = SignedDuration::from_mins(1);
        let owner = |team| Owner::new("acme", team).expect("tokens");
        let one = Fingerprint {
            text: r#"[["title","a"],["kind","b"]]"#.to_owned(),
            window,
        };
        let other = Fingerprint {
            text: r#"[["title","a\"],[\"kind\",\"b"]]"#.to_owned(),
            window,
        };
        assert_ne!(one.key(&owner("pay")), other.key(&owner("pay")));
        assert_ne!(one.key(&owner("pay")), one.key(&owner("shop")));
    }
}
