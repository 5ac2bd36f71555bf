//! What the other rooms are told about a run: derived from its journal, so that telling it twice says
//! the same.

use jiff::Timestamp;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{RunPost, RunRequest, RunResult, RunStarted};
use tocsin_wire::time;

use super::post::{Phase, Post};
use super::state::RunState;

/// One message for `results.agent-worker.<what>`.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultMessage {
    pub what: &'static str,
    /// Tells it from the run's other results: the id is derived from it.
    pub key: String,
    pub at: Timestamp,
    pub body: Body,
}

/// Everything there is to tell, in order. `stored_at` is when the work message was stored.
pub fn results(state: &RunState, request: &RunRequest, stored_at: Timestamp) -> Vec<ResultMessage> {
    let Some(started) = &state.started else {
        return Vec::new();
    };
    let waited =
        |at: Timestamp| u64::try_from(at.duration_since(stored_at).as_millis()).unwrap_or_default();
    let begun = |key: String, at: Timestamp, worker: &str, resumed_at_step: u32| ResultMessage {
        what: "run_started",
        key,
        at,
        body: Body::RunStarted(RunStarted {
            run_id: request.run_id.clone(),
            event_id: request.event_id.clone(),
            agent: request.agent.clone(),
            worker: worker.to_owned(),
            waited_millis: waited(at),
            resumed_at_step,
        }),
    };
    let mut all = vec![begun(
        "run_started".to_owned(),
        started.at,
        &started.worker,
        0,
    )];
    for resume in &state.resumes {
        let key = format!("run_started.resumed.{}", resume.entry);
        all.push(begun(key, resume.at, &resume.worker, resume.at_step));
    }
    all.extend(posts(state, request, started.at));
    all.extend(finished(state, request));
    all
}

fn posts<'a>(
    state: &'a RunState,
    request: &'a RunRequest,
    started_at: Timestamp,
) -> impl Iterator<Item = ResultMessage> + 'a {
    state.posts.iter().filter_map(move |(key, post)| {
        let (message_id, channel) = match post {
            Post::Open => return None,
            Post::Delivered {
                message_id,
                channel,
                ..
            } => (message_id.clone(), channel.clone()),
            // Without a message id: nothing was posted, and the channel says why.
            Post::Undelivered(why) => (String::new(), why.to_string()),
        };
        // The final text of Slack takes the place of the first one: told once more, as final.
        Some(ResultMessage {
            what: "run_post",
            key: format!("run_post.{}.{}", key.destination, key.phase.name()),
            at: state.posted_at.get(key).copied().unwrap_or(started_at),
            body: Body::RunPost(RunPost {
                run_id: request.run_id.clone(),
                event_id: request.event_id.clone(),
                destination: key.destination.clone(),
                message_id,
                channel,
                phase: match key.phase {
                    Phase::First => "first".to_owned(),
                    Phase::Final => "final".to_owned(),
                },
            }),
        })
    })
}

fn finished(state: &RunState, request: &RunRequest) -> Option<ResultMessage> {
    let (at, finished) = state.finished.as_ref()?;
    let started = state.started.as_ref()?;
    Some(ResultMessage {
        what: "run_finished",
        key: "run_finished".to_owned(),
        at: *at,
        body: Body::RunResult(RunResult {
            run_id: request.run_id.clone(),
            event_id: request.event_id.clone(),
            agent: request.agent.clone(),
            worker: state.last_worker.clone(),
            outcome: finished.outcome,
            detail: finished.detail.clone(),
            findings: finished.findings.clone(),
            usage: finished.usage,
            started_at: Some(time::to_proto(started.at)),
            finished_at: Some(time::to_proto(*at)),
            resumed: u32::try_from(state.resumes.len()).unwrap_or(u32::MAX),
            sandbox: request.sandbox,
            comparison: None,
        }),
    })
}
