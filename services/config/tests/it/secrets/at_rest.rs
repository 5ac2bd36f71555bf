//! In the database: changed rows do not open, and master keys are replaced while everything runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tocsin_bus::SecretReader;
use tocsin_testkit::eventually;
use tocsin_wire::Service as Room;
use tocsin_wire::sealed::Audience;
use tokio::task::JoinHandle;

use super::{
    KeyFile, NEW_KEY, OLD_KEY, boxes, early, open, opens, path, publish, put, reader, set, settings,
};
use crate::stage::{ADMIN, LIMIT, Request, Servers, Service};

async fn execute(servers: &Servers, statement: &str) {
    let mut database = servers.database().await;
    sqlx::query(AssertSqlSafe(statement.to_owned()))
        .execute(&mut database)
        .await
        .expect(statement);
}

async fn rotate(service: &Service) -> Value {
    let path = "/api/v1/admin/secrets/rotate-master";
    service.admin(Method::POST, path, None).await
}

/// Everything is sealed again: every row is read and opened.
async fn reseal(servers: &Servers) {
    let directory = servers.bus.keys();
    directory
        .rotate_sealing(&Audience::default(), tocsin_testkit::bus::random())
        .expect("rotates");
    publish(
        servers,
        &directory.sealing_records(early()).expect("records"),
    )
    .await;
}

/// What somebody with the database, and without the master key, could try.
async fn tamper(servers: &Servers) {
    for statement in [
        // Two rows exchange their ciphertexts.
        "update secrets set wrapped_key = other.wrapped_key, value = other.value from kept as other \
         where secrets.name = 'swapped-a' and other.name = 'swapped-b'",
        "update secrets set wrapped_key = other.wrapped_key, value = other.value from kept as other \
         where secrets.name = 'swapped-b' and other.name = 'swapped-a'",
        // A row goes to another team, with its history.
        "update secrets set node_id = 'web' where name = 'moved'",
        "update secret_history set node_id = 'web' where name = 'moved'",
        // A worker's secret for the internet-facing room.
        "update secrets set audience = 'ingress' where name = 'relabelled'",
        "update secret_history set audience = 'ingress' where name = 'relabelled'",
        // The first value under the second version; and the whole first row.
        "update secrets set wrapped_key = kept.wrapped_key, value = kept.value from kept \
         where secrets.name = 'old' and kept.name = 'old'",
        "delete from secrets where name = 'put-back'",
        "insert into secrets select * from kept where name = 'put-back'",
    ] {
        execute(servers, statement).await;
    }
}

#[tokio::test]
async fn a_changed_row_never_opens_whoever_changed_it() {
    let servers = Servers::start().await;
    let keys = KeyFile::new(&servers, OLD_KEY);
    let service = Service::ready(settings(&servers, &keys)).await;
    service.seed().await;
    for (node, name) in [
        ("sre", "swapped-a"),
        ("sre", "swapped-b"),
        ("sre", "moved"),
        ("sre", "relabelled"),
        ("sre", "old"),
        ("sre", "put-back"),
        ("sre", "good"),
        ("sre", "zz-last"),
    ] {
        set(&service, "acme", node, name, &format!("first {name}")).await;
    }
    execute(&servers, "create table kept as select * from secrets").await;
    set(&service, "acme", "sre", "old", "second old").await;
    set(&service, "acme", "sre", "put-back", "second put-back").await;
    let worker = reader(&servers, &Audience::default()).await;
    let line = ["acme", "sre"];
    opens(&worker, "acme", &line, "put-back", "second put-back").await;
    opens(&worker, "acme", &line, "relabelled", "first relabelled").await;
    tamper(&servers).await;
    reseal(&servers).await;
    // In the order of names: when the last one is done, the others were tried.
    let config = servers.bus.connect(Room::Config).await.expect("connects");
    eventually("everything to be sealed again", LIMIT, || async {
        boxes(&config, "worker.default.acme.sre.zz-last").await == 2
    })
    .await;
    set(&service, "acme", "sre", "good", "second good").await;
    opens(&worker, "acme", &line, "good", "second good").await;
    let ingress = reader(&servers, &Audience::Ingress).await;
    for (line, name) in [(["acme", "web"], "moved"), (line, "relabelled")] {
        assert!(open(&ingress, "acme", &line, name).await.is_err(), "{name}");
    }
    assert!(
        open(&worker, "acme", &["acme", "web"], "moved")
            .await
            .is_err()
    );
    for name in ["swapped-a", "swapped-b", "old", "put-back"] {
        let found = open(&worker, "acme", &line, name).await;
        let kept = if name.starts_with("swapped") {
            "first"
        } else {
            "second"
        };
        // What was sealed before the change may still be there; nothing else ever is.
        assert_eq!(found.ok(), Some(format!("{kept} {name}")), "{name}");
    }
    // A rotation says which rows are damaged and does the others.
    keys.write(&format!("{NEW_KEY}\n{OLD_KEY}\n"));
    let progress = rotate(&service).await;
    assert_eq!(
        progress["failed"].as_array().map(Vec::len),
        Some(5),
        "{progress}"
    );
    assert_eq!(
        (&progress["rewrapped"], &progress["remaining"]),
        (&json!(3), &json!(5))
    );
    // Set anew, it is whole again.
    set(&service, "acme", "sre", "old", "third old").await;
    opens(&worker, "acme", &line, "old", "third old").await;
    service.stop().await;
}

