//! A replay as people read it in a terminal.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;
use tocsin_wire::proto::{Decision, DecisionAction, ReplayTarget, RunOutcome, RunResult};

use super::follow::{News, Progress};
use crate::life_text::{clock, items, one_line, text};

/// Events that are shown one by one.
const SHOWN: usize = 20;

/// Columns of a title or a reason.
const COLUMNS: usize = 60;

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn plural(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// What would happen.
pub(super) fn plan(plan: &Value, target: ReplayTarget) -> String {
    let events: Vec<&Value> = items(plan, "events").collect();
    let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
    let runs = number(plan, "runs");
    let place = match target {
        ReplayTarget::Sandbox => "in a sandbox that posts nowhere",
        _ => "to work: they post, and count toward their teams' limits",
    };
    let mut page = format!(
        "{}, {} {place}\n",
        plural(count, "event"),
        plural(runs, "run")
    );
    for group in items(plan, "teams") {
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            page,
            "  {:<30} agent {:<20} {}",
            format!("{}/{}", text(group, "/org"), text(group, "/team")),
            text(group, "/agent"),
            plural(number(group, "runs"), "run")
        );
    }
    for event in events.iter().take(SHOWN) {
        let what = match text(event, "/action") {
            "run" => String::new(),
            action => format!("  {action}: {}", one_line(text(event, "/why"), COLUMNS)),
        };
        let _infallible = writeln!(
            page,
            "  {}  {}  {} {}  {}{what}",
            text(event, "/event_id"),
            clock(text(event, "/at")),
            text(event, "/provider"),
            text(event, "/kind"),
            one_line(text(event, "/title"), COLUMNS),
        );
    }
    let hidden = events.len().saturating_sub(SHOWN);
    if hidden > 0 {
        let _infallible = writeln!(page, "  and {hidden} more");
    }
    left_out(&mut page, plan);
    page
}

fn left_out(page: &mut String, plan: &Value) {
    for id in items(plan, "missing").filter_map(Value::as_str) {
        let _infallible = writeln!(page, "  not in EVENTS (any more): {id}");
    }
    for (name, why) in [
        (
            "out_of_scope",
            "left out: today they are outside of the named org or team",
        ),
        ("untrusted", "left out: no signature on the bus holds"),
    ] {
        let count = number(plan, name);
        if count > 0 {
            let _infallible = writeln!(page, "  {} {why}", plural(count, "event"));
        }
    }
    if plan.get("more").and_then(Value::as_bool) == Some(true) {
        page.push_str("  more events fit than may be replayed at once; these are the oldest\n");
    }
}

/// The question before a replay to work.
pub(super) fn question(plan: &Value) -> String {
    format!("Start {}? [y/N] ", plural(number(plan, "runs"), "run"))
}

/// One line, or a comparison.
pub(super) fn news(at: Timestamp, news: &News, progress: &Progress) -> String {
    let at = at.to_string();
    let at = clock(&at);
    match news {
        News::Decided(decision) => format!("{at}  decided   {}\n", decided(decision)),
        News::Finished(result) => {
            let open = progress.open_runs();
            let head = format!(
                "{at}  finished  event {}: {}; {open} to go\n",
                result.event_id,
                ended(result)
            );
            format!("{head}{}", comparison(result))
        }
        News::Done => format!("{at}  all decided\n"),
    }
}

fn decided(decision: &Decision) -> String {
    let action = decision.action();
    if action == DecisionAction::Run {
        let (event, run) = (&decision.event_id, &decision.run_id);
        return format!("event {event}: run {run} by {}", decision.agent);
    }
    let name = action.as_str_name().trim_start_matches("DECISION_ACTION_");
    let why = decision.reasons.last().map_or("", |reason| &reason.detail);
    let why = one_line(why, COLUMNS * 2);
    format!(
        "event {}: {}, {why}",
        decision.event_id,
        name.to_ascii_lowercase()
    )
}

fn ended(result: &RunResult) -> String {
    let outcome = result.outcome().as_str_name();
    let outcome = outcome
        .trim_start_matches("RUN_OUTCOME_")
        .to_ascii_lowercase();
    let cause = result
        .findings
        .as_ref()
        .map_or("", |found| &found.root_cause);
    match cause {
        "" => outcome,
        cause => format!("{outcome}, {}", one_line(cause, COLUMNS * 2)),
    }
}

/// The first run's findings beside this one's; empty for a run to work.
fn comparison(result: &RunResult) -> String {
    let Some(compared) = &result.comparison else {
        return match result.sandbox {
            true => {
                "    nothing to compare with: its first run is another organisation's\n".to_owned()
            }
            false => String::new(),
        };
    };
    if compared.original_outcome() == RunOutcome::Unspecified {
        let run = &compared.original_run_id;
        return format!(
            "    nothing to compare with: run {run} has not finished, or its journal is gone\n"
        );
    }
    let verdict = if compared.same_root_cause {
        "same root cause as the first run"
    } else {
        "ANOTHER root cause than the first run"
    };
    let mut page = format!(
        "    {verdict} ({} % of their words are common)\n",
        compared.likeness_percent
    );
    for line in compared.difference.lines() {
        let _infallible = writeln!(page, "    {}", one_line(line, COLUMNS * 3));
    }
    page
}

/// When everything has happened.
pub(super) fn summary(progress: &Progress) -> String {
    let result = progress.result.clone().unwrap_or_default();
    let mut page = format!(
        "done: {} decided, {}",
        plural(u64::from(result.decided), "event"),
        plural(u64::from(result.runs), "run")
    );
    if result.queue_full > 0 {
        let _infallible = write!(
            page,
            ", {} without room in their team's queue",
            result.queue_full
        );
    }
    page.push('\n');
    let compared: Vec<bool> = progress
        .runs
        .values()
        .flatten()
        .filter_map(|run| run.comparison.as_ref())
        .filter(|compared| compared.original_outcome() != RunOutcome::Unspecified)
        .map(|compared| compared.same_root_cause)
        .collect();
    if !compared.is_empty() {
        let same = compared.iter().filter(|same| **same).count();
        let all = compared.len();
        let _infallible = writeln!(page, "compared: {same} of {all} with the same root cause");
    }
    page
}

/// When nobody waits any longer.
pub(super) fn unfinished(progress: &Progress) -> String {
    let request = &progress.request_id;
    if progress.result.is_none() {
        return format!(
            "request {request} is not carried out yet; is the router running? It stays in COMMANDS \
             until it is"
        );
    }
    let open = progress.open_runs();
    format!("{open} runs of request {request} go on; `tocsin events show <event>` shows each")
}

#[cfg(test)]
mod tests;
