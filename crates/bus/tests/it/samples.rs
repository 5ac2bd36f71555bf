//! Messages and places that several tests use.

use std::time::Duration;

use tocsin_bus::{Bus, Outgoing};
use tocsin_testkit::TestBus;
use tocsin_testkit::bus::clock;
use tocsin_wire::ids::{EventId, MessageId, RunId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Claim, Event, RunRequest};
use tocsin_wire::{OrgId, Pool, Service, Subject, TeamId, proto::Envelope};

/// Long enough for a loaded machine; a passing test never waits for it.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn event_subject() -> Subject {
    "events.pagerduty.shared.incident_triggered.P1"
        .parse()
        .expect("subject")
}

pub(crate) fn event(number: usize) -> Envelope {
    let id = EventId::derive(&format!("test:{number}"));
    let event = Event {
        provider: "pagerduty".to_owned(),
        source_id: "shared".to_owned(),
        kind: "incident_triggered".to_owned(),
        title: format!("incident {number}"),
        ..Event::default()
    };
    Envelope::new(
        id.into(),
        Service::Ingress,
        clock()(),
        id,
        None,
        Body::from(event),
    )
}

pub(crate) fn title(envelope: &Envelope) -> String {
    envelope
        .event()
        .map(|event| event.title.clone())
        .unwrap_or_default()
}

pub(crate) async fn publish_events(ingress: &Bus, numbers: std::ops::Range<usize>) {
    for number in numbers {
        ingress
            .publish(Outgoing::new(event_subject(), event(number)))
            .await
            .expect("published");
    }
}

pub(crate) fn tenant() -> (Pool, OrgId, TeamId) {
    (
        Pool::shared(),
        OrgId::new("acme").expect("token"),
        TeamId::new("pay").expect("token"),
    )
}

pub(crate) fn run_request(number: usize) -> (Envelope, RunId) {
    let (_, org, team) = tenant();
    let event = EventId::derive(&format!("test:{number}"));
    let run = RunId::derive(&format!("test:{number}"), org.as_str(), team.as_str());
    let request = RunRequest {
        run_id: run.to_string(),
        event_id: event.to_string(),
        ..RunRequest::default()
    };
    let envelope = Envelope::new(
        MessageId::run_request(run),
        Service::Router,
        clock()(),
        event,
        Some(event.into()),
        Body::from(request),
    )
    .owned_by(&org, &team);
    (envelope, run)
}

pub(crate) fn claim(key: &str) -> Envelope {
    let event = EventId::derive(key);
    let claim = Claim {
        key: key.to_owned(),
        event_id: event.to_string(),
        ..Claim::default()
    };
    let id = MessageId::key_value("seen", key, "first");
    Envelope::new(
        id,
        Service::Router,
        clock()(),
        event,
        None,
        Body::Claim(claim),
    )
}

/// JetStream as the operator's user key reaches it without any code of ours, so without signatures.
pub(crate) async fn unsigned(test: &TestBus) -> async_nats::jetstream::Context {
    let settings = test.settings();
    let file = settings.nats_nkey_file.unwrap_or_default();
    let seed = std::fs::read_to_string(file.replace("{service}", Service::Operator.name()));
    let seed = seed.expect("the operator's user key").trim().to_owned();
    let client = async_nats::ConnectOptions::with_nkey(seed);
    let client = client.connect(settings.nats_url).await.expect("connects");
    async_nats::jetstream::new(client)
}
