//! A team's rules over events, compiled once when its settings change. Pure.
//!
//! A rule that cannot be evaluated, because of its expression or because of the event, is skipped and
//! told of; it never takes the other rules or the team down.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};
use tocsin_expr::{Expression, Fault, Program, Scope, Values};
use tocsin_wire::event_form;
use tocsin_wire::proto::Event;
use tocsin_wire::rule::{MAX_RULES, Rule, Then};

/// Longest value that an explanation shows, in characters.
const MAX_SHOWN_CHARACTERS: usize = 80;

/// Names that say at which point of its life an alert is. A rule that asks for one of them means that point; any
/// other rule means alerts that fire.
const STAGE: [&str; 4] = ["kind", "action", "native_type", "status"];

/// Names below which an event has only what it has; what else a rule asks for there is empty.
const OPEN: [&str; 2] = ["attributes", "all_identifiers"];

/// The rules of a team, in order.
#[derive(Debug, Default)]
pub struct EventRules {
    rules: Vec<EventRule>,
    program: Program,
    /// What the rules ask for below [`OPEN`].
    asked: BTreeSet<(String, String)>,
}

/// One entry of the list.
#[derive(Debug)]
struct EventRule {
    name: String,
    when: String,
    then: Option<Then>,
    is_enabled: bool,
    /// Its expression asks for one of [`STAGE`].
    names_stage: bool,
    /// Its number in the program, or why it cannot be evaluated over any event.
    compiled: Result<usize, String>,
}

/// What the rules say of one event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict<'a> {
    /// The first that holds.
    pub winner: Option<Winner<'a>>,
    /// Those before it that could not be evaluated, and why.
    pub failed: Vec<(&'a str, String)>,
}

/// The rule that decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Winner<'a> {
    pub name: &'a str,
    pub when: &'a str,
    pub then: &'a Then,
    /// It says at which point of an alert's life it holds: when it is resolved, say.
    pub names_stage: bool,
    /// What its expression was evaluated over: `severity is "high"`.
    pub because: String,
}

/// How one rule was evaluated, for people who try rules out.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub name: String,
    pub when: String,
    pub then: Option<Then>,
    pub is_enabled: bool,
    /// The values that its expression uses, each once, in order; null where there is none.
    pub values: Vec<(String, Value)>,
    /// Whether it holds, or why nobody can tell. Also of rules after the winner, and switched off ones.
    pub result: Result<bool, String>,
    pub is_winner: bool,
}

impl EventRules {
    /// Reads `rules` of an effective config. What is no list counts as none.
    #[must_use]
    pub fn read(rules: &Value) -> Self {
        let entries = rules.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut read = Self::default();
        if entries.is_empty() {
            return read;
        }
        let names: Vec<String> = event_form::names().collect();
        let scope = Scope::of(names.iter().map(String::as_str));
        for (number, entry) in entries.iter().take(MAX_RULES).enumerate() {
            let rule = read.compile(number, entry, &scope);
            read.rules.push(rule);
        }
        read
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    fn compile(&mut self, number: usize, entry: &Value, scope: &Scope) -> EventRule {
        let rule = match Rule::read(entry) {
            Ok(rule) => rule,
            Err(fault) => {
                let text = |name: &str| entry.get(name).and_then(Value::as_str);
                return EventRule {
                    name: text("name").map_or_else(|| format!("rules.{number}"), short),
                    when: text("when").map_or_else(String::new, short),
                    then: None,
                    is_enabled: entry.get("enabled") != Some(&Value::Bool(false)),
                    names_stage: false,
                    compiled: Err(fault.problem),
                };
            }
        };
        let compiled = match &rule.then {
            Then::Flow(_) => Err("it starts a flow, and this installation has none".to_owned()),
            _ => self.add(&rule.when, scope),
        };
        let expression = compiled.as_ref().ok();
        let expression = expression.and_then(|number| self.program.expression(*number));
        EventRule {
            name: rule.name,
            when: rule.when,
            then: Some(rule.then),
            is_enabled: rule.is_enabled,
            names_stage: expression.is_some_and(names_stage),
            compiled,
        }
    }

    fn add(&mut self, when: &str, scope: &Scope) -> Result<usize, String> {
        let unusable = |fault: Fault| format!("its expression cannot be used ({fault})");
        let expression = Expression::parse(when).map_err(unusable)?;
        expression.check(scope).map_err(unusable)?;
        let number = self.program.add(&expression).map_err(unusable)?;
        for reference in expression.references() {
            if let [root, name, ..] = reference.path.as_slice()
                && OPEN.contains(&root.as_str())
            {
                self.asked.insert((root.clone(), name.clone()));
            }
        }
        Ok(number)
    }

    /// The first rule that holds, and those before it that failed.
    #[must_use]
    pub fn judge(&self, event: &Event) -> Verdict<'_> {
        let mut verdict = Verdict::default();
        if self.rules.is_empty() {
            return verdict;
        }
        let values = self.values(event);
        for rule in self.rules.iter().filter(|rule| rule.is_enabled) {
            match (self.holds(rule, &values), &rule.then) {
                (Ok(false), _) => {}
                (Ok(true), Some(then)) => {
                    verdict.winner = Some(Winner {
                        name: &rule.name,
                        when: &rule.when,
                        then,
                        names_stage: rule.names_stage,
                        because: self.because(rule, &values),
                    });
                    return verdict;
                }
                (Ok(true), None) => {}
                (Err(why), _) => verdict.failed.push((&rule.name, why)),
            }
        }
        verdict
    }

