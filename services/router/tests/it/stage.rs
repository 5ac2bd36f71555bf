//! A bus, a few teams, a router, and eyes for what it writes.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tocsin_bus::{BatchLimits, Bus, Delivery, Outcome, Outgoing};
use tocsin_kit::Context;
use tocsin_router::Settings;
use tocsin_testkit::bus::clock;
use tocsin_testkit::{TestBus, eventually};
use tocsin_wire::identifier::IdentifierType;
use tocsin_wire::ids::{EventId, MessageId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{
    Actor, ActorKind, Conversation, Decision, DecisionAction, Envelope, Event, Identifier,
    RoutingOwner, RoutingRecord, RunRequest, TeamRecord,
};
use tocsin_wire::{Pool, Service};
use tokio::task::JoinHandle;

/// Long enough for a loaded machine; a passing test never waits for it.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const PAY: &str = "acme.pay";
pub(crate) const UNROUTED: &str = "unrouted.unrouted";

pub(crate) struct Stage {
    pub(crate) test: TestBus,
    pub(crate) ingress: Bus,
    pub(crate) config: Bus,
    pub(crate) eye: Bus,
    /// Who owns it, and what was decided.
    decided: Arc<Mutex<Vec<(String, Decision)>>>,
}

/// A router in this process.
pub(crate) struct Running {
    pub(crate) context: Context,
    task: JoinHandle<Result<(), tocsin_router::Error>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.context.stop.trigger_soft();
        self.task.await.expect("no panic").expect("a clean end");
        self.context.tasks.wait(LIMIT).await.expect("tasks end");
    }
}

impl Stage {
    #[expect(clippy::disallowed_methods, reason = "ends with the test")]
    pub(crate) async fn start() -> Arc<Self> {
        let test = TestBus::start().await.expect("bus");
        let ingress = test.connect(Service::Ingress).await.expect("ingress");
        let config = test.connect(Service::Config).await.expect("config");
        let eye = test.connect(Service::Operator).await.expect("operator");
        let audit = test.connect(Service::Audit).await.expect("audit");
        let decided = Arc::default();
        tokio::spawn(read_decisions(audit, Arc::clone(&decided)));
        Arc::new(Self {
            test,
            ingress,
            config,
            eye,
            decided,
        })
    }

    /// With team acme/pay, which owns channel C1 (watched) and service P1.
    pub(crate) async fn with_team() -> Arc<Self> {
        let stage = Self::start().await;
        stage
            .put_team(
                "acme",
                "pay",
                json!({
                    "notifications": {"default_slack_channel_id": "CTEAM"},
                    "auto_investigate": {"channel_ids": ["C1"]},
                }),
            )
            .await;
        stage.claim("slack_channel_id", "C1", &[PAY]).await;
        stage.claim("pagerduty_service_id", "P1", &[PAY]).await;
        stage
    }

    pub(crate) async fn put_team(&self, org: &str, team: &str, config: Value) {
        let record = TeamRecord {
            org: org.to_owned(),
            team: team.to_owned(),
            effective_config: config.to_string().into(),
            ..TeamRecord::default()
        };
        self.put("teams", &format!("{org}.{team}"), Body::TeamRecord(record))
            .await;
    }

    /// `owners` as `org.team`.
    pub(crate) async fn claim(&self, kind: &str, value: &str, owners: &[&str]) {
        let kind = IdentifierType::named(kind).expect("known");
        let owner = |text: &&str| {
            let (org, team) = text.split_once('.').expect("org.team");
            let (org, team) = (org.to_owned(), team.to_owned());
            RoutingOwner { org, team }
        };
        let record = RoutingRecord {
            r#type: kind.name.to_owned(),
            value: kind.normalise(value),
            owners: owners.iter().map(owner).collect(),
        };
        self.put("routing", &kind.key(value), Body::RoutingRecord(record))
            .await;
    }

    pub(crate) async fn release(&self, kind: &str, value: &str) {
        let key = IdentifierType::named(kind).expect("known").key(value);
        self.config
            .bucket("routing")
            .delete(&key)
            .await
            .expect("deleted");
    }

