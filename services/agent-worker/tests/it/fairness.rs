//! One team's flood and another team's single run, through the real worker.

use std::time::Duration;

use tocsin_bus::{Bus, Outgoing};
use tocsin_kit::Context;
use tocsin_testkit::eventually;
use tocsin_wire::ids::{EventId, MessageId, RunId};
use tocsin_wire::proto::destination::Kind;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Destination, Envelope, Notice, RunRequest, SlackDestination, TeamRecord};
use tocsin_wire::{OrgId, Pool, Priority, Service, Subject, TeamId, limits};

use crate::harness::{LIMIT, World, channel};
use crate::whole::settings_of;

const FLOOD: usize = 1_000;

fn team(name: &str) -> (OrgId, TeamId) {
    let org = OrgId::new("acme").expect("token");
    (org, TeamId::new(name).expect("token"))
}

/// A run that only posts, into a channel of its team.
fn request(team_name: &str, number: usize) -> Envelope {
    let (org, team) = team(team_name);
    let about = format!("{team_name}:{number}");
    let (event, run) = (
        EventId::derive(&about),
        RunId::derive(&about, "acme", team_name),
    );
    let body = Body::from(RunRequest {
        run_id: run.to_string(),
        event_id: event.to_string(),
        destinations: vec![Destination {
            kind: Some(Kind::Slack(SlackDestination {
                channel: channel(&format!("{team_name}{number}")),
                ..SlackDestination::default()
            })),
        }],
        notice: Some(Notice {
            code: "test".to_owned(),
            text: about,
            ..Notice::default()
        }),
        ..RunRequest::default()
    });
    let (id, at) = (MessageId::run_request(run), tocsin_testkit::bus::clock()());
    Envelope::new(id, Service::Router, at, event, None, body).owned_by(&org, &team)
}

fn work_of(name: &str) -> Subject {
    let ((org, team), pool) = (team(name), Pool::shared());
    Subject::WorkRun { pool, org, team }
}

fn backlog_of(name: &str) -> Subject {
    let ((org, team), pool) = (team(name), Pool::shared());
    Subject::BacklogRun {
        pool,
        org,
        team,
        priority: Priority::Normal,
    }
}

/// Sequences in RESULTS of the runs that a team has started.
async fn started(eye: &Bus, team: &str) -> Vec<u64> {
    let subject = format!("results.agent-worker.run_started.acme.{team}");
    let subject = subject.parse().expect("subject");
    let stored = eye.replay(&subject).await.expect("replayed");
    stored.iter().map(|stored| stored.sequence).collect()
}

/// A flood of runs, and one of another team that comes when the flood is on its way.
struct Flood<'a> {
    runs: usize,
    /// Where run `number` of the flood is put.
    subject: &'a dyn Fn(usize) -> Subject,
    calm: Subject,
    /// Runs that may go on at once.
    places: usize,
}

impl Flood<'_> {
    /// How many of its runs started before the other team's; `watch` looks on until then.
    async fn ahead_of_the_calm(&self, world: &World, watch: impl AsyncFn(&Bus)) -> usize {
        let router = world.test.connect(Service::Router).await.expect("router");
        let eye = world
            .test
            .connect(Service::Operator)
            .await
            .expect("operator");
        // A run takes so long at least: what starts while we look is a run or two.
        world.slack.set_latency(Duration::from_millis(100));
        for number in 0..self.runs {
            let outgoing = Outgoing::new((self.subject)(number), request("flood", number));
            router.publish(outgoing).await.expect("published");
        }
        let context = Context::for_test("agent-worker").expect("context");
        let stop = context.stop.clone();
        context.start("agent-worker", |context| {
            tocsin_agent_worker::run(settings_of(world), context)
        });
        eventually("the flood is on its way", LIMIT, || async {
            started(&eye, "flood").await.len() > 2 * self.places
        })
        .await;
        let before = started(&eye, "flood").await.len();
        let outgoing = Outgoing::new(self.calm.clone(), request("calm", 0));
        router.publish(outgoing).await.expect("published");
        let calm = eventually("the other team's run", LIMIT, || async {
            watch(&eye).await;
            started(&eye, "calm").await.first().copied()
        })
        .await;
        stop.trigger_soft();
        let flood = started(&eye, "flood").await;
        let first = flood.iter().filter(|sequence| **sequence < calm).count();
        assert!(first < self.runs, "the flood is over; this proves nothing");
        first - before
    }
}

/// Counted in runs, not in time: whatever the machine is busy with, no more of the flood than one window may
/// start before the other team's run does.
#[tokio::test]
async fn one_teams_flood_delays_another_team_by_one_slot_at_most() {
    let world = World::start().await;
    let window = usize::try_from(limits::TEAM_WINDOW).expect("small");
    let flood = Flood {
        runs: FLOOD,
        subject: &|number| {
            if number < window {
                work_of("flood")
            } else {
                backlog_of("flood")
            }
        },
        calm: work_of("calm"),
        places: window,
    };
    let ahead = flood.ahead_of_the_calm(&world, async |_eye| {}).await;
    // What had started but was not seen when we looked, and what the window held.
    assert!(
        ahead <= 2 * window,
        "{ahead} runs of the flood started first"
    );
}

/// The team's config says how many runs its whole org may have.
async fn put_team(world: &World, name: &str, org_running: usize) {
    let config = world.test.connect(Service::Config).await.expect("config");
    let key = format!("acme.{name}");
    let limits = serde_json::json!({"limits": {"org": {"running": org_running}}});
    let body = Body::TeamRecord(TeamRecord {
        org: "acme".to_owned(),
        team: name.to_owned(),
        effective_config: limits.to_string().into(),
        ..TeamRecord::default()
    });
    let event = EventId::derive(&key);
    let id = MessageId::key_value("teams", &key, "first");
    let at = tocsin_testkit::bus::clock()();
    let envelope = Envelope::new(id, Service::Config, at, event, None, body);
    let teams = config.bucket("teams");
    teams.put(&key, &envelope).await.expect("written");
}

/// Two places for the whole org, both taken by the flood: the next that gets free is the other team's, though
/// it is the flood's run that ends, and never are more than two runs admitted.
#[tokio::test]
async fn in_a_full_org_the_next_free_place_is_the_other_teams() {
    const PLACES: usize = 2;
    let world = World::start().await;
    for name in ["calm", "flood"] {
        put_team(&world, name, PLACES).await;
    }
    let flood = Flood {
        runs: 200,
        subject: &|_number| backlog_of("flood"),
        calm: backlog_of("calm"),
        places: PLACES,
    };
    let org = OrgId::new("acme").expect("token");
    let watch = async |eye: &Bus| {
        let counted = eye.count_admitted(&Pool::shared(), &org).await;
        let running = counted.expect("counted").load.running();
        assert!(running <= PLACES as u64, "{running} runs are admitted");
    };
    let ahead = flood.ahead_of_the_calm(&world, watch).await;
    // What started while we looked, and what the places held.
    assert!(
        ahead <= 2 * PLACES,
        "{ahead} runs of the flood started first"
    );
}
