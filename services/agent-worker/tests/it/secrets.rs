//! Secrets of teams: opened at the moment of use, by the right pool, for the right team.

use tocsin_bus::{Bus, Outgoing};
use tocsin_kit::Context;
use tocsin_testkit::eventually;
use tocsin_wire::ids::{EventId, MessageId, RunId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Envelope, Notice, RunRequest, SecretRecord, TeamRecord};
use tocsin_wire::sealed::{Audience, Place, SealingRing, seal};
use tocsin_wire::{OrgId, Pool, SecretName, Service, Subject, TeamId};

use crate::harness::{LIMIT, World, channel, envelope, work};
use crate::whole::settings_of;

struct Config {
    bus: Bus,
    ring: SealingRing,
}

impl Config {
    async fn of(world: &World) -> Self {
        let bus = world.test.connect(Service::Config).await.expect("config");
        let mut ring = bus.sealing_ring();
        for record in bus.sealing_keys().await.expect("keys") {
            assert!(ring.insert(record));
        }
        Self { bus, ring }
    }

    async fn write(&self, bucket: &'static str, key: &str, body: Body) {
        let id = MessageId::key_value(bucket, key, "");
        let correlation = EventId::from(id.as_uuid());
        let value = Envelope::new(id, Service::Config, self.bus.now(), correlation, None, body);
        let written = self.bus.bucket(bucket).put(key, &value).await;
        written.expect("written");
    }

    /// Seals as config does.
    async fn secret(&self, node: &str, name: &str, version: u64, value: &str, audience: &Audience) {
        let place = Place {
            org: OrgId::new("acme").expect("org"),
            node: TeamId::new(node).expect("node"),
            name: SecretName::new(name).expect("name"),
            version,
            audience: audience.clone(),
        };
        let live = self.ring.live(audience, self.bus.now());
        let boxes = live.iter().map(|key| {
            seal(key, &place, value.as_bytes(), tocsin_testkit::bus::random()).expect("seals")
        });
        let record = SecretRecord {
            org: place.org.to_string(),
            node: node.to_owned(),
            name: name.to_owned(),
            version,
            audience: audience.to_string(),
            boxes: boxes.collect(),
        };
        self.write("secrets", &place.key(), Body::SecretRecord(record))
            .await;
    }

    /// A team whose integrations refer to secrets.
    async fn team(&self, team: &str, prometheus: &str) {
        let effective = serde_json::json!({"integrations": {
            "slack": {"bot_token": "${secret:slack}"},
            "openai": {"config": {"api_key": "${secret:model}"}},
            "prometheus": {"url": prometheus, "bearer_token": "x-${secret:model}"},
        }});
        let record = TeamRecord {
            org: "acme".to_owned(),
            team: team.to_owned(),
            version: "v1".to_owned(),
            effective_config: effective.to_string().into_bytes().into(),
            lineage: vec!["acme".to_owned(), team.to_owned()],
            ..TeamRecord::default()
        };
        self.write("teams", &format!("acme.{team}"), Body::TeamRecord(record))
            .await;
    }
}

/// Runs one investigation of a team; the text of its result.
async fn run(world: &World, router: &Bus, team: &str, name: &str) -> String {
    run_with(world, router, (team, name), |_request| ()).await
}

async fn run_with(
    world: &World,
    router: &Bus,
    (team, name): (&str, &str),
    change: impl FnOnce(&mut RunRequest),
) -> String {
    let (org, team) = (
        OrgId::new("acme").expect("org"),
        TeamId::new(team).expect("team"),
    );
    let mut work = work(name);
    let run = RunId::derive(name, org.as_str(), team.as_str());
    work.request.run_id = run.to_string();
    change(&mut work.request);
    let mut envelope = envelope(&work).owned_by(&org, &team);
    envelope.id = MessageId::run_request(run).to_string();
    let subject = Subject::WorkRun {
        pool: Pool::shared(),
        org: org.clone(),
        team: team.clone(),
    };
    router
        .publish(Outgoing::new(subject, envelope))
        .await
        .expect("published");
    let mut record = world.record(&work, "reader");
    record.team = team;
    let state = eventually("the run to finish", LIMIT, || async {
        let replay = tocsin_agent_worker::run::Record::replay(&record)
            .await
            .expect("journal");
        let text = format!("{:?}", replay.entries);
        let state = tocsin_agent_worker::decide::RunState::fold(&replay.entries);
        state.finished.is_some().then_some(text)
    });
    state.await
}

