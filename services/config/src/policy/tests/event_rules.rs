//! Rules for events: what is refused when they are saved, where, and under which code.

use super::*;

#[expect(
    clippy::needless_pass_by_value,
    reason = "literals read best as they are"
)]
fn rule(when: &str, then: Value) -> Value {
    json!({"name": "n", "when": when, "then": then})
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "literals read best as they are"
)]
fn saved(entries: Value) -> Verdict {
    let rules = rules(vec![], json!({}));
    by_team(&rules, json!({}), &json!({"rules": entries}))
}

#[test]
fn good_rules_are_saved() {
    let good = json!([
        {"name": "a", "when": "severity in ['high', 'critical'] and 'pay' in title|lower", "then": {"agent": "planner"}},
        {"name": "b", "when": "$attributes.environment == 'staging' && !(actor.kind == 'user')", "then": "ignore"},
        {"name": "c", "when": "identifiers.github_repo == 'acme/shop'", "then": "join", "enabled": false, "x_by": "ada"},
        {"name": "d", "when": "'PT1' in all_identifiers.pagerduty_team_ids|default([])", "then": "join"},
    ]);
    assert_eq!(saved(good), Verdict::Apply);
    assert_eq!(saved(json!([])), Verdict::Apply);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn bad_rules_are_refused_where_they_are_bad() {
    let ignore = || json!("ignore");
    let hundred: Vec<Value> = (0..101)
        .map(|number| json!({"name": number.to_string(), "when": "true", "then": "ignore"}))
        .collect();
    for (entries, rule, path) in [
        (
            json!([rule("severity = 'high'", ignore())]),
            Rule::Unevaluable,
            "rules.0.when",
        ),
        (
            json!([rule("severty == 'high'", ignore())]),
            Rule::Unevaluable,
            "rules.0.when",
        ),
        (
            json!([rule("identifiers.repo == 'a'", ignore())]),
            Rule::Unevaluable,
            "rules.0.when",
        ),
        (
            json!([rule("title|shout == 'A'", ignore())]),
            Rule::Unevaluable,
            "rules.0.when",
        ),
        (
            json!([rule("", ignore())]),
            Rule::OutOfRange,
            "rules.0.when",
        ),
        (
            json!([rule(&"x".repeat(4097), ignore())]),
            Rule::OutOfRange,
            "rules.0.when",
        ),
        (
            json!([rule("true", json!({"flow": "escalate"}))]),
            Rule::FlowUnavailable,
            "rules.0.then.flow",
        ),
        (
            json!([rule("true", json!({"agent": "planer"}))]),
            Rule::UnknownAgent,
            "rules.0.then.agent",
        ),
        (
            json!([rule("true", json!("drop"))]),
            Rule::Unevaluable,
            "rules.0.then",
        ),
        (
            json!([rule("true", json!({"agent": 5}))]),
            Rule::WrongType,
            "rules.0.then.agent",
        ),
        (
            json!([{"name": "n", "when": "true"}]),
            Rule::Unevaluable,
            "rules.0.then",
        ),
        (
            json!([{"name": "n", "when": "true", "than": "join"}]),
            Rule::UnknownField,
            "rules.0.than",
        ),
        (
            json!([rule("true", ignore()), rule("true", ignore())]),
            Rule::Unevaluable,
            "rules.1.name",
        ),
        (json!("true"), Rule::WrongType, "rules"),
        (json!(hundred), Rule::OutOfRange, "rules"),
    ] {
        let found = broken(saved(entries.clone()));
        assert_eq!(
            found.first(),
            Some(&(rule, path.to_owned())),
            "{entries}: {found:?}"
        );
    }
}

#[test]
fn a_refusal_tells_the_person_what_to_write() {
    let entries = json!([
        rule("true", json!("join")),
        rule("severty == 'high'", json!("ignore"))
    ]);
    let entries = {
        let mut entries = entries;
        entries[1]["name"] = json!("loud ones");
        entries
    };
    let Verdict::Refuse(violations) = saved(entries) else {
        panic!("refused");
    };
    let told: Vec<&str> = violations.iter().map(|one| one.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "rules.1.when (rule \"loud ones\"): column 1: there is no value severty; did you mean severity?"
        ]
    );
    assert_eq!(violations[0].suggestion.as_deref(), Some("severity"));
}

#[test]
fn an_agent_that_a_rule_names_stays_and_other_work_goes_on() {
    let rules = rules(vec![], json!({}));
    let good = json!({
        "agents": {"pay": {}},
        "rules": [rule("true", json!({"agent": "pay"}))],
    });
    assert_eq!(by_team(&rules, json!({}), &good), Verdict::Apply);
    let mut off = good.clone();
    off["agents"]["pay"]["enabled"] = json!(false);
    let refused = one(Rule::Unevaluable, "rules.0.then.agent");
    assert_eq!(broken(by_team(&rules, good, &off)), refused);
    // A rule of old that nobody could save today: unrelated work goes on, touching the rules does not.
    let old = json!({"rules": [rule("gone == 1", json!("ignore"))]});
    let mut other = old.clone();
    other["knowledge_tree"] = json!("x");
    other["agents"] = json!({"new": {}});
    assert_eq!(by_team(&rules, old.clone(), &other), Verdict::Apply);
    let mut still_bad = old.clone();
    still_bad["rules"][0]["when"] = json!("gone == 2");
    let refused = one(Rule::Unevaluable, "rules.0.when");
    assert_eq!(broken(by_team(&rules, old, &still_bad)), refused);
}
