//! A world for runs: bus, Slack, model, Prometheus, and workers that may die.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tocsin_agent_worker::decide::{ResultMessage, RunState, Told};
use tocsin_agent_worker::model::{ModelClient, ModelTimeouts};
use tocsin_agent_worker::run::{
    AppendError, BusRecord, Ended, Record, RecordError, Replay, Work, Worker, execute,
};
use tocsin_agent_worker::slack::{SlackClient, SlackLimits};
use tocsin_agent_worker::team::AgentConfig;
use tocsin_agent_worker::tools::Toolbox;
use tocsin_bus::Bus;
use tocsin_kit::http_client::Timeouts;
use tocsin_kit::{Context, HttpClient, Secret};
use tocsin_testkit::TestBus;
use tocsin_testkit::standins::{Model, Prometheus, Slack};
use tocsin_wire::ids::{EventId, MessageId, RunId};
use tocsin_wire::proto::destination::Kind;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{
    Destination, Envelope, Event, JournalEntry, Limits, OriginalRun, RunRequest, Severity,
    SlackDestination,
};
use tocsin_wire::{OrgId, Service, TeamId};
use tokio::sync::Notify;

/// Long enough for a loaded machine; a passing test never waits for it.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) test: TestBus,
    pub(crate) bus: Bus,
    pub(crate) slack: Slack,
    pub(crate) model: Model,
    pub(crate) prometheus: Prometheus,
}

impl World {
    pub(crate) async fn start() -> Self {
        let test = TestBus::start().await.expect("bus");
        let bus = test.connect(Service::AgentWorker).await.expect("connects");
        Self {
            bus,
            test,
            slack: Slack::start().await.expect("Slack"),
            model: Model::start().await.expect("model"),
            prometheus: Prometheus::start().await.expect("Prometheus"),
        }
    }

    pub(crate) fn worker(&self, name: &str) -> Arc<Worker> {
        let context = Context::for_test("agent-worker").expect("context");
        let trusted = HttpClient::trusted(Timeouts::default()).expect("client");
        let secret = |value: &str| Secret::new(value).expect("secret");
        let limits = SlackLimits {
            post_interval: Duration::ZERO,
            update_interval: Duration::from_millis(20),
        };
        let timeouts = ModelTimeouts {
            idle: Duration::from_secs(1),
            total: LIMIT,
        };
        let slack = SlackClient::new(
            trusted.clone(),
            &self.slack.api_url(),
            secret("xoxb-test"),
            limits,
        );
        let key = Some(secret("sk-test"));
        Arc::new(Worker {
            name: name.to_owned(),
            clock: context.clock.clone(),
            stop: context.stop.clone(),
            tasks: context.tasks.clone(),
            model: ModelClient::new(trusted.clone(), &self.model.base_url(), key, timeouts),
            default_model: "scripted".to_owned(),
            limits: Limits {
                turns: 20,
                seconds: 600,
                tokens: 1_000_000,
                tool_calls: 40,
            },
            slack: Some(Arc::new(slack)),
            secrets: None,
            toolbox: Toolbox {
                guarded: context.http,
                trusted,
                prometheus_url: Some(self.prometheus.url()),
                http_allow: Arc::new([]),
            },
            connection: self.bus.watch_state(),
        })
    }

    pub(crate) fn record(&self, work: &Work, writer: &str) -> BusRecord {
        let (org, team) = tenant();
        BusRecord {
            bus: self.bus.clone(),
            org,
            team,
            run: work.request.run_id.parse().expect("run id"),
            correlation: work.request.event_id.parse().expect("event id"),
            causation: None,
            writer: writer.to_owned(),
            trace: None,
        }
    }

    pub(crate) async fn execute(&self, worker: &Arc<Worker>, work: &Work) -> Ended {
        let record = self.record(work, &worker.name);
        let config = AgentConfig::built_in();
        let running = execute(worker, work, &config, record);
        let ended = tokio::time::timeout(LIMIT, Box::pin(running)).await;
        ended.expect("in time").expect("the bus is there")
    }

    /// The run's state as the journal tells it.
    pub(crate) async fn state(&self, work: &Work) -> RunState {
        let replay = self.record(work, "reader").replay().await.expect("journal");
        RunState::fold(&replay.entries)
    }

