//! The team's rules for events: each must be whole, its expression sound, and every name it uses one
//! of an event or of this node. Judged on what holds at a node. Pure.

use std::collections::BTreeMap;

use serde_json::Value;
use tocsin_expr::{Expression, Scope};
use tocsin_wire::event_form;
use tocsin_wire::rule::{Rule as EventRule, Then};

use super::dependency::{is_enabled, unknown};
use super::path::Path;
use super::violation::{Rule, Violation};
use crate::merge::Config;

/// All faults of the rules of an effective config. What is of another JSON type is the schema's to say.
pub(crate) fn faults(effective: &Config) -> Vec<Violation> {
    let rules = effective.get("rules").and_then(Value::as_array);
    let rules = rules.map(Vec::as_slice).unwrap_or_default();
    if rules.is_empty() {
        return Vec::new();
    }
    let names: Vec<String> = event_form::names().collect();
    let scope = Scope::of(names.iter().map(String::as_str));
    let mut found = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (number, value) in rules.iter().enumerate() {
        let place = Place { number, value };
        let rule = match EventRule::read(value) {
            Ok(rule) => rule,
            Err(fault) => {
                found.push(place.invalid(fault.field, &fault.problem));
                continue;
            }
        };
        if let Some(first) = seen.insert(rule.name.clone(), number) {
            let problem = format!("rules.{first} has the same name; a decision names its rule");
            found.push(place.invalid("name", &problem));
        }
        found.extend(expression(&place, &rule.when, &scope));
        found.extend(consequence(&place, &rule.then, effective));
    }
    found
}

/// One entry of the list.
struct Place<'a> {
    number: usize,
    value: &'a Value,
}

impl Place<'_> {
    fn path(&self, field: &str) -> Path {
        let rule = Path::of(["rules", self.number.to_string().as_str()]);
        let fields = field.split('.').filter(|key| !key.is_empty());
        fields.fold(rule, |path, key| path.child(key))
    }

    /// How people call it.
    fn name(&self) -> String {
        let name = self.value.get("name").and_then(Value::as_str);
        name.map_or_else(String::new, |name| {
            let short: String = name.chars().take(128).collect();
            format!(" (rule {short:?})")
        })
    }

    fn invalid(&self, field: &str, problem: &str) -> Violation {
        self.violation(Rule::Unevaluable, field, problem)
    }

    fn violation(&self, rule: Rule, field: &str, problem: &str) -> Violation {
        let path = self.path(field);
        let message = format!("{path}{}: {problem}", self.name());
        Violation::saying(rule, &path, "a rule that can be evaluated", message)
    }
}

fn expression(place: &Place<'_>, when: &str, scope: &Scope) -> Option<Violation> {
    let checked = Expression::parse(when).and_then(|expression| expression.check(scope));
    checked.err().map(|fault| {
        let mut violation = place.invalid("when", &fault.to_string());
        violation.suggestion = fault.suggestion;
        violation
    })
}

fn consequence(place: &Place<'_>, then: &Then, effective: &Config) -> Option<Violation> {
    match then {
        Then::Ignore | Then::Join => None,
        Then::Flow(_) => {
            let problem =
                "this installation has no flows; let the rule start an agent, ignore or join";
            Some(place.violation(Rule::FlowUnavailable, "then.flow", problem))
        }
        Then::Agent(agent) => {
            let agents = effective.get("agents").and_then(Value::as_object);
            let path = place.path("then.agent");
            match agents.and_then(|agents| agents.get(agent)) {
                Some(Value::Object(found)) if is_enabled(found) => None,
                Some(Value::Object(_)) => {
                    let problem =
                        format!("agent {agent} is switched off; enable it or name another");
                    Some(place.invalid("then.agent", &problem))
                }
                _ => {
                    let known = agents.into_iter().flatten().map(|(id, _)| id.as_str());
                    let expected = "an agent of this node";
                    Some(unknown(Rule::UnknownAgent, &path, expected, agent, known))
                }
            }
        }
    }
}
