//! What may be written: the one place where locks, limits, values, names, dependencies and approvals
//! are decided, for every way in which a config changes. Pure.
//!
//! A write answers for what it does, not for what it finds: a fault that was there before, and that the
//! write does not touch, refuses nothing. So a rule that is new never stops unrelated work; `validation`
//! shows what does not hold to it yet.

mod approval;
mod dependency;
mod field;
mod names;
mod path;
mod readiness;
mod refusal;
mod review;
mod rules;
mod security;
mod violation;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tocsin_wire::catalogue::Catalogue;

pub(crate) use approval::{ChangeType, Reason};
pub(crate) use field::{Field, FieldDefinition, Level};
pub(crate) use path::{Path, Pattern};
pub(crate) use readiness::{Missing, Readiness, readiness};
pub(crate) use refusal::PolicyRefusal;
pub(crate) use review::{Reviewer, may_review};
pub(crate) use security::{InvalidPolicy, Security, SecurityPolicy};
pub(crate) use violation::{Lock, Rule, Violation};

use crate::merge::{self, Config};
use crate::node::Lineage;
use crate::schema::Schema;

/// What every config is judged by, whatever the database says.
#[derive(Debug)]
pub(crate) struct Standards {
    pub(crate) schema: Schema,
    pub(crate) catalogue: Catalogue,
    pub(crate) defaults: Config,
}

/// Everything that one org's configs are judged by.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) standards: Arc<Standards>,
    pub(crate) fields: Vec<Field>,
    pub(crate) security: Security,
    /// Of both, the org's first.
    locks: Vec<(Pattern, Lock)>,
}

impl Rules {
    /// Puts together what the database holds.
    pub(crate) fn new(standards: Arc<Standards>, fields: Vec<Field>, security: Security) -> Self {
        let of_policy = security.locked.iter().map(|pattern| {
            let lock = Lock {
                source: "security_policy".to_owned(),
                path: pattern.to_string(),
                locked_at_level: Level::Org,
                set_by: security.set_by.clone(),
                set_at: security.set_at,
            };
            (pattern.clone(), lock)
        });
        let of_fields = fields.iter().filter_map(|field| {
            let lock = Lock {
                source: "field_definition".to_owned(),
                path: field.pattern.to_string(),
                locked_at_level: field.definition.locked_at_level?,
                set_by: field.set_by.clone(),
                set_at: field.set_at,
            };
            Some((field.pattern.clone(), lock))
        });
        let locks = of_policy.chain(of_fields).chain(of_the_org()).collect();
        Self {
            standards,
            fields,
            security,
            locks,
        }
    }
}

/// What counts over all teams of an org would mean nothing if a team could set it.
fn of_the_org() -> Option<(Pattern, Lock)> {
    let pattern = Pattern::parse("limits.org").ok()?;
    let lock = Lock {
        source: "built_in".to_owned(),
        path: pattern.to_string(),
        locked_at_level: Level::Org,
        set_by: "tocsin".to_owned(),
        set_at: Timestamp::UNIX_EPOCH,
    };
    Some((pattern, lock))
}

/// A write, as it is judged.
#[derive(Clone, Copy)]
pub(crate) struct Judged<'a> {
    /// The node as it is, with all above it; a node that is being created sets nothing yet.
    pub(crate) line: &'a Lineage,
    /// What the node itself would set.
    pub(crate) after: &'a Config,
}

/// The judgement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// It may be written.
    Apply,
    /// It is allowed, and somebody else has to approve it first.
    Hold(Vec<Reason>),
    /// It breaks these rules.
    Refuse(Vec<Violation>),
}

/// What a write does, on paths.
struct Step<'a> {
    level: Level,
    own_before: &'a Config,
    own_after: &'a Config,
    effective_before: Config,
    effective_after: Config,
    /// Leaves that are other than before, of what the node sets or of what holds at it.
    changed: BTreeSet<Path>,
}