/// Sets a secret, uses it, and uses another, until it is told to stop.
fn traffic(
    service: &Arc<Service>,
    worker: SecretReader,
    stop: &Arc<AtomicBool>,
    rounds: &Arc<AtomicUsize>,
) -> JoinHandle<()> {
    tokio::spawn({
        let (service, worker) = (Arc::clone(service), worker);
        let (stop, rounds) = (Arc::clone(stop), Arc::clone(rounds));
        async move {
            while !stop.load(Ordering::SeqCst) {
                let round = rounds.fetch_add(1, Ordering::SeqCst);
                let value = format!("round {round}");
                let answer = put(
                    &service,
                    &path("acme", "sre", "busy"),
                    json!({"value": value}),
                )
                .await;
                assert_eq!(answer.status, 200, "{answer:?}");
                opens(&worker, "acme", &["sre"], "busy", &value).await;
                let other = open(&worker, "acme", &["web"], "s7").await;
                assert_eq!(other.ok().as_deref(), Some("v7"));
            }
        }
    })
}

#[tokio::test]
async fn the_master_key_is_replaced_while_secrets_are_set_and_used() {
    let servers = Servers::start().await;
    let keys = KeyFile::new(&servers, OLD_KEY);
    let service = Arc::new(Service::ready(settings(&servers, &keys)).await);
    service.seed().await;
    for number in 0..250 {
        set(
            &service,
            "acme",
            "web",
            &format!("s{number}"),
            &format!("v{number}"),
        )
        .await;
    }
    let worker = reader(&servers, &Audience::default()).await;
    let (stop, rounds) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let traffic = traffic(&service, worker.clone(), &stop, &rounds);
    let busy = |more: usize| {
        let seen = rounds.load(Ordering::SeqCst);
        let rounds = Arc::clone(&rounds);
        eventually("traffic", LIMIT, move || {
            let rounds = Arc::clone(&rounds);
            async move { rounds.load(Ordering::SeqCst) >= seen + more }
        })
    };
    busy(2).await;
    // The new key first: it counts at once, without a restart.
    keys.write(&format!("{NEW_KEY}\n{OLD_KEY}\n"));
    let mut steps = Vec::new();
    loop {
        let progress = rotate(&service).await;
        assert_eq!(progress["failed"], json!([]), "{progress}");
        steps.push(progress["remaining"].as_u64().expect("number"));
        busy(1).await;
        if steps.last() == Some(&0) {
            break;
        }
    }
    assert!(steps.len() >= 3, "in batches: {steps:?}");
    let listed = service
        .admin(Method::GET, "/api/v1/admin/secrets/master-keys", None)
        .await;
    assert_eq!(listed["current"], "m2");
    assert_eq!(
        listed["keys"],
        json!([
            {"id": "m2", "secrets": 251, "available": true},
            {"id": "m1", "secrets": 0, "available": true},
        ])
    );
    // The old key goes; everything still opens, after a restart as well.
    keys.write(&format!("{NEW_KEY}\n"));
    busy(2).await;
    stop.store(true, Ordering::SeqCst);
    traffic.await.expect("no request failed");
    let service = Arc::try_unwrap(service).ok().expect("alone");
    service.stop().await;
    without_the_old_key(&servers, &keys).await;
}

/// After the rotation, and with a key taken away too early.
async fn without_the_old_key(servers: &Servers, keys: &KeyFile) {
    let service = Service::ready(settings(servers, keys)).await;
    reseal(servers).await;
    let fresh = reader(servers, &Audience::default()).await;
    opens(&fresh, "acme", &["web"], "s249", "v249").await;
    // A key that something is still under must not be taken away: then it says so.
    keys.write(&format!("{OLD_KEY}\n"));
    let listed = service
        .admin(Method::GET, "/api/v1/admin/secrets/master-keys", None)
        .await;
    assert_eq!(
        listed["keys"][1],
        json!({"id": "m2", "secrets": 251, "available": false})
    );
    let refused = rotate(&service).await;
    let why = refused["failed"][0].as_str().expect("a reason");
    assert!(why.contains("master key m2 is needed"), "{why}");
    let team = service.token("acme", "sre", None).await.token;
    for path in [
        "/api/v1/admin/secrets/rotate-master",
        "/api/v1/admin/secrets/master-keys",
    ] {
        let method = if path.ends_with("master") {
            Method::POST
        } else {
            Method::GET
        };
        let answer = service.call(Request::new(method, path).bearer(&team)).await;
        assert_eq!(answer.problem(), (403, "admin_required"));
    }
    assert_ne!(team, ADMIN);
    service.stop().await;
}
