//! One run, from its work message to its end: takes the next step, journals it, shows it.
//!
//! Every step goes the same way. The intent is journaled; the act happens; its outcome is journaled
//! together with the next intent, in one message. Appending is also the fence: whoever finds that
//! somebody else appended stops at once.

mod briefing;
mod listen;
mod live;
mod post;
mod record;
mod sandbox;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tocsin_bus::{BusState, SecretReader};
use tocsin_kit::{Clock, ErrorChain, Stop, Tasks};
use tocsin_wire::proto::journal_entry::{Entry, ModelResponded, Started, ToolFinished};
use tocsin_wire::proto::{JournalEntry, Limits, RunRequest, ToolCall, Usage};
use tocsin_wire::time;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::credential::Written;
use crate::decide::{
    self, Admission, Assignment, FAILED, RunState, Step, TRUNCATED, admit, conversation, intent,
    next_step, results, resumed,
};
use crate::model::{ModelClient, Request};
use crate::slack::SlackClient;
use crate::team::AgentConfig;
use crate::tools::{Output, Toolbox, Tools};
use live::LiveMessages;

pub use record::{AppendError, BusRecord, Record, RecordError, Replay};

/// How long a run waits for the bus before it gives its message back: a restart of the broker.
const BUS_PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries at the bus.
const BUS_PAUSE: Duration = Duration::from_millis(200);

/// What all runs of a worker share.
#[derive(Debug)]
pub struct Worker {
    /// Written into journals and messages.
    pub name: String,
    pub clock: Clock,
    pub stop: Stop,
    pub tasks: Tasks,
    pub model: ModelClient,
    /// For teams that name no model.
    pub default_model: String,
    pub limits: Limits,
    /// `None`: posting to Slack is off. A team may have a token of its own.
    pub slack: Option<Arc<SlackClient>>,
    /// Opens the secrets of teams; `None` without SEALING_KEY_FILE.
    pub secrets: Option<SecretReader>,
    pub toolbox: Toolbox,
    /// Tells when the connection to the broker was lost.
    pub connection: watch::Receiver<BusState>,
}

/// The work message of a run.
#[derive(Debug, Clone)]
pub struct Work {
    pub request: RunRequest,
    /// Sequence in WORK.
    pub sequence: u64,
    pub stored_at: Timestamp,
}

/// How this worker's part in a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The journal says finished, and everybody has been told.
    Finished,
    /// Another worker owns the run now.
    Fenced,
    /// This message is a copy; the message that owns the run is still in the queue.
    Copy,
    /// We are stopping; the next worker continues.
    HandedOver,
}

/// Runs or continues the run of `work`.
///
/// # Errors
/// When the bus stayed away; the message is to be tried again later.
pub async fn execute<R: Record>(
    worker: &Arc<Worker>,
    work: &Work,
    config: &AgentConfig,
    record: R,
) -> Result<Ended, RecordError> {
    let replay = record.replay().await?;
    let state = RunState::fold(&replay.entries);
    let admission = admit(&state, work.sequence);
    let mut run = Run::new(worker, work, config, record, &state, replay.last_sequence);
    let now = worker.clock.now();
    match admission {
        Admission::Begin => {}
        Admission::Finished => {
            run.tell().await?;
            return Ok(Ended::Finished);
        }
        Admission::Copy { owner } if run.record.is_owned(owner).await? => {
            tracing::info!(run = %work.request.run_id, owner, copy = work.sequence, "a copy of a run is dropped: its owner has it");
            return Ok(Ended::Copy);
        }
        Admission::Continue | Admission::Copy { .. } => {
            run.push(resumed(&state, work.sequence, now));
            tracing::info!(run = %work.request.run_id, previous = %state.last_worker, step = state.steps_done() + 1, "resuming a run");
            run.live.reopen(&run.state, worker);
        }
    }
    run.drive().await
}

struct Run<'a, R> {
    worker: &'a Arc<Worker>,
    work: &'a Work,
    config: &'a AgentConfig,
    record: R,
    assignment: Assignment,
    state: RunState,
    /// Entries that are in the state and not yet in the journal.
    pending: Vec<JournalEntry>,
    last_sequence: u64,
    told: HashSet<String>,
    live: LiveMessages,
    slack: Option<Arc<SlackClient>>,
    model: ModelClient,
}

