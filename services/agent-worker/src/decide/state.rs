//! The fold of a journal.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tocsin_wire::proto::journal_entry::{Entry, Finished, ModelResponded, ToolFinished};
use tocsin_wire::proto::{JournalEntry, Limits, ToolCall, Usage};
use tocsin_wire::time;

use super::post::{Phase, Post, PostKey};
use super::signals::Heard;

/// Our finish reason for a turn that got no answer; its text says why.
pub const FAILED: &str = "error";
/// The endpoint's finish reason for an answer that ran into `max_tokens`.
pub const TRUNCATED: &str = "length";

/// Everything a journal says. Any prefix of a journal is a valid state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunState {
    /// Number of the last entry; 0 before the first.
    pub entries: u32,
    pub last_at: Option<Timestamp>,
    pub last_worker: String,
    pub started: Option<Started>,
    /// Sequence in WORK of the message that owns the run.
    pub work_sequence: u64,
    pub resumes: Vec<Resume>,
    pub turns: Vec<Turn>,
    pub posts: BTreeMap<PostKey, Post>,
    /// When each post's outcome became known.
    pub posted_at: BTreeMap<PostKey, Timestamp>,
    /// What the run was told meanwhile.
    pub heard: Heard,
    pub finished: Option<(Timestamp, Finished)>,
}

/// The first entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Started {
    pub at: Timestamp,
    pub worker: String,
    pub limits: Limits,
    pub model: String,
}

/// One take-over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    pub worker: String,
    pub at_step: u32,
    pub idle_millis: u64,
    pub at: Timestamp,
    /// Number of the entry that says so.
    pub entry: u32,
}

/// One call of the model and what it asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// From 1.
    pub number: u32,
    pub without_tools: bool,
    /// The limit that made this the last turn.
    pub breach: Option<Limit>,
    pub answer: Option<Answer>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub text: String,
    pub calls: Vec<Call>,
    pub usage: Usage,
    pub finish_reason: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub call: ToolCall,
    pub started: bool,
    pub result: Option<ToolResult>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    pub output: String,
    pub failed: bool,
    pub truncated: bool,
}

/// A limit of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Turns,
    Time,
    Tokens,
    ToolCalls,
}