    /// The one message of the run.
    pub(crate) fn only_message(&self, name: &str) -> tocsin_testkit::standins::slack::Message {
        let channel = channel(name);
        let messages = self.slack.messages(&channel);
        let shown: Vec<String> = messages.iter().map(|message| message.shown()).collect();
        assert_eq!(messages.len(), 1, "{channel}: {shown:#?}");
        messages.into_iter().next().expect("one")
    }
}

pub(crate) fn tenant() -> (OrgId, TeamId) {
    (
        OrgId::new("acme").expect("token"),
        TeamId::new("pay").expect("token"),
    )
}

/// The channel of a run's message; Slack's ids are upper-case.
pub(crate) fn channel(name: &str) -> String {
    format!("C{}", name.to_uppercase())
}

/// A work message about failing checkouts, for a channel of its own.
pub(crate) fn work(name: &str) -> Work {
    let (org, team) = tenant();
    let event = EventId::derive(name);
    let run = RunId::derive(name, org.as_str(), team.as_str());
    let slack = SlackDestination {
        channel: channel(name),
        ..SlackDestination::default()
    };
    let clock = tocsin_testkit::bus::clock();
    Work {
        request: RunRequest {
            run_id: run.to_string(),
            event_id: event.to_string(),
            agent: "planner".to_owned(),
            event: Some(Event {
                provider: "pagerduty".to_owned(),
                kind: "incident_triggered".to_owned(),
                title: "checkout-api: error rate above 5 %".to_owned(),
                severity: Severity::High.into(),
                ..Event::default()
            }),
            destinations: vec![Destination {
                kind: Some(Kind::Slack(slack)),
            }],
            ..RunRequest::default()
        },
        sequence: 1,
        stored_at: clock(),
    }
}

/// The work message as the router writes it.
pub(crate) fn envelope(work: &Work) -> Envelope {
    let (org, team) = tenant();
    let run: RunId = work.request.run_id.parse().expect("run id");
    let event: EventId = work.request.event_id.parse().expect("event id");
    Envelope::new(
        MessageId::run_request(run),
        Service::Router,
        work.stored_at,
        event,
        Some(event.into()),
        Body::from(work.request.clone()),
    )
    .owned_by(&org, &team)
}

/// Where a worker is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// After the act, before its outcome is in the journal.
    BeforeAppend(u32),
    /// After the intent is in the journal, before the act.
    AfterAppend(u32),
}

/// A record whose worker dies at one append: it stands still there, and says so.
pub(crate) struct Mortal {
    pub(crate) inner: BusRecord,
    pub(crate) death: Death,
    pub(crate) appends: AtomicU32,
    pub(crate) died: Arc<Notify>,
}

impl Record for Mortal {
    async fn replay(&self) -> Result<Replay, RecordError> {
        self.inner.replay().await
    }

    async fn append(&self, entries: &[JournalEntry], expected: u64) -> Result<u64, AppendError> {
        let number = self.appends.fetch_add(1, Ordering::SeqCst) + 1;
        if self.death == Death::BeforeAppend(number) {
            self.died.notify_one();
            return std::future::pending().await;
        }
        let sequence = self.inner.append(entries, expected).await?;
        if self.death == Death::AfterAppend(number) {
            self.died.notify_one();
            return std::future::pending().await;
        }
        Ok(sequence)
    }

    async fn is_owned(&self, work_sequence: u64) -> Result<bool, RecordError> {
        self.inner.is_owned(work_sequence).await
    }

    async fn signals(&self, after: u64) -> Result<Vec<Told>, RecordError> {
        self.inner.signals(after).await
    }

    async fn close(&self, expected: u64) -> Result<bool, RecordError> {
        self.inner.close(expected).await
    }

    async fn leave(&self, open_key: &str) -> Result<(), RecordError> {
        self.inner.leave(open_key).await
    }

    async fn journal_of(&self, run: &OriginalRun) -> Result<Vec<JournalEntry>, RecordError> {
        self.inner.journal_of(run).await
    }

    async fn tell(&self, result: &ResultMessage) -> Result<(), RecordError> {
        self.inner.tell(result).await
    }
}
