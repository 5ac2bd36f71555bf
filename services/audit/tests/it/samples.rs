//! One message of every type that audit records, as its writer would publish it.

use jiff::{SignedDuration, Timestamp};
use tocsin_testkit::bus::clock;
use tocsin_wire::ids::{EventId, MessageId, RunId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::journal_entry::{
    Entry, Finished, ModelRequested, ModelResponded, PostStarted, Posted, Resumed, Started,
    ToolFinished, ToolStarted,
};
use tocsin_wire::proto::{
    Actor, ConfigChanged, Decision, DecisionAction, Envelope, Event, EventStatus, Findings,
    Identifier, Journal, JournalEntry, Placement, Reason, RunOutcome, RunPost, RunResult,
    RunStarted, Severity, Signal, SignalKind, ToolCall, Usage,
};
use tocsin_wire::{OrgId, Service, TeamId, time};

pub(crate) const EVENT_SUBJECT: &str = "events.pagerduty.shared.incident_triggered.P1";

/// One event, and the run that follows from it.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) delivery: String,
    pub(crate) event: EventId,
    pub(crate) run: RunId,
    pub(crate) began: Timestamp,
}

pub(crate) fn tenant() -> (OrgId, TeamId) {
    (
        OrgId::new("acme").expect("token"),
        TeamId::new("pay").expect("token"),
    )
}

impl Story {
    pub(crate) fn new(number: usize) -> Self {
        let delivery = format!("01DELIVERY{number}");
        let key = format!("pagerduty:shared:{delivery}");
        Self {
            event: EventId::derive(&key),
            run: RunId::derive(&key, "acme", "pay"),
            began: clock()(),
            delivery,
        }
    }

    fn at(&self, milliseconds: i64) -> Timestamp {
        self.began + SignedDuration::from_millis(milliseconds)
    }

    fn owned(&self, id: MessageId, service: Service, body: Body) -> Envelope {
        let (org, team) = tenant();
        let cause = Some(self.event.into());
        Envelope::new(id, service, self.began, self.event, cause, body).owned_by(&org, &team)
    }

    pub(crate) fn event(&self) -> Envelope {
        let event = Event {
            provider: "pagerduty".to_owned(),
            source_id: "shared".to_owned(),
            kind: "incident_triggered".to_owned(),
            native_type: "incident.triggered".to_owned(),
            delivery_key: format!("pagerduty:shared:{}", self.delivery),
            delivery_id: self.delivery.clone(),
            title: "checkout is\0 slow".to_owned(),
            text: "p99 over 2 s".to_owned(),
            severity: Severity::High.into(),
            status: EventStatus::Firing.into(),
            identifiers: vec![Identifier {
                r#type: "pagerduty_service_id".to_owned(),
                value: "P1".to_owned(),
            }],
            received_at: Some(time::to_proto(self.at(-2))),
            raw_body: vec![0, 1, 2, 255].into(),
            ..Event::default()
        };
        let body = Body::from(event);
        Envelope::new(
            self.event.into(),
            Service::Ingress,
            self.began,
            self.event,
            None,
            body,
        )
    }

    pub(crate) fn decision(&self) -> Envelope {
        let decision = Decision {
            event_id: self.event.to_string(),
            action: DecisionAction::Run.into(),
            reasons: vec![Reason {
                code: "matched_identifier".to_owned(),
                detail: "P1 is claimed by acme/pay.".to_owned(),
            }],
            matched_by: "pagerduty_service_id".to_owned(),
            matched_value: "P1".to_owned(),
            run_id: self.run.to_string(),
            agent: "investigator".to_owned(),
            placement: Placement::Admitted.into(),
            decide_micros: 12,
            event_provider: "pagerduty".to_owned(),
            ..Decision::default()
        };
        let id = MessageId::decision(self.event);
        self.owned(id, Service::Router, Body::Decision(decision))
    }

    /// What the router decides on another event that tells of the same.
    pub(crate) fn repeat(&self, first: &Self) -> Envelope {
        let decision = Decision {
            event_id: self.event.to_string(),
            action: DecisionAction::Duplicate.into(),
            reasons: vec![Reason {
                code: "duplicate_event".to_owned(),
                detail: "told before".to_owned(),
            }],
            run_id: first.run.to_string(),
            duplicate_of: first.event.to_string(),
            ..Decision::default()
        };
        let id = MessageId::decision(self.event);
        self.owned(id, Service::Router, Body::Decision(decision))
    }

    fn journal(&self, worker: &str, entries: Vec<(u32, i64, Entry)>) -> Envelope {
        let first = entries.first().map_or(0, |(number, ..)| *number);
        let entries = entries
            .into_iter()
            .map(|(number, after, entry)| JournalEntry {
                number,
                at: Some(time::to_proto(self.at(after))),
                worker: worker.to_owned(),
                entry: Some(entry),
            })
            .collect();
        let journal = Journal {
            run_id: self.run.to_string(),
            entries,
        };
        let id = MessageId::journal(self.run, first, worker);
        self.owned(id, Service::AgentWorker, Body::Journal(journal))
    }

    /// Three journal messages of two workers; milliseconds are far enough from the broker's clock.
    pub(crate) fn journals(&self) -> [Envelope; 3] {
        let first = self.journal("worker-1", self.first_steps());
        let second = self.journal("worker-1", self.steps_with_tool());
        [first, second, self.journal("worker-2", self.last_steps())]
    }