/// Judges a write.
pub(crate) fn judge(rules: &Rules, judged: &Judged<'_>) -> Verdict {
    let Some(node) = judged.line.node() else {
        return Verdict::Apply;
    };
    let above = judged.line.0.iter().rev().skip(1).rev();
    let layers =
        || std::iter::once(&rules.standards.defaults).chain(above.clone().map(|node| &node.config));
    let inherited = merge::effective(layers());
    let effective_before = merge::effective(layers().chain([&node.config]));
    let effective_after = merge::effective(layers().chain([judged.after]));
    let mut changed = path::changed(&node.config, judged.after);
    changed.extend(path::changed(&effective_before, &effective_after));
    let step = Step {
        level: node.kind.into(),
        own_before: &node.config,
        own_after: judged.after,
        effective_before,
        effective_after,
        changed,
    };
    let mut violations = locked(rules, &step, &inherited);
    violations.extend(immutable(&step));
    // Not among the news, where what was wrong before counts no more.
    violations.extend(rules.standards.schema.broken());
    violations.extend(news(rules.standards.schema.check(step.own_after), || {
        rules.standards.schema.check(step.own_before)
    }));
    violations.extend(values(rules, &step.effective_after, |path| {
        step.touches(path)
    }));
    violations.extend(hanging_together(rules, &step));
    let of_rules = event_rules(&step, &violations);
    violations.extend(of_rules);
    if !violations.is_empty() {
        return Verdict::Refuse(violations);
    }
    match approval::reasons(rules, &step.changed) {
        reasons if reasons.is_empty() => Verdict::Apply,
        reasons => Verdict::Hold(reasons),
    }
}

/// Everything that is wrong at a node, whoever wrote it, and what it still needs.
pub(crate) fn validation(rules: &Rules, line: &Lineage) -> (Readiness, Vec<Violation>) {
    let effective = line.effective(&rules.standards.defaults);
    let own = line.node().map(|node| &node.config);
    let mut violations = Vec::new();
    if let Some(own) = own {
        violations.extend(rules.standards.schema.check(own));
    }
    violations.extend(values(rules, &effective, |_| true));
    violations.extend(dependency::faults(&effective));
    violations.extend(names::faults(rules, &effective));
    violations.extend(rules::faults(&effective));
    (readiness(rules, &effective), violations)
}

impl Step<'_> {
    fn touches(&self, path: &Path) -> bool {
        self.changed
            .iter()
            .any(|changed| is_related(changed.keys(), path.keys()))
    }
}

/// One is the other, or above it.
fn is_related(one: &[String], other: &[String]) -> bool {
    one.iter().zip(other).all(|(one, other)| one == other)
}

/// Faults that were not there before; `before` is only asked when there are any.
fn news(after: Vec<Violation>, before: impl FnOnce() -> Vec<Violation>) -> Vec<Violation> {
    if after.is_empty() {
        return after;
    }
    let before = before();
    after
        .into_iter()
        .filter(|fault| !before.iter().any(|known| known.is_same_fault(fault)))
        .collect()
}

/// Changes of what a level above locked. Going back to what is inherited is always allowed: it is what
/// the lock wants.
fn locked(rules: &Rules, step: &Step<'_>, inherited: &Config) -> Vec<Violation> {
    let mut found = Vec::new();
    for path in &step.changed {
        let is_own = |config: &Config| path.get(config).is_some();
        let goes_back =
            !is_own(step.own_after) && path.get(&step.effective_after) == path.get(inherited);
        if goes_back {
            continue;
        }
        if let Some(lock) = lock_of(rules, step.level, path) {
            found.push(lock_violation(path, step, lock));
        }
    }
    found
}

fn lock_of<'a>(rules: &'a Rules, level: Level, path: &Path) -> Option<&'a Lock> {
    rules
        .locks
        .iter()
        .find(|(pattern, lock)| level > lock.locked_at_level && pattern.touches(path))
        .map(|(_, lock)| lock)
}

