//! `tocsin events …`: asks audit.

use std::time::Duration;

use serde_json::{Value, json};
use tocsin_bus::{AskError, Bus};
use tocsin_wire::Service;
use tocsin_wire::proto::StoredBody;
use tocsin_wire::stored_body::BODIES;
use tokio::time::Instant;

use crate::cli::Events;
use crate::error::CommandError;
use crate::life_text;
use crate::run::{operator_bus, print, print_bytes};

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
        Events::Body { id, bus } => {
            let bus = operator_bus(&bus).await?;
            let life = life(&bus, &id, Duration::ZERO).await?;
            let stored = stored_body(&life)?;
            let body = bus.object_store(BODIES).fetch(&stored).await?;
            print_bytes(&body)
        }
    }
}

/// Where a life says that the body of its event is.
fn stored_body(life: &Value) -> Result<StoredBody, CommandError> {
    let text = |pointer| life.pointer(pointer).and_then(Value::as_str);
    let (Some(store), Some(object)) = (
        text("/event/stored_body/store"),
        text("/event/stored_body/object"),
    ) else {
        let stream = "nats sub --translate 'tocsin decode' 'events.>'";
        return Err(CommandError::Input(format!(
            "the body of this event is not in the object store, but in the event itself or erased; `{stream}` shows \
             events as they come"
        )));
    };
    let size = life.pointer("/event/raw_bytes").and_then(Value::as_u64);
    Ok(StoredBody {
        store: store.to_owned(),
        object: object.to_owned(),
        size: size.unwrap_or_default(),
        sha256: unhex(object).into(),
    })
}

/// What `text` says in hex; what is no hex is left out, and then nothing has that hash.
fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    let pairs = digits.as_chunks::<2>().0.iter();
    pairs
        .filter_map(|[high, low]| u8::try_from(high * 16 + low).ok())
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_names_the_body_that_was_stored() {
        let stored = StoredBody::of(b"abc");
        let life = json!({ "event": { "raw_bytes": 3,
            "stored_body": { "store": stored.store, "object": stored.object } } });
        assert_eq!(stored_body(&life).expect("named"), stored);
        let error = stored_body(&json!({ "event": { "raw_bytes": 3 } })).expect_err("inside");
        assert!(error.to_string().contains("in the event itself"), "{error}");
        let odd = json!({ "event": { "stored_body": { "store": "bodies", "object": "xyz" } } });
        let odd = stored_body(&odd).expect("named");
        odd.check_name().expect_err("no hash");
    }
}
