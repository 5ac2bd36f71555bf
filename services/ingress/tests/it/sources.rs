//! Sources of their own: secrets, limits, filters, and what their owner is told.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tocsin_bus::Bus;
use tocsin_ingress::Settings;
use tocsin_testkit::standins::signature;
use tocsin_testkit::{TestBus, eventually};
use tocsin_wire::ids::{EventId, MessageId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Envelope, Event, SourceRecord, SourceSecret};
use tocsin_wire::sealed::{Audience, SealingRing};
use tocsin_wire::{Service, rate, time};

use crate::secrets::{key_files, put, ring};
use crate::stage::{Ingress, LIMIT, NOW, Stored, event, fixture, fixtures, settings};

pub(crate) const NEW: &str = "the new secret";
pub(crate) const OLD: &str = "the old secret";

pub(crate) struct Stage {
    pub(crate) bus: TestBus,
    pub(crate) config: Bus,
    ring: SealingRing,
    pub(crate) stored: Stored,
    pub(crate) ingress: Ingress,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        let bus = TestBus::start().await.expect("a bus");
        let config = bus.connect(Service::Config).await.expect("config");
        let ring = ring(&config).await;
        let stored = Stored::follow(&bus).await;
        let ingress = Self::replica(&bus).await;
        Self {
            bus,
            config,
            ring,
            stored,
            ingress,
        }
    }

    pub(crate) async fn replica(bus: &TestBus) -> Ingress {
        Self::replica_with(bus, |_settings| {}).await
    }

    async fn replica_with(bus: &TestBus, change: impl FnOnce(&mut Settings)) -> Ingress {
        let mut settings = settings(bus.settings());
        settings.sealing_key_file = Some(key_files(bus));
        settings.sns_certificates_dir = Some(fixtures().join("sns"));
        change(&mut settings);
        let ingress = Ingress::start_with(settings).await;
        eventually("ingress is ready", LIMIT, || async { ingress.is_ready() }).await;
        ingress
    }

    pub(crate) async fn seal(&self, name: &str, value: &str) {
        put(&self.config, &self.ring, name, Audience::Ingress, value).await;
    }

    pub(crate) async fn publish(&self, record: SourceRecord) {
        let bytes = format!("{record:?}");
        let id = MessageId::key_value("sources", &record.id, &bytes);
        let correlation = EventId::from(id.as_uuid());
        let key = record.id.clone();
        let body = Body::SourceRecord(record);
        let now = self.config.now();
        let envelope = Envelope::new(id, Service::Config, now, correlation, None, body);
        let written = self.config.bucket("sources").put(&key, &envelope).await;
        written.expect("written");
    }

    /// A GitHub delivery, with a body of its own per `number`.
    pub(crate) async fn deliver(
        &self,
        to: &Ingress,
        id: &str,
        secret: &str,
        number: usize,
    ) -> (u16, Value) {
        let body =
            format!(r#"{{"action":"created","repository":{{"full_name":"acme/r{number}"}}}}"#);
        let signed = signature::github(secret, body.as_bytes()).expect("signed");
        let request = to
            .post(&format!("/webhooks/github/{id}"))
            .header("content-type", "application/json")
            .header("x-github-event", "issue_comment")
            .header("x-github-delivery", format!("d-{number}"))
            .header("x-hub-signature-256", signed);
        let answer = request.body(body).send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    pub(crate) async fn status(&self, id: &str, secret: &str, number: usize) -> u16 {
        self.deliver(&self.ingress, id, secret, number).await.0
    }

    pub(crate) async fn until_status(&self, id: &str, secret: &str, status: u16) {
        eventually("the source answers so", LIMIT, || async {
            let got = self.status(id, secret, 0).await;
            if got == status {
                Ok(())
            } else {
                Err(got.to_string())
            }
        })
        .await;
    }
}

pub(crate) fn secret(id: &str, name: &str, expires: Option<i64>) -> SourceSecret {
    let at = |seconds| time::to_proto(jiff::Timestamp::from_second(seconds).expect("in range"));
    SourceSecret {
        id: id.to_owned(),
        name: name.to_owned(),
        version: 1,
        not_before: None,
        expires: expires.map(at),
    }
}

pub(crate) fn record(id: &str, settings: &Value) -> SourceRecord {
    SourceRecord {
        id: id.to_owned(),
        org: "acme".to_owned(),
        provider: "github".to_owned(),
        name: "main".to_owned(),
        disabled: false,
        settings: settings.to_string().into_bytes().into(),
        secrets: vec![secret("2", "new", None)],
        version: 1,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_has_secrets_that_rotate_and_an_owner() {
    let stage = Stage::start().await;
    stage.seal("new", NEW).await;
    stage.seal("old", OLD).await;
    let both = SourceRecord {
        secrets: vec![secret("2", "new", None), secret("1", "old", Some(NOW + 60))],
        ..record("src_a", &json!({"default_team": "pay"}))
    };
    stage.publish(both.clone()).await;
    stage.until_status("src_a", NEW, 200).await;
    assert_eq!(stage.status("src_a", OLD, 1).await, 200);
    assert_eq!(stage.status("src_a", "wrong", 2).await, 401);
    assert_eq!(stage.status("src_none", NEW, 2).await, 404);

    let events = stage.stored.wait_for(2).await;
    let said = |event: &Event| {
        let tenant = (event.org.clone(), event.default_team.clone());
        (event.source_id.clone(), event.secret_id.clone(), tenant)
    };
    let tenant = ("acme".to_owned(), "pay".to_owned());
    let expected = |secret: &str| ("src_a".to_owned(), secret.to_owned(), tenant.clone());
    assert_eq!(said(event(&events[0].1)), expected("2"));
    assert_eq!(said(event(&events[1].1)), expected("1"));
    assert!(
        events[0]
            .0
            .to_string()
            .starts_with("events.github.src_a.issue_comment.")
    );

    // The old one expires, is taken away, and the whole source goes.
    let expired = SourceRecord {
        secrets: vec![secret("2", "new", None), secret("1", "old", Some(NOW))],
        version: 2,
        ..both.clone()
    };
    stage.publish(expired).await;
    stage.until_status("src_a", OLD, 401).await;
    assert_eq!(stage.status("src_a", NEW, 3).await, 200);
    let disabled = SourceRecord {
        disabled: true,
        version: 3,
        ..both
    };
    stage.publish(disabled).await;
    stage.until_status("src_a", NEW, 403).await;
    stage
        .config
        .bucket("sources")
        .delete("src_a")
        .await
        .expect("deleted");
    stage.until_status("src_a", NEW, 404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_says_what_it_takes_and_from_whom() {
    let stage = Stage::start().await;
    stage.seal("new", NEW).await;
    // Its secret comes later: until then it is our trouble, not the sender's.
    let later = SourceRecord {
        secrets: vec![secret("1", "later", None)],
        ..record("src_b", &json!({}))
    };
    stage.publish(later).await;
    stage.until_status("src_b", NEW, 503).await;
    stage.seal("later", NEW).await;
    stage.until_status("src_b", NEW, 200).await;

    let foreign = json!({"allowed_addresses": ["192.0.2.0/24"]});
    stage.publish(record("src_c", &foreign)).await;
    stage.until_status("src_c", NEW, 403).await;
    let own = json!({"allowed_addresses": ["127.0.0.0/8"], "only_kinds": ["push"]});
    stage.publish(record("src_c", &own)).await;
    stage.until_status("src_c", NEW, 200).await;
    let small = json!({"max_body_bytes": 10});
    stage.publish(record("src_c", &small)).await;
    stage.until_status("src_c", NEW, 413).await;
    // Of src_c nothing was stored: it wanted pushes only.
    let events = stage.stored.wait_for(1).await;
    assert!(
        events
            .iter()
            .all(|(_, stored)| event(stored).source_id == "src_b")
    );
    // A record that nobody can work by stops the source.
    stage
        .publish(record("src_c", &json!({"rate_tier": "none"})))
        .await;
    stage.until_status("src_c", NEW, 503).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_admit_no_more_than_the_limit_and_defer_the_rest() {
    let stage = Stage::start().await;
    let other = Stage::replica(&stage.bus).await;
    stage.seal("new", NEW).await;
    stage
        .publish(record("src_d", &json!({"rate_tier": "small"})))
        .await;
    stage.until_status("src_d", NEW, 200).await;
    eventually("the other has it too", LIMIT, || async {
        stage.deliver(&other, "src_d", NEW, 0).await.0 == 200
    })
    .await;
    let deferred = Stored::follow_stream(&stage.bus, "DEFERRED").await;
    // GitHub never tries again: all are taken, and those over the limit come out later.
    for number in 0..300 {
        let to = if number % 2 == 0 {
            &stage.ingress
        } else {
            &other
        };
        assert_eq!(
            stage.deliver(to, "src_d", NEW, number).await.0,
            200,
            "{number}"
        );
    }
    // The clock of ingress is behind that of the server: what is put aside comes out at once.
    let (undeferred, deferred) = eventually("every one is stored", LIMIT, || async {
        let both = (stage.stored.events(), deferred.events());
        match both.0.len() + both.1.len() {
            300.. => Ok(both),
            fewer => Err(fewer),
        }
    })
    .await;
    assert!(
        (95..=100).contains(&undeferred.len()),
        "{}",
        undeferred.len()
    );
    let ids: BTreeSet<_> = undeferred
        .iter()
        .chain(&deferred)
        .map(|(_, stored)| event(stored).delivery_id.clone())
        .collect();
    assert_eq!(ids.len(), 300, "each once");
    let says_so = |(_, stored): &(_, _)| event(stored).deferred_until.is_some();
    assert!(deferred.iter().all(says_so) && !undeferred.iter().any(says_so));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_tries_again_hears_so() {
    let stage = Stage::start().await;
    stage.seal("new", NEW).await;
    let pagerduty = SourceRecord {
        provider: "pagerduty".to_owned(),
        ..record("src_e", &json!({"rate_tier": "small"}))
    };
    stage.publish(pagerduty).await;
    let body = fixture("pagerduty/incident.triggered.json");
    let deliver = || async {
        let signed = signature::pagerduty(NEW, &body).expect("signed");
        let request = stage.ingress.post("/webhooks/pagerduty/src_e");
        let request = request.header("x-pagerduty-signature", signed);
        request.body(body.clone()).send().await.expect("an answer")
    };
    eventually("it is loaded", LIMIT, || async {
        deliver().await.status() == 200
    })
    .await;
    let refused = eventually("the window is full", LIMIT, || async {
        // Many at a time: a slow machine must not let the window slide faster than it fills.
        let answers = futures::future::join_all((0..25).map(|_| deliver())).await;
        let refused = answers.into_iter().find(|answer| answer.status() == 429);
        refused.ok_or("all were taken")
    })
    .await;
    assert!(refused.headers().contains_key("retry-after"));
    let problem: Value = refused.json().await.expect("JSON");
    assert_eq!(problem["code"], "rate_limited");
}

/// Two sources of one org, each far below its own limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sources_of_an_org_share_the_limit_that_the_settings_name() {
    let mut stage = Stage::start().await;
    stage.ingress = Stage::replica_with(&stage.bus, |settings| {
        settings.org_rate_tier = rate::SMALL;
    })
    .await;
    stage.seal("new", NEW).await;
    let sources = ["src_i", "src_j"];
    for id in sources {
        stage.publish(record(id, &json!({}))).await;
        stage.until_status(id, NEW, 200).await;
    }
    let deferred = Stored::follow_stream(&stage.bus, "DEFERRED").await;
    let numbers: Vec<usize> = (0..120).collect();
    for some in numbers.chunks(20) {
        // Many at a time: a slow machine must not let the window slide faster than it fills.
        let sent = some
            .iter()
            .map(|number| stage.status(sources[number % 2], NEW, *number));
        let statuses = futures::future::join_all(sent).await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    }
    deferred.wait_for(1).await;
}

/// A token may stand in a header that is kept where others sign in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_never_keeps_the_header_that_holds_the_secret() {
    let stage = Stage::start().await;
    stage.seal("new", NEW).await;
    let token = json!({"scheme": {"type": "token", "header": "X-Hub-Signature-256"}});
    stage.publish(record("src_h", &token)).await;
    let deliver = || async {
        let request = stage
            .ingress
            .post("/webhooks/github/src_h")
            .header("x-github-event", "issue_comment")
            .header("x-github-delivery", "d-1")
            .header("x-hub-signature-256", NEW);
        let body = r#"{"action":"created","repository":{"full_name":"acme/r"}}"#;
        request.body(body).send().await.expect("an answer").status()
    };
    eventually("it is loaded", LIMIT, || async { deliver().await == 200 }).await;
    let stored = stage.stored.wait_for(1).await;
    let kept = &event(&stored[0].1).headers;
    assert!(kept.iter().any(|header| header.name == "x-github-delivery"));
    assert!(kept.iter().all(|header| header.value != NEW), "{kept:?}");
}
