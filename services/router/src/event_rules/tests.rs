use std::time::Instant;

use proptest::prelude::*;
use serde_json::json;
use tocsin_wire::event_form::EventForm;

use super::*;

fn event(form: Value) -> Event {
    let form: EventForm = serde_json::from_value(form).expect("a form");
    Event::try_from(form).expect("an event")
}

fn rule(name: &str, when: &str, then: &Value) -> Value {
    json!({"name": name, "when": when, "then": then})
}

fn alert() -> Event {
    event(json!({
        "provider": "pagerduty", "kind": "incident_triggered", "title": "Payment is slow", "severity": "high",
        "attributes": {"urgency": "high"}, "identifiers": {"service": "Payments", "github_repo": "Acme/Pay"},
    }))
}

#[test]
fn the_first_rule_that_holds_decides() {
    let ignore = json!("ignore");
    let mut off = rule("off", "true", &ignore);
    off["enabled"] = json!(false);
    let rules = EventRules::read(&json!([
        off,
        rule("other", "provider == 'slack'", &ignore),
        rule(
            "pay",
            "identifiers.github_repo == 'acme/pay' and title.contains('Pay')",
            &json!({"agent": "pay"})
        ),
        rule("all", "true", &ignore),
    ]));
    let winner = rules.judge(&alert()).winner.expect("one holds");
    assert_eq!(
        (winner.name, winner.then),
        ("pay", &Then::Agent("pay".to_owned()))
    );
    let because = "identifiers.github_repo is \"acme/pay\", title is \"Payment is slow\"";
    assert_eq!(winner.because, because);
    let steps = rules.trace(&alert());
    let won: Vec<bool> = steps.iter().map(|step| step.is_winner).collect();
    assert_eq!(won, [false, false, true, false]);
    let results: Vec<_> = steps.iter().map(|step| step.result.clone()).collect();
    assert_eq!(results, [Ok(true), Ok(false), Ok(true), Ok(true)]);
    assert_eq!(
        steps[1].values,
        [("provider".to_owned(), json!("pagerduty"))]
    );
}

#[test]
fn what_an_event_lacks_is_empty() {
    for when in [
        "attributes.conclusion == ''",
        "not attributes.conclusion",
        "'x' not in all_identifiers.slack_team",
        "identifiers.slack_channel_id == '' and actor.name == '' and conversation.channel == ''",
        "status == '' and occurred_at == '' and severity_native == ''",
    ] {
        let rules = EventRules::read(&json!([rule("r", when, &json!("join"))]));
        let verdict = rules.judge(&alert());
        assert_eq!(verdict.failed, [], "{when}");
        assert!(verdict.winner.is_some(), "{when}");
    }
}

#[test]
fn a_bad_rule_is_skipped_and_told_of() {
    let rules = EventRules::read(&json!([
        "no rule",
        rule("syntax", "severity =", &json!("ignore")),
        rule("name", "severty == 'x'", &json!("ignore")),
        rule("flow", "true", &json!({"flow": "f"})),
        rule("type", "title|int > 3", &json!("ignore")),
        rule("good", "severity == 'high'", &json!("ignore")),
    ]));
    let verdict = rules.judge(&alert());
    assert_eq!(verdict.winner.map(|winner| winner.name), Some("good"));
    let failed: Vec<&str> = verdict.failed.iter().map(|(name, _)| *name).collect();
    assert_eq!(failed, ["rules.0", "syntax", "name", "flow", "type"]);
    let why = &verdict.failed[2].1;
    assert!(why.contains("did you mean severity?"), "{why}");
    for odd in [json!(null), json!("x"), json!({"a": 1}), json!([null, 5])] {
        assert_eq!(EventRules::read(&odd).judge(&alert()).winner, None);
    }
}

/// Prints what twenty rules cost; `--no-capture` shows it. The limit only catches a disaster: a debug
/// build on a busy machine is no bench.
#[test]
#[expect(clippy::disallowed_methods, reason = "measures")]
fn twenty_rules_take_microseconds() {
    let rules: Vec<Value> = (0..20)
        .map(|number| {
            let when = format!(
                "severity in ['high', 'critical'] and 'nothing {number}' in title|lower and \
                 identifiers.github_repo == 'acme/shop'"
            );
            rule(&number.to_string(), &when, &json!("ignore"))
        })
        .collect();
    let rules = EventRules::read(&json!(rules));
    let event = alert();
    let rounds = 1_000;
    let begin = Instant::now();
    for _ in 0..rounds {
        assert_eq!(rules.judge(&event).winner, None);
    }
    let each = begin.elapsed() / rounds;
    println!("20 rules over one event: {each:?}");
    assert!(each.as_millis() < 20, "{each:?}");
}

proptest! {
    #[test]
    fn no_list_takes_the_team_down(whens in prop::collection::vec(".{0,30}", 0..6), odd in any::<bool>()) {
        let rules: Vec<Value> = whens
            .iter()
            .map(|when| if odd { json!(when) } else { rule("r", when, &json!("ignore")) })
            .collect();
        let rules = EventRules::read(&json!(rules));
        let trace = rules.trace(&alert());
        prop_assert_eq!(trace.len(), whens.len());
        let winner = trace.iter().find(|step| step.is_winner).map(|step| step.when.clone());
        prop_assert_eq!(rules.judge(&alert()).winner.map(|winner| winner.when.to_owned()), winner);
    }
}