fn lock_violation(path: &Path, step: &Step<'_>, lock: &Lock) -> Violation {
    let (at, level) = (lock.locked_at_level.as_str(), step.level.as_str());
    let message =
        format!("{path}: field is locked at {at} level and cannot be modified at {level} level");
    let expected = match path.get(&step.effective_before) {
        Some(value) => format!("{}, as it is above", violation::shown(path, value)),
        None => "not set".to_owned(),
    };
    let mut found = Violation::saying(Rule::FieldLocked, path, expected, message);
    found.actual = path
        .get(step.own_after)
        .map(|value| violation::shown(path, value));
    found.lock = Some(lock.clone());
    found
}

/// A team's name is chosen once.
fn immutable(step: &Step<'_>) -> Option<Violation> {
    let path = Path::of(["team_name"]);
    let before = path
        .get(&step.effective_before)
        .filter(|name| !name.is_null())?;
    let after = path.get(&step.effective_after);
    if after == Some(before) {
        return None;
    }
    let message =
        format!("team_name is immutable: it is {before} and cannot be changed or removed");
    let mut found = Violation::saying(Rule::ImmutableField, &path, before.to_string(), message);
    found.actual = after.map(|value| violation::shown(&path, value));
    Some(found)
}

/// What field definitions and the org's policy say about the values at touched paths.
fn values(rules: &Rules, effective: &Config, touched: impl Fn(&Path) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    for field in &rules.fields {
        for (path, value) in field.pattern.find(effective) {
            if touched(&path) {
                found.extend(field.check(&path, value));
            }
        }
    }
    let by_policy = rules.security.check(effective).into_iter();
    found.extend(
        by_policy
            .filter(|(path, _)| touched(path))
            .map(|(_, fault)| fault),
    );
    found
}

/// Dependencies and names, as far as the write broke them.
fn hanging_together(rules: &Rules, step: &Step<'_>) -> Vec<Violation> {
    let mut found = news(dependency::faults(&step.effective_after), || {
        dependency::faults(&step.effective_before)
    });
    found.extend(news(names::faults(rules, &step.effective_after), || {
        names::faults(rules, &step.effective_before)
    }));
    if found.is_empty() {
        found.extend(last_entrance(step));
    }
    found
}

/// Faults of the rules for events. Who writes them answers for all of them; who writes something else,
/// for what that breaks: an agent that a rule names. What the schema has said is not said again.
fn event_rules(step: &Step<'_>, said: &[Violation]) -> Vec<Violation> {
    let found = if step.touches(&Path::of(["rules"])) {
        rules::faults(&step.effective_after)
    } else if step.touches(&Path::of(["agents"])) {
        let after = rules::faults(&step.effective_after);
        news(after, || rules::faults(&step.effective_before))
    } else {
        return Vec::new();
    };
    let is_said = |fault: &Violation| {
        let mut said = said.iter();
        said.any(|said| {
            let below = fault.path.strip_prefix(&said.path);
            below.is_some_and(|below| below.is_empty() || below.starts_with('.'))
        })
    };
    found.into_iter().filter(|fault| !is_said(fault)).collect()
}

/// Rule 8: who switches the last entrance agent off has to name another agent to get the events.
fn last_entrance(step: &Step<'_>) -> Option<Violation> {
    let chosen = Path::of(["entrance_agent"]);
    if chosen.get(&step.effective_before) != chosen.get(&step.effective_after) {
        return None;
    }
    let before = dependency::entrances(&step.effective_before);
    if !dependency::entrances(&step.effective_after).is_empty() {
        return None;
    }
    let path = before
        .into_iter()
        .map(|agent| Path::of(["agents", agent, "enabled"]))
        .find(|path| path.get(&step.effective_after) == Some(&Value::Bool(false)))?;
    let message = format!(
        "{path} cannot be false: no other enabled agent has sub-agents and is nobody's sub-agent; \
         name another entrance_agent in the same change"
    );
    Some(Violation::saying(
        Rule::DependencyValidationFailed,
        &path,
        "true for the last entrance agent",
        message,
    ))
}

#[cfg(test)]
pub(crate) mod tests;