    fn first_steps(&self) -> Vec<(u32, i64, Entry)> {
        let started = Started {
            event_id: self.event.to_string(),
            agent: "investigator".to_owned(),
            model: "scripted".to_owned(),
            ..Started::default()
        };
        let post = PostStarted {
            destination: "first slack:C1".to_owned(),
        };
        let posted = Posted {
            destination: "first slack:C1".to_owned(),
            message_id: "17.1".to_owned(),
            channel: "C1".to_owned(),
            ..Posted::default()
        };
        vec![
            (1, 10_000, Entry::Started(started)),
            (2, 10_001, Entry::PostStarted(post)),
            (3, 10_040, Entry::Posted(posted)),
        ]
    }

    fn steps_with_tool(&self) -> Vec<(u32, i64, Entry)> {
        let asked = ModelRequested {
            turn: 1,
            model: "scripted".to_owned(),
            messages: 2,
            without_tools: false,
        };
        let answered = ModelResponded {
            turn: 1,
            tool_calls: vec![ToolCall {
                call_id: "c1".to_owned(),
                tool: "prometheus_query".to_owned(),
                arguments: "{\"query\":\"up\"}".to_owned(),
            }],
            usage: Some(Usage {
                input_tokens: 100,
                output_tokens: 20,
                ..Usage::default()
            }),
            millis: 300,
            ..ModelResponded::default()
        };
        let tool = ToolStarted {
            call_id: "c1".to_owned(),
            tool: "prometheus_query".to_owned(),
        };
        vec![
            (4, 10_041, Entry::ModelRequested(asked)),
            (5, 10_341, Entry::ModelResponded(answered)),
            (6, 10_342, Entry::ToolStarted(tool)),
        ]
    }

    fn last_steps(&self) -> Vec<(u32, i64, Entry)> {
        let resumed = Resumed {
            at_step: 6,
            idle_millis: 2_100,
            previous_worker: "worker-1".to_owned(),
            work_sequence: 1,
        };
        let tool = ToolFinished {
            call_id: "c1".to_owned(),
            tool: "prometheus_query".to_owned(),
            output: "{\"value\":1}".to_owned(),
            millis: 5,
            ..ToolFinished::default()
        };
        let finished = Finished {
            outcome: RunOutcome::Completed.into(),
            detail: String::new(),
            findings: Some(findings()),
            usage: Some(Usage {
                input_tokens: 100,
                output_tokens: 20,
                turns: 1,
                tool_calls: 1,
                estimated: false,
            }),
        };
        vec![
            (7, 12_442, Entry::Resumed(resumed)),
            (8, 12_450, Entry::ToolFinished(tool)),
            (9, 12_460, Entry::Finished(finished)),
        ]
    }

    pub(crate) fn results(&self) -> [(&'static str, Envelope); 3] {
        let run_id = self.run.to_string();
        let event_id = self.event.to_string();
        let started = RunStarted {
            run_id: run_id.clone(),
            event_id: event_id.clone(),
            agent: "investigator".to_owned(),
            worker: "worker-1".to_owned(),
            waited_millis: 3,
            ..RunStarted::default()
        };
        let post = RunPost {
            run_id: run_id.clone(),
            event_id: event_id.clone(),
            destination: "slack:C1".to_owned(),
            message_id: "17.1".to_owned(),
            channel: "C1".to_owned(),
            phase: "first".to_owned(),
        };
        let result = RunResult {
            run_id,
            event_id,
            agent: "investigator".to_owned(),
            worker: "worker-2".to_owned(),
            outcome: RunOutcome::Completed.into(),
            findings: Some(findings()),
            started_at: Some(time::to_proto(self.at(10_000))),
            finished_at: Some(time::to_proto(self.at(12_460))),
            resumed: 1,
            ..RunResult::default()
        };
        [
            ("run_started", Body::RunStarted(started)),
            ("run_post", Body::RunPost(post)),
            ("run_finished", Body::RunResult(result)),
        ]
        .map(|(what, body)| {
            let id = MessageId::run_result(self.run, what);
            (what, self.owned(id, Service::AgentWorker, body))
        })
    }

    pub(crate) fn signal(&self) -> Envelope {
        let signal = Signal {
            run_id: self.run.to_string(),
            kind: SignalKind::Cancel.into(),
            actor: Some(Actor {
                name: "rosa".to_owned(),
                ..Actor::default()
            }),
            text: "enough".to_owned(),
            ..Signal::default()
        };
        let id = MessageId::signal(self.run, "test");
        self.owned(id, Service::Router, Body::Signal(signal))
    }

    pub(crate) fn journal_subject(&self) -> String {
        format!("journal.acme.pay.{}", self.run)
    }

    pub(crate) fn signal_subject(&self) -> String {
        format!("signal.acme.pay.{}", self.run)
    }
}

fn findings() -> Findings {
    Findings {
        summary: "a deploy did it".to_owned(),
        root_cause: "connection pool exhausted".to_owned(),
        evidence: vec!["up = 1".to_owned()],
        recommendations: vec!["roll back".to_owned()],
        confidence: Some(80),
    }
}

pub(crate) fn config_changed() -> Envelope {
    let change = ConfigChanged {
        org: "acme".to_owned(),
        node: "pay".to_owned(),
        version: 3,
        what: "updated".to_owned(),
        changed_by: "rosa".to_owned(),
        ..ConfigChanged::default()
    };
    let id = MessageId::config_changed("acme", "pay", 3, "updated");
    let correlation = EventId::from(id.as_uuid());
    Envelope::new(
        id,
        Service::Config,
        clock()(),
        correlation,
        None,
        Body::ConfigChanged(change),
    )
}