    async fn put(&self, bucket: &'static str, key: &str, body: Body) {
        let event = EventId::derive(key);
        let id = MessageId::key_value(bucket, key, &format!("{body:?}"));
        let envelope = Envelope::new(id, Service::Config, clock()(), event, None, body);
        self.config
            .bucket(bucket)
            .put(key, &envelope)
            .await
            .expect("written");
    }

    /// Starts a router and waits until it is ready.
    pub(crate) async fn router(&self) -> Running {
        self.router_at(256).await
    }

    /// One that has at most `concurrency` events at work.
    #[expect(clippy::disallowed_methods, reason = "ends with the test")]
    pub(crate) async fn router_at(&self, concurrency: usize) -> Running {
        let settings = Settings {
            bus: self.test.settings(),
            concurrency: NonZeroUsize::new(concurrency).expect("not zero"),
            bot_handle: "tocsin".to_owned(),
            slack_bot_user_id: None,
            slack_app_id: None,
        };
        let context = Context::for_test("router").expect("context");
        let running = Box::pin(tocsin_router::run(settings, context.clone()));
        let task = tokio::spawn(running);
        let health = context.health.clone();
        eventually("a ready router", LIMIT, || {
            let snapshot = health.snapshot();
            async move { snapshot.ready && !snapshot.checks.is_empty() }
        })
        .await;
        Running { context, task }
    }

    pub(crate) async fn publish(&self, event: &Event) -> EventId {
        self.publish_under("events", event).await
    }

    /// As the stream does with an event that was held back, once it is due.
    pub(crate) async fn publish_due(&self, event: &Event) -> EventId {
        self.publish_under("deferred.due", event).await
    }

    async fn publish_under(&self, prefix: &str, event: &Event) -> EventId {
        let id = EventId::derive(&event.delivery_key);
        let (provider, kind) = (&event.provider, &event.kind);
        let subject = format!("{prefix}.{provider}.shared.{kind}.K")
            .parse()
            .expect("subject");
        let body = Body::from(event.clone());
        let envelope = Envelope::new(id.into(), Service::Ingress, clock()(), id, None, body);
        let outgoing = Outgoing::new(subject, envelope);
        self.ingress.publish(outgoing).await.expect("published");
        id
    }

    /// Decisions under `owner` (`org.team`), oldest first.
    pub(crate) fn decisions(&self, owner: &str) -> Vec<Decision> {
        let decided = self.decided.lock().expect("not poisoned");
        let own = decided.iter().filter(|(whose, _)| whose == owner);
        own.map(|(_, decision)| decision.clone()).collect()
    }

    /// Whose decisions there are, in their order.
    pub(crate) fn owners_decided(&self) -> Vec<String> {
        let decided = self.decided.lock().expect("not poisoned");
        decided.iter().map(|(owner, _)| owner.clone()).collect()
    }

    /// Waits for the decision on an event.
    pub(crate) async fn decision(&self, owner: &str, event: EventId) -> Decision {
        let event = event.to_string();
        eventually("a decision", LIMIT, || async {
            let decisions = self.decisions(owner).into_iter();
            decisions
                .into_iter()
                .find(|decision| decision.event_id == event)
        })
        .await
    }

    pub(crate) async fn decisions_reach(&self, owner: &str, count: usize) -> Vec<Decision> {
        eventually("all decisions", LIMIT, || async {
            let decisions = self.decisions(owner);
            let found = decisions.len();
            (found >= count)
                .then_some(decisions)
                .ok_or(format!("{found} of {count}"))
        })
        .await
    }

    /// Runs in the team's window.
    pub(crate) async fn work(&self, owner: &str) -> Vec<RunRequest> {
        let subject = format!("work.run.{}.{owner}", Pool::shared());
        let subject = subject.parse().expect("subject");
        let stored = self.eye.replay(&subject).await.expect("replayed");
        let bodies = stored.into_iter().filter_map(|stored| stored.envelope.body);
        bodies
            .map(|body| match body {
                Body::RunRequest(request) => *request,
                other => panic!("{other:?} is no run"),
            })
            .collect()
    }

