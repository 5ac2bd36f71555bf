//! `tocsin events …`: asks audit.

use std::time::Duration;

use serde_json::{Value, json};
use tocsin_bus::{AskError, Bus};
use tocsin_wire::Service;
use tokio::time::Instant;

use crate::cli::Events;
use crate::error::CommandError;
use crate::life_text;
use crate::run::{operator_bus, print};

/// Between two looks at a life that is not over.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

pub(crate) async fn run(command: Events) -> Result<(), CommandError> {
    match command {
        Events::Ls {
            limit,
            provider,
            json,
            bus,
        } => {
            let bus = operator_bus(&bus).await?;
            let question = json!({ "limit": limit, "provider": provider });
            let answer = bus.ask(Service::Audit, "events", &question).await?;
            show(json, &answer, life_text::list)
        }
        Events::Show {
            id,
            wait,
            timeout,
            json,
            bus,
        } => {
            let bus = operator_bus(&bus).await?;
            let limit = if wait {
                timeout.duration()
            } else {
                Duration::ZERO
            };
            let life = life(&bus, &id, limit).await?;
            show(json, &life, life_text::life)
        }
        Events::Replay(replay) => crate::replay::run(*replay).await,
    }
}

fn show(json: bool, answer: &Value, text: impl Fn(&Value) -> String) -> Result<(), CommandError> {
    if json {
        print(&format!("{answer:#}\n"))
    } else {
        print(&text(answer))
    }
}

/// Asks until the life is over or `limit` has passed. An event that is not known yet may still be
/// on its way to the record, so with a limit that is waited for as well.
async fn life(bus: &Bus, id: &str, limit: Duration) -> Result<Value, CommandError> {
    let deadline = Instant::now() + limit;
    loop {
        let answer = bus
            .ask(Service::Audit, "life", &json!({ "event_id": id }))
            .await;
        let is_late = Instant::now() >= deadline;
        match answer {
            Ok(life) if is_over(&life) || limit.is_zero() => return Ok(life),
            Ok(life) if is_late => {
                print(&life_text::life(&life))?;
                return Err(CommandError::TimedOut(format!(
                    "{id} is not finished after {} s",
                    limit.as_secs()
                )));
            }
            Err(error) if is_late || !is_unknown(&error) => return Err(error.into()),
            _ => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

fn is_unknown(error: &AskError) -> bool {
    matches!(error, AskError::Refused { code: 404, .. })
}

/// Decided without a run, or with a run that has ended.
fn is_over(life: &Value) -> bool {
    let fact = |pointer| life.pointer(pointer).and_then(Value::as_str);
    match fact("/decision/action") {
        None => false,
        Some("run") => fact("/run/outcome").is_some_and(|outcome| !outcome.is_empty()),
        Some(_no_run) => true,
    }
}
