//! Load, kills, and whether every accepted delivery ended as promised: in exactly one run and one
//! final message.

mod verdict;

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tocsin_testkit::eventually;
use tocsin_wire::Service;
use tokio::time::Instant;

use crate::load::{Counts, Load, Rate};
use crate::record::{Results, journals};
use crate::stack::{Component, Stack, Team};

pub use verdict::{Gap, Verdict, is_final, longest_gaps};

/// Between two looks at what has finished.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Deliveries whose life audit is asked for at the end.
const SAMPLE: usize = 25;
/// How long audit may take to catch up with what the streams hold.
const RECORD_LIMIT: Duration = Duration::from_secs(60);
/// How long a killed part may stay away before the round is given up.
const BACK_LIMIT: Duration = Duration::from_secs(60);
/// Between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// One round.
#[derive(Debug, Clone)]
pub struct Round {
    /// What is sent.
    pub rate: Rate,
    /// What is killed, in this order.
    pub kills: Vec<Component>,
    /// Before the first kill, and after a killed part is ready again. A time and no count of deliveries: those
    /// that come in a burst after an outage would end it at once.
    pub calm: Duration,
    /// How long finished work may take after the last delivery was accepted.
    pub drain: Duration,
}

/// A part that died, and when.
#[derive(Debug, Clone, Copy)]
pub struct Kill {
    /// What.
    pub component: Component,
    /// When.
    pub at: Timestamp,
    /// Until it said that it is ready again.
    pub back_after: Duration,
}

/// Runs one round; `say` gets lines of progress.
///
/// # Errors
/// When a part does not die or come back, or the streams cannot be read at the end. What happened
/// to the deliveries is in the verdict.
pub async fn run(
    stack: &Stack,
    teams: &[Team],
    round: &Round,
    say: &(dyn Fn(String) + Sync),
) -> anyhow::Result<Verdict> {
    let now = tocsin_testkit::bus::clock();
    let began = now();
    let load = Load::start(stack, teams, round.rate);
    let mut kills = Vec::new();
    tokio::time::sleep(round.calm).await;
    for component in &round.kills {
        say(format!(
            "{} accepted; kill -9 {component}",
            load.counts.accepted_count()
        ));
        let at = stack.kill(*component).await?;
        let died = Instant::now();
        let back = back_again(stack, *component).await?;
        say(format!(
            "{component} is ready again after {:.1} s",
            died.elapsed().as_secs_f64()
        ));
        kills.push(Kill {
            component: *component,
            at,
            back_after: back,
        });
        tokio::time::sleep(round.calm).await;
    }
    if !load.is_over() {
        say(format!(
            "{} accepted; no more kills, sending goes on",
            load.counts.accepted_count()
        ));
    }
    let counts = load.finish().await?;
    let sent_until = now();
    let drained_after = drain(stack, &counts, round.drain, say).await?;
    let mut nats = stack.raw_nats().await?;
    let mut results = Results::default();
    results.update(&mut nats).await?;
    let journals = journals(&mut nats).await.context("reading the journals")?;
    let messages = stack.slack.all_messages();
    let mut verdict = Verdict::judge(&counts, &results, &journals, &messages, &kills);
    verdict.gaps = longest_gaps(&results, &kills, began, sent_until);
    verdict.drained_after = drained_after;
    verdict.unrecorded = unrecorded(stack, &counts).await?;
    Ok(verdict)
}

/// Of a sample of the accepted deliveries: those whose life audit does not know to its end, after
/// all the time it may need to catch up.
async fn unrecorded(stack: &Stack, counts: &Counts) -> anyhow::Result<Vec<String>> {
    let accepted = counts.accepted();
    let every = (accepted.len() / SAMPLE).max(1);
    let sample = accepted
        .iter()
        .step_by(every)
        .map(|event| event.event.to_string());
    let mut left: Vec<String> = sample.collect();
    let bus = stack.operator().await?;
    let began = Instant::now();
    loop {
        let mut still_left = Vec::new();
        for event in left {
            let question = serde_json::json!({ "event_id": event });
            // Not known yet, or audit is not back yet: both are asked again.
            let life = bus
                .ask(Service::Audit, "life", &question)
                .await
                .unwrap_or_default();
            let outcome = life
                .pointer("/run/outcome")
                .and_then(serde_json::Value::as_str);
            if outcome.is_none_or(str::is_empty) {
                still_left.push(event);
            }
        }
        left = still_left;
        if left.is_empty() || began.elapsed() > RECORD_LIMIT {
            return Ok(left);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// A kill is over when the new process is ready; the old one may answer for a moment.
async fn back_again(stack: &Stack, component: Component) -> anyhow::Result<Duration> {
    let died = Instant::now();
    let what = format!("{component} runs again");
    eventually(&what, BACK_LIMIT, || stack.is_running_anew(component)).await;
    stack.ready(component).await?;
    Ok(died.elapsed())
}

/// Waits until every accepted delivery's runs have ended; `None` when the time was not enough.
async fn drain(
    stack: &Stack,
    counts: &Counts,
    limit: Duration,
    say: &(dyn Fn(String) + Sync),
) -> anyhow::Result<Option<Duration>> {
    let accepted = counts.accepted();
    let began = Instant::now();
    let mut told = began;
    let mut results = Results::default();
    let mut nats = stack.raw_nats().await?;
    loop {
        results.update(&mut nats).await?;
        let is_over = |event: &crate::load::Accepted| results.is_over(&event.event.to_string());
        let over = accepted.iter().filter(|event| is_over(event)).count();
        if over == accepted.len() {
            return Ok(Some(began.elapsed()));
        }
        if began.elapsed() > limit {
            return Ok(None);
        }
        if told.elapsed() > PROGRESS_INTERVAL {
            told = Instant::now();
            say(format!("{over} of {} have finished", accepted.len()));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
