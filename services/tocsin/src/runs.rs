//! `tocsin runs …`: asks the router what runs and what waits.

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::{Value, json};
use tocsin_bus::BusSettings;
use tocsin_wire::{OrgId, Service, TeamId};

use crate::error::CommandError;
use crate::life_text::{items, one_line, text};
use crate::run::{operator_bus, print};

/// Columns for a title before it is cut.
const COLUMNS: usize = 60;

/// `tocsin runs …`
#[derive(Debug, Subcommand)]
pub enum Runs {
    /// A team's queue: how many runs go on, which wait, in the order in which they start.
    Queue {
        /// Its org.
        #[arg(long)]
        org: OrgId,
        /// The team.
        #[arg(long)]
        team: TeamId,
        /// Tell the place of this run.
        #[arg(long, value_name = "RUN")]
        run: Option<String>,
        /// List at most so many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Connection.
        #[command(flatten)]
        bus: Box<BusSettings>,
    },
}

pub(crate) async fn run(command: Runs) -> Result<(), CommandError> {
    let Runs::Queue {
        org,
        team,
        run,
        limit,
        json,
        bus,
    } = command;
    let mut question = json!({"org": org, "team": team, "limit": limit});
    if let (Some(run), Some(fields)) = (run, question.as_object_mut()) {
        fields.insert("run".to_owned(), run.into());
    }
    let bus = operator_bus(&bus).await?;
    let answer = bus.ask(Service::Router, "queue", &question).await?;
    if json {
        print(&format!("{answer:#}\n"))
    } else {
        print(&page(&answer))
    }
}

/// The answer, as people read it in a terminal.
fn page(answer: &Value) -> String {
    let number = |path: &str| answer.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _infallible = writeln!(
        page,
        "{}/{}: {} of {} go on, {} wait; the org has {} of {}",
        text(answer, "/org"),
        text(answer, "/team"),
        number("/admitted"),
        number("/limits/team/running"),
        number("/waiting"),
        number("/org_admitted"),
        number("/limits/org/running"),
    );
    if answer.get("position").is_some() {
        let place = match text(answer, "/place") {
            "" => "the run does not wait",
            place => place,
        };
        let _infallible = writeln!(page, "{place}");
    }
    for run in items(answer, "runs") {
        let position = run.get("position").and_then(Value::as_u64).unwrap_or(0);
        let _infallible = writeln!(
            page,
            "{position:>4}  {:<8}  {}  {}  {}",
            text(run, "/severity"),
            text(run, "/since"),
            text(run, "/run_id"),
            one_line(text(run, "/title"), COLUMNS),
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_reads_from_top_to_bottom() {
        let mut answer = json!({
            "org": "acme", "team": "pay", "admitted": 10, "waiting": 37, "org_admitted": 25,
            "limits": {"team": {"running": 10}, "org": {"running": 100}},
            "position": 37, "place": "37th for team pay",
            "runs": [{"position": 1, "run_id": "r1", "severity": "high", "since": "2026-11-21T16:00:00Z", "title": "slow\ncheckout"}],
        });
        let told = page(&answer);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(
            lines[0],
            "acme/pay: 10 of 10 go on, 37 wait; the org has 25 of 100"
        );
        assert_eq!(lines[1], "37th for team pay");
        assert!(
            lines[2].starts_with("   1  high      2026-11-21T16:00:00Z  r1  slow"),
            "{told}"
        );
        assert_eq!(lines.len(), 3, "{told}");
        answer["position"] = Value::Null;
        answer["place"] = Value::Null;
        assert!(page(&answer).contains("does not wait"));
    }
}