impl<'a, R: Record> Run<'a, R> {
    fn new(
        worker: &'a Arc<Worker>,
        work: &'a Work,
        config: &'a AgentConfig,
        record: R,
        state: &RunState,
        last_sequence: u64,
    ) -> Self {
        let request = &work.request;
        let assignment = Assignment {
            // Nobody waits for a sandbox run, so nothing is posted and nobody is unheard.
            destinations: if request.sandbox {
                Vec::new()
            } else {
                request.destinations.clone()
            },
            notice: request.notice.as_ref().map(|notice| notice.text.clone()),
            listens: !request.open_key.is_empty(),
        };
        let team = |written: &Option<Written>| config.credential(written, worker.secrets.as_ref());
        let slack = worker.slack.as_ref();
        let slack = match team(&config.slack_token) {
            Some(token) => slack.map(|client| Arc::new(client.with_token(token))),
            None => slack.filter(|client| client.has_token()).cloned(),
        };
        let slack = slack.filter(|_| !request.sandbox);
        let model = match team(&config.model_key) {
            Some(key) => worker.model.with_key(key),
            None => worker.model.clone(),
        };
        Self {
            worker,
            work,
            config,
            record,
            live: LiveMessages::new(&assignment, request, slack.clone()),
            slack,
            model,
            assignment,
            state: state.clone(),
            pending: Vec::new(),
            last_sequence,
            told: HashSet::new(),
        }
    }

    async fn drive(mut self) -> Result<Ended, RecordError> {
        let ended = self.advance().await;
        // An update that is under way would paint over what the next worker posts.
        self.live.close_all().await;
        ended
    }

    /// Takes step after step, until the run is over or somebody else's.
    async fn advance(&mut self) -> Result<Ended, RecordError> {
        loop {
            let step = next_step(&self.state, &self.assignment, self.worker.clock.now());
            let is_over = matches!(step, Step::Nothing | Step::Finish(_));
            if self.worker.stop.is_soft() && !is_over {
                return match self.flush().await {
                    Err(AppendError::Fenced) => Ok(Ended::Fenced),
                    Err(AppendError::Record(error)) => Err(error),
                    Ok(()) => Ok(Ended::HandedOver),
                };
            }
            match &step {
                Step::Start => {
                    let started = self.started();
                    self.push(started);
                    continue;
                }
                Step::Finish(conclusion) => {
                    let finished = conclusion.to_journal();
                    self.push(finished);
                }
                Step::Close => {
                    self.close().await?;
                    continue;
                }
                Step::Post { .. } | Step::AskModel { .. } | Step::CallTool(_) => {
                    if self.is_new_turn(&step) {
                        self.hear().await?;
                    }
                    let messages = self.messages(false).len();
                    if let Some(entry) = intent(&self.state, &step, messages, self.model_name()) {
                        self.push(entry);
                    }
                }
                Step::Nothing => {}
            }
            match self.flush().await {
                Ok(()) => {}
                Err(AppendError::Fenced) => {
                    tracing::info!(run = %self.work.request.run_id, "another worker owns this run now");
                    return Ok(Ended::Fenced);
                }
                Err(AppendError::Record(error)) => return Err(error),
            }
            self.tell().await?;
            match step {
                Step::Nothing => return Ok(Ended::Finished),
                Step::Start | Step::Close | Step::Finish(_) => {}
                Step::Post { post, unknown } => self.post(&post, unknown).await,
                Step::AskModel {
                    turn,
                    without_tools,
                } => self.ask_model(turn, without_tools).await,
                Step::CallTool(call) => self.call_tool(&call).await,
            }
        }
    }

    /// The model is about to be asked something that it was not asked yet.
    fn is_new_turn(&self, step: &Step) -> bool {
        let Step::AskModel { turn, .. } = step else {
            return false;
        };
        let asked = self
            .state
            .turns
            .last()
            .is_some_and(|last| last.number == *turn);
        self.assignment.listens && !asked
    }

    fn push(&mut self, entry: Entry) {
        let entry = JournalEntry {
            number: self.state.entries.saturating_add(1),
            at: Some(time::to_proto(self.worker.clock.now())),
            worker: self.worker.name.clone(),
            entry: Some(entry),
        };
        self.state.apply(&entry);
        self.pending.push(entry);
    }