    /// Every rule, in order.
    #[must_use]
    pub fn trace(&self, event: &Event) -> Vec<Step> {
        let values = self.values(event);
        let mut is_decided = false;
        let steps = self.rules.iter().map(|rule| {
            let result = self.holds(rule, &values);
            let is_winner = !is_decided && rule.is_enabled && result == Ok(true);
            is_decided |= is_winner;
            Step {
                name: rule.name.clone(),
                when: rule.when.clone(),
                then: rule.then.clone(),
                is_enabled: rule.is_enabled,
                values: self.used(rule, &values),
                result,
                is_winner,
            }
        });
        steps.collect()
    }

    fn values(&self, event: &Event) -> Values {
        let mut values = event_form::values(event);
        for (root, name) in &self.asked {
            if let Some(Value::Object(members)) = values.get_mut(root)
                && !members.contains_key(name)
            {
                members.insert(name.clone(), "".into());
            }
        }
        Values::new(&values)
    }

    fn holds(&self, rule: &EventRule, values: &Values) -> Result<bool, String> {
        let number = rule.compiled.as_ref().map_err(Clone::clone)?;
        let result = self.program.holds(*number, values);
        result.map_err(|failure| failure.problem)
    }

    fn used(&self, rule: &EventRule, values: &Values) -> Vec<(String, Value)> {
        let number = rule.compiled.as_ref().ok().copied();
        let expression = number.and_then(|number| self.program.expression(number));
        let mut seen = Map::new();
        let mut used = Vec::new();
        let references = expression.map(Expression::references).unwrap_or_default();
        for reference in references {
            let name = reference.path.join(".");
            if seen.insert(name.clone(), Value::Null).is_none() {
                let value = match values.get(reference).unwrap_or_default() {
                    Value::String(text) => short(&text).into(),
                    other => other,
                };
                used.push((name, value));
            }
        }
        used
    }

    fn because(&self, rule: &EventRule, values: &Values) -> String {
        let mut text = String::new();
        for (name, value) in self.used(rule, values) {
            let separator = if text.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _infallible = write!(text, "{separator}{name} is {value}");
        }
        if text.is_empty() {
            "it asks for nothing of the event".clone_into(&mut text);
        }
        short_to(&text, 4 * MAX_SHOWN_CHARACTERS)
    }
}

fn names_stage(expression: &Expression) -> bool {
    let mut roots = expression.references().iter().map(|used| used.path.first());
    roots.any(|root| root.is_some_and(|root| STAGE.contains(&root.as_str())))
}

/// Two of the same entries judge alike.
impl PartialEq for EventRules {
    fn eq(&self, other: &Self) -> bool {
        let entry = |rule: &EventRule| {
            (
                rule.name.clone(),
                rule.when.clone(),
                rule.then.clone(),
                rule.is_enabled,
            )
        };
        self.rules
            .iter()
            .map(entry)
            .eq(other.rules.iter().map(entry))
    }
}

fn short(text: &str) -> String {
    short_to(text, MAX_SHOWN_CHARACTERS)
}

fn short_to(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let start: String = text.chars().take(characters).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests;