/// The worker with the sealing keys of its pool.
fn start(world: &World) -> Context {
    let mut settings = settings_of(world);
    let file = world.test.keys().sealing_key_file(&Audience::default());
    let pattern = file.with_file_name("{service}.seal");
    settings.sealing_key_file = Some(pattern.display().to_string().parse().expect("path"));
    let context = Context::for_test("agent-worker").expect("context");
    context.start("agent-worker", |context| {
        tocsin_agent_worker::run(settings, context)
    });
    context
}

#[tokio::test]
async fn a_run_uses_its_own_teams_secrets_and_nobody_elses() {
    let world = World::start().await;
    let config = Config::of(&world).await;
    let default = Audience::default();
    config
        .secret("acme", "slack", 1, "xoxb-of-acme", &default)
        .await;
    config
        .secret("pay", "slack", 1, "xoxb-of-pay", &default)
        .await;
    config
        .secret("pay", "model", 1, "sk-of-pay", &default)
        .await;
    // For the other room: it does not count here.
    config
        .secret("web", "model", 1, "sk-of-web", &Audience::Ingress)
        .await;
    for team in ["pay", "web"] {
        config.team(team, &world.prometheus.url()).await;
    }
    let router = world.test.connect(Service::Router).await.expect("router");
    let context = start(&world);

    let of_pay = run(&world, &router, "pay", "paid").await;
    let tokens = || {
        let calls = world.slack.calls().into_iter();
        calls.map(|call| call.token).collect::<Vec<_>>()
    };
    assert!(
        tokens().iter().all(|token| token == "xoxb-of-pay"),
        "{:?}",
        tokens()
    );
    assert!(!tokens().is_empty());
    let keys: Vec<String> = world
        .model
        .requests()
        .iter()
        .map(|one| one.key.clone())
        .collect();
    assert!(keys.iter().all(|key| key == "sk-of-pay"), "{keys:?}");
    assert!(!keys.is_empty());

    // The next value counts at the next use, without a restart.
    config
        .secret("pay", "slack", 2, "xoxb-next", &default)
        .await;
    let again = run(&world, &router, "pay", "again").await;
    assert_eq!(tokens().last().map(String::as_str), Some("xoxb-next"));

    // The other team gets the org's token, no model: the run says which secret is missing, and falls
    // back to nobody's.
    let before = world.model.request_count();
    let of_web = run(&world, &router, "web", "web").await;
    assert_eq!(tokens().last().map(String::as_str), Some("xoxb-of-acme"));
    assert_eq!(world.model.request_count(), before);
    assert!(
        of_web.contains("there is no secret model for worker.default"),
        "{of_web}"
    );
    for journal in [of_pay, again, of_web] {
        for value in ["xoxb-of", "xoxb-next", "sk-of"] {
            assert!(!journal.contains(value), "{value}");
        }
    }
    for name in ["paid", "again", "web"] {
        let shown = world.only_message(name).shown();
        assert!(
            !shown.contains("xoxb") && !shown.contains("sk-of"),
            "{shown}"
        );
        assert_eq!(channel(name), channel(name).to_uppercase());
    }
    context.stop.trigger_soft();
    context.tasks.wait(LIMIT).await.expect("stops");
}

/// The run that tells a team of its full queue is nobody's, and is posted in the team's own workspace.
#[tokio::test]
async fn a_notice_is_posted_with_the_token_of_the_team_that_it_is_for() {
    let world = World::start().await;
    let config = Config::of(&world).await;
    let default = Audience::default();
    config
        .secret("pay", "slack", 1, "xoxb-of-pay", &default)
        .await;
    config.team("pay", &world.prometheus.url()).await;
    let router = world.test.connect(Service::Router).await.expect("router");
    let context = start(&world);
    let notice = |request: &mut RunRequest| {
        request.notice = Some(Notice {
            code: "queue_full".to_owned(),
            text: "The queue is full.".to_owned(),
            org: "acme".to_owned(),
            team: "pay".to_owned(),
        });
    };
    run_with(&world, &router, ("nobody", "full"), notice).await;
    let calls = world.slack.calls();
    let tokens: Vec<_> = calls.iter().map(|call| call.token.as_str()).collect();
    assert!(!tokens.is_empty());
    assert!(
        tokens.iter().all(|token| *token == "xoxb-of-pay"),
        "{tokens:?}"
    );
    context.stop.trigger_soft();
    context.tasks.wait(LIMIT).await.expect("stops");
}
