//! What to do next.

use jiff::Timestamp;
use tocsin_wire::proto::destination::Kind;
use tocsin_wire::proto::journal_entry::{Entry, ModelRequested, PostStarted, ToolStarted};
use tocsin_wire::proto::{Destination, ToolCall};

use super::conclusion::{Conclusion, conclude};
use super::post::{Phase, Post, PostKey, Undelivered};
use super::state::{FAILED, RunState, Turn};

/// What a run was asked for, as far as its steps depend on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Assignment {
    /// In order; the same one named twice counts once.
    pub destinations: Vec<Destination>,
    /// The run only posts this text.
    pub notice: Option<String>,
    /// Events may join the run while it goes on.
    pub listens: bool,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Write the first entry.
    Start,
    /// Post a message, or put the final text in the place of the first one. `unknown`: somebody
    /// began this and nobody knows whether it happened, so look before posting.
    Post {
        post: PostKey,
        unknown: bool,
    },
    AskModel {
        turn: u32,
        /// A limit is reached: ask for a summary of what is known.
        without_tools: bool,
    },
    CallTool(ToolCall),
    /// Hear what was told last, then let nothing join any more: the final message tells how many did.
    Close,
    Finish(Conclusion),
    /// The run is finished.
    Nothing,
}

/// Stable name of a destination; empty for one without a kind.
pub(crate) fn destination_name(destination: &Destination) -> String {
    match &destination.kind {
        Some(Kind::Slack(slack)) if slack.thread.is_empty() => format!("slack:{}", slack.channel),
        Some(Kind::Slack(slack)) => format!("slack:{}/{}", slack.channel, slack.thread),
        Some(Kind::Github(github)) => {
            format!("github:{}#{}", github.repository, github.issue_number)
        }
        Some(Kind::Pagerduty(pagerduty)) => format!("pagerduty:{}", pagerduty.incident_id),
        None => String::new(),
    }
}

impl Assignment {
    /// The destination of this name.
    pub fn destination(&self, name: &str) -> Option<&Destination> {
        let mut all = self.destinations.iter();
        all.find(|destination| destination_name(destination) == name)
    }

    fn posts(&self, phase: Phase) -> impl Iterator<Item = PostKey> {
        // Only Slack shows progress; a notice is one message everywhere.
        let progress_only = phase == Phase::First;
        let none = progress_only && self.notice.is_some();
        let wanted = self.destinations.iter().filter(move |destination| {
            !none && (!progress_only || matches!(destination.kind, Some(Kind::Slack(_))))
        });
        wanted.map(move |destination| PostKey::new(phase, destination_name(destination)))
    }
}

/// The next step of the run at `now`. Limits are checked before every call of the model or a tool.
pub fn next_step(state: &RunState, assignment: &Assignment, now: Timestamp) -> Step {
    if state.finished.is_some() {
        return Step::Nothing;
    }
    if state.started.is_none() {
        return Step::Start;
    }
    if let Some(post) = assignment
        .posts(Phase::First)
        .find(|post| is_to_do(state, post))
    {
        return post_step(state, post);
    }
    if assignment.notice.is_none()
        && !is_unheard(state, assignment)
        && let Some(step) = investigate(state, now)
    {
        return step;
    }
    if assignment.listens && !state.heard.closed {
        return Step::Close;
    }
    let missing = assignment
        .posts(Phase::Final)
        .find(|post| is_to_do(state, post) && !is_closed(state, &post.destination));
    match missing {
        Some(post) => post_step(state, post),
        None => Step::Finish(conclude(state, assignment)),
    }
}

fn post_step(state: &RunState, post: PostKey) -> Step {
    let unknown = state.posts.contains_key(&post);
    Step::Post { post, unknown }
}

fn is_to_do(state: &RunState, post: &PostKey) -> bool {
    matches!(state.posts.get(post), None | Some(Post::Open))
}

/// Nothing will be posted there any more: it is off, or it refused.
fn is_closed(state: &RunState, destination: &str) -> bool {
    let first = state.posts.get(&PostKey::new(Phase::First, destination));
    matches!(
        first,
        Some(Post::Undelivered(
            Undelivered::Off(_) | Undelivered::Refused(_)
        ))
    )
}

/// Every place that could hear of the run refused: an investigation that nobody can read is not begun.
pub(super) fn is_unheard(state: &RunState, assignment: &Assignment) -> bool {
    !assignment.destinations.is_empty()
        && assignment.destinations.iter().all(|destination| {
            let first = PostKey::new(Phase::First, destination_name(destination));
            matches!(
                state.posts.get(&first),
                Some(Post::Undelivered(Undelivered::Refused(_)))
            )
        })
}

/// The next call of the model or a tool; `None` when the investigation is over.
fn investigate(state: &RunState, now: Timestamp) -> Option<Step> {
    let Some(turn) = state.turns.last() else {
        return Some(ask(state, 1, now));
    };
    let Some(answer) = &turn.answer else {
        // Asked, not answered: the question is repeated as it was.
        return Some(Step::AskModel {
            turn: turn.number,
            without_tools: turn.without_tools,
        });
    };
    if is_last(turn) {
        return None;
    }
    let open = answer.calls.iter().find(|call| call.result.is_none());
    let next = turn.number.saturating_add(1);
    match open {
        Some(_) if state.breach_of_tools(now).is_some() => Some(Step::AskModel {
            turn: next,
            without_tools: true,
        }),
        Some(call) => Some(Step::CallTool(call.call.clone())),
        None => Some(ask(state, next, now)),
    }
}

fn is_last(turn: &Turn) -> bool {
    turn.without_tools
        || turn
            .answer
            .as_ref()
            .is_some_and(|answer| answer.calls.is_empty() || answer.finish_reason == FAILED)
}

fn ask(state: &RunState, turn: u32, now: Timestamp) -> Step {
    Step::AskModel {
        turn,
        without_tools: state.breach(now).is_some(),
    }
}

/// What the journal must say before the step is taken; `None` when it already does.
pub fn intent(state: &RunState, step: &Step, messages: usize, model: &str) -> Option<Entry> {
    match step {
        Step::Post { post, unknown } => (!unknown).then(|| {
            Entry::PostStarted(PostStarted {
                destination: post.to_string(),
            })
        }),
        Step::AskModel {
            turn,
            without_tools,
        } => {
            let asked = state.turns.last().is_some_and(|last| last.number == *turn);
            (!asked).then(|| {
                Entry::ModelRequested(ModelRequested {
                    turn: *turn,
                    model: model.to_owned(),
                    messages: u32::try_from(messages).unwrap_or(u32::MAX),
                    without_tools: *without_tools,
                })
            })
        }
        Step::CallTool(call) => {
            let begun = state
                .calls()
                .any(|known| known.call == *call && known.started && known.result.is_none());
            (!begun).then(|| {
                Entry::ToolStarted(ToolStarted {
                    call_id: call.call_id.clone(),
                    tool: call.tool.clone(),
                })
            })
        }
        Step::Start | Step::Close | Step::Finish(_) | Step::Nothing => None,
    }
}