impl RunState {
    /// The state after all `entries`.
    pub fn fold<'a>(entries: impl IntoIterator<Item = &'a JournalEntry>) -> Self {
        let mut state = Self::default();
        for entry in entries {
            state.apply(entry);
        }
        state
    }

    /// Takes in the next entry. What does not fit (an answer that nobody asked for) changes nothing.
    pub fn apply(&mut self, entry: &JournalEntry) {
        let at = entry.at.as_ref().and_then(time::from_proto);
        let at = at.or(self.last_at).unwrap_or(Timestamp::UNIX_EPOCH);
        self.entries = entry.number;
        self.last_at = Some(at);
        self.last_worker.clone_from(&entry.worker);
        match &entry.entry {
            Some(Entry::Started(started)) => {
                self.work_sequence = started.work_sequence;
                self.started = Some(Started {
                    at,
                    worker: entry.worker.clone(),
                    limits: started.limits.unwrap_or_default(),
                    model: started.model.clone(),
                });
            }
            Some(Entry::Resumed(resumed)) => {
                self.work_sequence = resumed.work_sequence;
                self.resumes.push(Resume {
                    worker: entry.worker.clone(),
                    at_step: resumed.at_step,
                    idle_millis: resumed.idle_millis,
                    at,
                    entry: entry.number,
                });
            }
            Some(Entry::ModelRequested(requested)) => {
                let breach = requested.without_tools.then(|| self.breach(at)).flatten();
                self.turns.push(Turn {
                    number: requested.turn,
                    without_tools: requested.without_tools,
                    breach,
                    answer: None,
                });
            }
            Some(Entry::ModelResponded(responded)) => self.answer(responded),
            Some(Entry::ToolStarted(started)) => {
                if let Some(call) = self.call(&started.call_id) {
                    call.started = true;
                }
            }
            Some(Entry::ToolFinished(finished)) => self.tool_finished(finished),
            Some(Entry::PostStarted(started)) => {
                if let Some(key) = PostKey::parse(&started.destination) {
                    self.posts.entry(key).or_insert(Post::Open);
                }
            }
            Some(Entry::Posted(posted)) => {
                if let Some(key) = PostKey::parse(&posted.destination) {
                    self.posted_at.insert(key.clone(), at);
                    self.posts.insert(key, Post::from_journal(posted));
                }
            }
            Some(Entry::SignalsHeard(heard)) => {
                let turns = u32::try_from(self.turns.len()).unwrap_or(u32::MAX);
                self.heard.apply(heard, turns.saturating_add(1));
            }
            Some(Entry::Finished(finished)) => self.finished = Some((at, finished.clone())),
            None => {}
        }
    }

    fn answer(&mut self, responded: &ModelResponded) {
        let open = self.turns.last_mut().filter(|turn| turn.answer.is_none());
        if let Some(turn) = open {
            turn.answer = Some(Answer {
                text: responded.text.clone(),
                calls: responded.tool_calls.iter().map(Call::new).collect(),
                usage: responded.usage.unwrap_or_default(),
                finish_reason: responded.finish_reason.clone(),
            });
        }
    }

    fn tool_finished(&mut self, finished: &ToolFinished) {
        if let Some(call) = self.call(&finished.call_id) {
            call.started = true;
            call.result = Some(ToolResult {
                output: finished.output.clone(),
                failed: finished.failed,
                truncated: finished.truncated,
            });
        }
    }

    /// A call of the last turn: models repeat ids in later turns.
    fn call(&mut self, call_id: &str) -> Option<&mut Call> {
        let answer = self.turns.last_mut()?.answer.as_mut()?;
        let mut calls = answer.calls.iter_mut();
        calls.find(|call| call.call.call_id == call_id && call.result.is_none())
    }

    /// All calls of tools, in order.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        let answers = self.turns.iter().filter_map(|turn| turn.answer.as_ref());
        answers.flat_map(|answer| &answer.calls)
    }

    /// What the run has used so far.
    pub fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        for answer in self.turns.iter().filter_map(|turn| turn.answer.as_ref()) {
            sum.input_tokens = sum.input_tokens.saturating_add(answer.usage.input_tokens);
            sum.output_tokens = sum.output_tokens.saturating_add(answer.usage.output_tokens);
            sum.turns = sum.turns.saturating_add(1);
            sum.estimated |= answer.usage.estimated;
        }
        let finished = self.calls().filter(|call| call.result.is_some()).count();
        sum.tool_calls = u32::try_from(finished).unwrap_or(u32::MAX);
        sum
    }

    /// Steps done: posts, answers of the model, calls of tools.
    pub fn steps_done(&self) -> u32 {
        let posts = self.posts.values().filter(|post| **post != Post::Open);
        let usage = self.usage();
        let posts = u32::try_from(posts.count()).unwrap_or(u32::MAX);
        posts
            .saturating_add(usage.turns)
            .saturating_add(usage.tool_calls)
    }

    /// The limit that forbids another turn of the model at `now`.
    pub fn breach(&self, now: Timestamp) -> Option<Limit> {
        let limits = self.started.as_ref()?.limits;
        let usage = self.usage();
        if usage.turns >= limits.turns {
            return Some(Limit::Turns);
        }
        self.breach_within_turn(now)
            .or_else(|| (usage.tool_calls >= limits.tool_calls).then_some(Limit::ToolCalls))
    }

    /// The limit that forbids another call of a tool at `now`.
    pub fn breach_of_tools(&self, now: Timestamp) -> Option<Limit> {
        let limits = self.started.as_ref()?.limits;
        let calls = self.usage().tool_calls;
        self.breach_within_turn(now)
            .or_else(|| (calls >= limits.tool_calls).then_some(Limit::ToolCalls))
    }

    fn breach_within_turn(&self, now: Timestamp) -> Option<Limit> {
        let started = self.started.as_ref()?;
        let (limits, usage) = (started.limits, self.usage());
        let seconds = now.duration_since(started.at).as_secs();
        if u64::try_from(seconds).is_ok_and(|seconds| seconds >= limits.seconds) {
            return Some(Limit::Time);
        }
        let tokens = usage.input_tokens.saturating_add(usage.output_tokens);
        (tokens >= limits.tokens).then_some(Limit::Tokens)
    }

    /// The delivered message that the final one takes the place of.
    pub fn first_message(&self, destination: &str) -> Option<(&str, &str)> {
        let key = PostKey {
            phase: Phase::First,
            destination: destination.to_owned(),
        };
        match self.posts.get(&key)? {
            Post::Delivered {
                message_id,
                channel,
                ..
            } => Some((channel, message_id)),
            Post::Open | Post::Undelivered(_) => None,
        }
    }
}

impl Call {
    fn new(call: &ToolCall) -> Self {
        Self {
            call: call.clone(),
            started: false,
            result: None,
        }
    }
}

impl Limit {
    /// For people: "the limit of 10 model turns".
    pub fn describe(self, limits: &Limits) -> String {
        match self {
            Self::Turns => format!("the limit of {} model turns", limits.turns),
            Self::Time => format!("the time limit of {} s", limits.seconds),
            Self::Tokens => format!("the limit of {} tokens", limits.tokens),
            Self::ToolCalls => format!("the limit of {} tool calls", limits.tool_calls),
        }
    }
}