    /// Stores what is pending. The bus may be away for a while; the fence decides afterwards.
    async fn flush(&mut self) -> Result<(), AppendError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + BUS_PATIENCE;
        self.live.hide();
        loop {
            match self.record.append(&self.pending, self.last_sequence).await {
                Ok(sequence) => {
                    self.last_sequence = sequence;
                    self.pending.clear();
                    // Only now: what is shown must not come from a worker that lost the run.
                    self.live
                        .show(&self.state, &self.work.request, &self.worker.connection);
                    return Ok(());
                }
                Err(AppendError::Record(error))
                    if error.is_temporary() && Instant::now() < deadline =>
                {
                    tokio::time::sleep(BUS_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Tells the other rooms what they have not been told by this worker.
    async fn tell(&mut self) -> Result<(), RecordError> {
        let deadline = Instant::now() + BUS_PATIENCE;
        for result in results(&self.state, &self.work.request, self.work.stored_at) {
            if self.told.contains(&result.key) {
                continue;
            }
            let result = self.compared(result).await?;
            loop {
                match self.record.tell(&result).await {
                    Ok(()) => break,
                    Err(error) if error.is_temporary() && Instant::now() < deadline => {
                        tokio::time::sleep(BUS_PAUSE).await;
                    }
                    Err(error) => return Err(error),
                }
            }
            if result.what == "run_finished" {
                self.count(&result);
            }
            self.told.insert(result.key);
        }
        Ok(())
    }

    fn count(&self, result: &decide::ResultMessage) {
        let Some((at, finished)) = &self.state.finished else {
            return;
        };
        let outcome = finished.outcome().as_str_name();
        let outcome = outcome
            .trim_start_matches("RUN_OUTCOME_")
            .to_ascii_lowercase();
        metrics::counter!("tocsin_runs_total", "outcome" => outcome.clone()).increment(1);
        if let Some(started) = &self.state.started {
            let seconds = at.duration_since(started.at).as_secs_f64();
            metrics::histogram!("tocsin_run_duration_seconds").record(seconds);
        }
        tracing::info!(run = %self.work.request.run_id, outcome, key = result.key, detail = finished.detail, "run finished");
    }

    fn model_name(&self) -> &str {
        let configured = self.config.model.as_deref();
        configured.unwrap_or(&self.worker.default_model)
    }

    fn started(&self) -> Entry {
        let mut limits = self.worker.limits;
        if let Some(turns) = self.config.max_turns {
            limits.turns = turns;
        }
        let request = &self.work.request;
        Entry::Started(Started {
            event_id: request.event_id.clone(),
            agent: request.agent.clone(),
            work_sequence: self.work.sequence,
            limits: Some(limits),
            model: self.model_name().to_owned(),
            prompt_sha256: briefing::fingerprint(
                &self.config.system_prompt,
                &self.tools().offered(),
            ),
            config_version: self.config.version.clone(),
        })
    }

    fn tools(&self) -> Tools<'_> {
        Tools {
            toolbox: &self.worker.toolbox,
            secrets: self.worker.secrets.as_ref(),
            config: self.config,
            request: &self.work.request,
        }
    }

    fn messages(&self, without_tools: bool) -> Vec<decide::Message> {
        let begun = self.state.started.as_ref().map(|started| started.at);
        let briefing = briefing::briefing(&self.work.request, begun);
        let last = without_tools.then(|| self.state.turns.last().and_then(|turn| turn.breach));
        conversation(&self.state, &self.config.system_prompt, &briefing, last)
    }

    async fn ask_model(&mut self, turn: u32, without_tools: bool) {
        let tools = if without_tools {
            Vec::new()
        } else {
            self.tools().offered()
        };
        let request = Request {
            model: self.model_name().to_owned(),
            messages: self.messages(without_tools),
            tools,
            max_tokens: self.config.max_tokens,
            temperature: Some(self.config.temperature),
            reasoning: self.config.reasoning.clone(),
            verbosity: self.config.verbosity.clone(),
        };
        let began = Instant::now();
        let answer = self.model.ask(&request).await;
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let entry = match answer {
            Ok(answer) => ModelResponded {
                turn,
                text: answer.text,
                // Cut off in the middle of a call: what is there cannot be trusted to be whole.
                tool_calls: if without_tools {
                    Vec::new()
                } else {
                    answer.calls
                },
                usage: Some(answer.usage),
                finish_reason: answer.finish_reason,
                millis,
            },
            Err(error) => {
                let text = ErrorChain(&error).to_string();
                tracing::warn!(run = %self.work.request.run_id, turn, error = %text, "the model gave no answer");
                ModelResponded {
                    turn,
                    text,
                    tool_calls: Vec::new(),
                    usage: Some(Usage::default()),
                    finish_reason: FAILED.to_owned(),
                    millis,
                }
            }
        };
        self.push(Entry::ModelResponded(entry));
    }

    async fn call_tool(&mut self, call: &ToolCall) {
        let answer = self
            .state
            .turns
            .last()
            .and_then(|turn| turn.answer.as_ref());
        let cut = answer.is_some_and(|answer| answer.finish_reason == TRUNCATED);
        let output = if cut {
            // Its arguments may look whole and not be.
            Output::refused("your answer was cut off at its token limit; write shorter calls")
        } else {
            self.tools().call(call).await
        };
        self.push(Entry::ToolFinished(ToolFinished {
            call_id: call.call_id.clone(),
            tool: call.tool.clone(),
            output: output.text,
            failed: output.failed,
            millis: output.millis,
            truncated: output.truncated,
        }));
    }
}