    /// Runs that wait behind the team's window.
    pub(crate) async fn waiting(&self, owner: &str) -> usize {
        let teams = self.eye.waiting_teams(&Pool::shared()).await.expect("told");
        let own = teams
            .into_iter()
            .find(|(org, team, _)| format!("{org}.{team}") == owner);
        own.map_or(0, |(_, _, count)| usize::try_from(count).expect("fits"))
    }

    /// Asks the router until its answer has `field` equal to `value`.
    pub(crate) async fn explained(&self, question: Value, field: &str, value: Value) -> Value {
        eventually("an explanation", LIMIT, || async {
            let answer = self.eye.ask(Service::Router, "explain", &question).await;
            let answer = answer.map_err(|error| error.to_string())?;
            let fits = answer[field] == value;
            fits.then(|| answer.clone()).ok_or(answer.to_string())
        })
        .await
    }
}

/// A delivery of its own that tells of something of its own, unless `semantic` names it.
pub(crate) fn incident(number: usize, service: &str) -> Event {
    Event {
        provider: "pagerduty".to_owned(),
        source_id: "shared".to_owned(),
        kind: "incident_triggered".to_owned(),
        delivery_key: format!("pagerduty:shared:{service}:{number}"),
        semantic_key: format!("pagerduty:shared:{service}:{number}"),
        identifiers: vec![identifier("pagerduty_service_id", service)],
        title: format!("incident {number}"),
        raw_body: "{}".into(),
        ..Event::default()
    }
}

/// One of the events by which Slack tells of the message `ts`.
pub(crate) fn said(kind: &str, channel: &str, ts: &str, event_id: &str) -> Event {
    Event {
        provider: "slack".to_owned(),
        source_id: "shared".to_owned(),
        kind: kind.to_owned(),
        delivery_key: format!("slack:shared:{event_id}"),
        semantic_key: format!("slack:shared:T1:{channel}:{ts}"),
        identifiers: vec![identifier("slack_channel_id", channel)],
        actor: Some(Actor {
            kind: ActorKind::User.into(),
            id: "U1".to_owned(),
            name: String::new(),
        }),
        text: "<@U0> why?".to_owned(),
        conversation: Some(Conversation {
            workspace: "T1".to_owned(),
            channel: channel.to_owned(),
            thread: ts.to_owned(),
            message: ts.to_owned(),
        }),
        ..Event::default()
    }
}

fn identifier(kind: &str, value: &str) -> Identifier {
    Identifier {
        r#type: kind.to_owned(),
        value: value.to_owned(),
    }
}

pub(crate) fn count(decisions: &[Decision], action: DecisionAction) -> usize {
    decisions
        .iter()
        .filter(|decision| decision.action() == action)
        .count()
}

pub(crate) fn last_code(decision: &Decision) -> &str {
    decision.reasons.last().map_or("", |reason| &reason.code)
}

/// Reads as audit does, so that each decision is verified once.
async fn read_decisions(audit: Bus, told: Arc<Mutex<Vec<(String, Decision)>>>) {
    let seen = Mutex::new(BTreeSet::new());
    let limits = BatchLimits {
        max: 200,
        wait: Duration::from_millis(20),
    };
    let keep = |batch: Vec<Delivery>| {
        let mut told = told.lock().expect("not poisoned");
        let mut seen = seen.lock().expect("not poisoned");
        for delivery in batch {
            let (org, team) = delivery.subject.tenant().expect("a tenant");
            let owner = format!("{org}.{team}");
            // A batch may come again; the stream holds each message once.
            let is_new = seen.insert(delivery.sequence);
            if let Some(Body::Decision(decision)) = delivery.envelope.body
                && is_new
            {
                told.push((owner, decision));
            }
        }
        std::future::ready(Outcome::Done)
    };
    let never = std::future::pending();
    let reading = audit.consume_batches(("RESULTS", "audit"), limits, never, keep);
    reading.await.expect("reads");
}
