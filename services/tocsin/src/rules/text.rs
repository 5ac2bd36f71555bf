//! How rules saw an event, as people read it in a terminal.

use std::fmt::Write as _;

use serde_json::Value;

use crate::life_text::{items, one_line, text};

/// Columns for one line of a step before it is cut.
const COLUMNS: usize = 110;

/// The whole answer of the router.
pub(crate) fn page(answer: &Value) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _infallible = writeln!(
        page,
        "event {}",
        one_line(text(answer, "/event_id"), COLUMNS)
    );
    line(&mut page, 18, "rules of", &whose(answer));
    let decides = match text(answer, "/rule") {
        "" => "none: the triggers decide".to_owned(),
        name => format!("rule {name:?}"),
    };
    line(&mut page, 18, "first that holds", &decides);
    line(&mut page, 18, "decision", text(answer, "/action"));
    line(&mut page, 18, "agent", text(answer, "/run/agent"));
    for reason in items(answer, "reasons") {
        line(
            &mut page,
            18,
            text(reason, "/code"),
            text(reason, "/detail"),
        );
    }
    for (number, rule) in items(answer, "rules").enumerate() {
        step(&mut page, number + 1, rule);
    }
    page
}

fn whose(answer: &Value) -> String {
    let owner = match (text(answer, "/owner/org"), text(answer, "/owner/team")) {
        ("", _) | (_, "") => "nobody's".to_owned(),
        (org, team) => format!("{org}/{team}'s"),
    };
    match text(answer, "/rules_of") {
        "" => format!("nobody: the event is {owner}; say whose rules with --team"),
        whose => format!("{whose} (the event is {owner})"),
    }
}

fn step(page: &mut String, number: usize, rule: &Value) {
    let is = |name: &str| rule.get(name).and_then(Value::as_bool);
    let mark = match (is("decides"), is("enabled"), is("result")) {
        (Some(true), ..) => "decides",
        (_, Some(false), _) => "switched off",
        (.., Some(true)) => "holds, too late",
        (.., Some(false)) => "does not hold",
        (.., None) => "cannot be evaluated",
    };
    let name = one_line(text(rule, "/name"), COLUMNS);
    let _infallible = writeln!(page, "\n{number}. {name}: {mark}");
    line(page, 8, "when", text(rule, "/when"));
    let values = rule.get("values").and_then(Value::as_object);
    for (name, value) in values.into_iter().flatten() {
        line(page, 8, "", &format!("{name} = {value}"));
    }
    line(page, 8, "error", text(rule, "/error"));
    let then = rule.get("then").filter(|then| !then.is_null());
    let then = then.map(|then| match then {
        Value::String(word) => word.clone(),
        other => other.to_string(),
    });
    line(page, 8, "then", &then.unwrap_or_default());
}

fn line(page: &mut String, width: usize, name: &str, value: &str) {
    if !value.is_empty() {
        let value = one_line(value, COLUMNS);
        let _infallible = writeln!(page, "  {name:<width$} {value}");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_step_is_shown_and_the_deciding_one_marked() {
        let rule = |name: &str, result: Value, error: Value, decides: bool| {
            json!({"name": name, "when": "severity == 'low'", "then": {"agent": "pay"}, "enabled": name != "off",
                "values": {"severity": "low"}, "result": result, "error": error, "decides": decides})
        };
        let answer = json!({
            "event_id": "e1", "action": "run", "owner": {"org": "acme", "team": "pay"}, "rules_of": "proposed",
            "rule": "low", "run": {"agent": "pay"},
            "reasons": [{"code": "rule_matched", "detail": "The team's rule \"low\" holds."}],
            "rules": [
                rule("broken", json!(null), json!("title has\u{1b} no value"), false),
                rule("off", json!(true), json!(null), false),
                rule("no", json!(false), json!(null), false),
                rule("low", json!(true), json!(null), true),
                rule("late", json!(true), json!(null), false),
            ],
        });
        insta::assert_snapshot!(page(&answer));
        let nobody = json!({"event_id": "e1", "action": "no_route", "owner": null, "rules": []});
        let page = page(&nobody);
        assert!(page.contains("say whose rules with --team"), "{page}");
    }
}
