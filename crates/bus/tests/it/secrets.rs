//! Sealed secrets over a real server: who reads what, and what does not open.

use std::fs;

use tocsin_bus::{Bus, BusState, SecretError, SecretReader, publish_sealing_keys};
use tocsin_testkit::{TestBus, bus::clock};
use tocsin_wire::ids::{EventId, MessageId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Envelope, SecretRecord};
use tocsin_wire::sealed::{Audience, Place, SealingRing, UnsealError, seal};
use tocsin_wire::{OrgId, Pool, SecretName, Service, TeamId};

fn id(text: &str) -> TeamId {
    TeamId::new(text).expect("id")
}

fn place(node: &str, version: u64, audience: &Audience) -> Place {
    Place {
        org: OrgId::new("acme").expect("org"),
        node: id(node),
        name: SecretName::new("slack").expect("name"),
        version,
        audience: audience.clone(),
    }
}

/// What config does: seals to every live key of the audience.
async fn put(test: &TestBus, config: &Bus, place: &Place, value: &str) {
    let root = test.keys().root().expect("root").public();
    let mut ring = SealingRing::new(root);
    for record in config.sealing_keys().await.expect("keys") {
        assert!(ring.insert(record));
    }
    let live = ring.live(&place.audience, config.now());
    assert!(!live.is_empty(), "no key of {}", place.audience);
    let boxes = live.iter().map(|key| {
        seal(key, place, value.as_bytes(), tocsin_testkit::bus::random()).expect("seals")
    });
    let record = SecretRecord {
        org: place.org.to_string(),
        node: place.node.to_string(),
        name: place.name.to_string(),
        version: place.version,
        audience: place.audience.to_string(),
        boxes: boxes.collect(),
    };
    write(config, &place.key(), record).await;
}

async fn write(config: &Bus, key: &str, record: SecretRecord) {
    let id = MessageId::key_value("secrets", key, &record.version.to_string());
    let correlation = EventId::from(id.as_uuid());
    let body = Body::SecretRecord(record);
    let envelope = Envelope::new(id, Service::Config, config.now(), correlation, None, body);
    let written = config.bucket("secrets").put(key, &envelope).await;
    written.expect("written");
}

fn reader(test: &TestBus, bus: &Bus, audience: &Audience) -> SecretReader {
    let path = test.keys().sealing_key_file(audience);
    SecretReader::new(bus, audience.clone(), path).expect("keys")
}

async fn read(reader: &SecretReader, line: &[&str]) -> Result<String, SecretError> {
    let line: Vec<TeamId> = line.iter().map(|node| id(node)).collect();
    let (org, name) = (
        OrgId::new("acme").expect("org"),
        SecretName::new("slack").expect("name"),
    );
    let read = reader.read(&org, &line, &name).await;
    read.map(|value| value.to_string())
}

#[tokio::test]
async fn the_nearest_node_wins_and_every_change_counts_at_once() {
    let test = TestBus::start().await.expect("bus");
    let config = test.connect(Service::Config).await.expect("config");
    let worker = test.connect(Service::AgentWorker).await.expect("worker");
    let audience = Audience::default();
    let reader = reader(&test, &worker, &audience);
    let missing = read(&reader, &["acme", "pay"]).await.expect_err("none yet");
    assert!(
        missing.to_string().contains("`tocsin secrets set`"),
        "{missing}"
    );
    put(&test, &config, &place("acme", 1, &audience), "of-org").await;
    assert_eq!(
        read(&reader, &["acme", "pay"]).await.expect("opens"),
        "of-org"
    );
    put(&test, &config, &place("pay", 1, &audience), "of-pay").await;
    assert_eq!(
        read(&reader, &["acme", "pay"]).await.expect("opens"),
        "of-pay"
    );
    // Another team of the same org sees the org's only.
    assert_eq!(
        read(&reader, &["acme", "web"]).await.expect("opens"),
        "of-org"
    );
    put(&test, &config, &place("pay", 2, &audience), "of-pay-2").await;
    assert_eq!(
        read(&reader, &["acme", "pay"]).await.expect("opens"),
        "of-pay-2"
    );
    // A value that was replaced does not come back.
    put(&test, &config, &place("pay", 1, &audience), "of-pay").await;
    let refused = read(&reader, &["acme", "pay"]).await.expect_err("old");
    assert!(
        matches!(
            refused,
            SecretError::RolledBack {
                found: 1,
                seen: 2,
                ..
            }
        ),
        "{refused}"
    );
    let key = place("pay", 1, &audience).key();
    config
        .bucket("secrets")
        .delete(&key)
        .await
        .expect("deletes");
    assert_eq!(
        read(&reader, &["acme", "pay"]).await.expect("opens"),
        "of-org"
    );
}

#[tokio::test]
async fn one_room_cannot_even_ask_for_anothers_secrets() {
    let test = TestBus::start().await.expect("bus");
    let config = test.connect(Service::Config).await.expect("config");
    let ingress = test.connect(Service::Ingress).await.expect("ingress");
    let own = place("acme", 1, &Audience::Ingress);
    let foreign = place("acme", 1, &Audience::default());
    put(&test, &config, &own, "whsec").await;
    put(&test, &config, &foreign, "sk-model").await;
    let reader = reader(&test, &ingress, &Audience::Ingress);
    assert_eq!(read(&reader, &["acme"]).await.expect("opens"), "whsec");
    let refused = ingress.bucket("secrets").get(&foreign.key()).await;
    assert!(
        refused.is_err(),
        "the server lets ingress read a worker's secret"
    );
    let state = ingress.watch_state().borrow().clone();
    assert!(
        matches!(&state, BusState::Denied(why) if why.contains("worker.default.acme")),
        "{state:?}"
    );
    // A copy under its own name does not help: the box is sealed to another key and place.
    let stolen = config.bucket("secrets").get(&foreign.key()).await;
    let stolen = stolen.expect("reads").expect("there").envelope.body;
    let Some(Body::SecretRecord(mut record)) = stolen else {
        panic!("no secret");
    };
    record.audience = "ingress".to_owned();
    record.version = 9;
    write(&config, &own.key(), record).await;
    let refused = read(&reader, &["acme"]).await.expect_err("foreign");
    let SecretError::Sealed { source, .. } = &refused else {
        panic!("{refused:?}");
    };
    assert!(matches!(**source, UnsealError::NotForUs { .. }), "{source}");
}

#[tokio::test]
async fn pools_have_keys_of_their_own_and_keys_are_replaced_without_a_restart() {
    let test = TestBus::start().await.expect("bus");
    let config = test.connect(Service::Config).await.expect("config");
    let worker = test.connect(Service::AgentWorker).await.expect("worker");
    let gpu = Audience::Worker(Pool::new("gpu").expect("pool"));
    let keys = test.keys();
    keys.init_sealing(&gpu, &mut tocsin_testkit::bus::random)
        .expect("made");
    let publish = || async {
        let records = keys.sealing_records(clock()()).expect("records");
        let published = publish_sealing_keys(&test.settings(), clock(), &records).await;
        published.expect("published");
    };
    publish().await;
    let (default, of_gpu) = (Audience::default(), reader(&test, &worker, &gpu));
    let of_default = reader(&test, &worker, &default);
    put(&test, &config, &place("pay", 1, &gpu), "gpu-only").await;
    assert_eq!(read(&of_gpu, &["pay"]).await.expect("opens"), "gpu-only");
    assert!(matches!(
        read(&of_default, &["pay"]).await,
        Err(SecretError::Unknown { .. })
    ));
    // The file of another pool is refused before anything is read.
    let wrong = SecretReader::new(&worker, gpu.clone(), keys.sealing_key_file(&default));
    assert!(
        matches!(wrong, Err(SecretError::Foreign { .. })),
        "{wrong:?}"
    );

    // A new key is in the file; the old reader opens what is sealed to both, then to the new alone.
    keys.rotate_sealing(&gpu, tocsin_testkit::bus::random())
        .expect("rotates");
    publish().await;
    put(&test, &config, &place("pay", 2, &gpu), "both").await;
    assert_eq!(read(&of_gpu, &["pay"]).await.expect("opens"), "both");
    let root = keys.root().expect("root");
    let old = config.sealing_keys().await.expect("keys");
    let newest = keys.sealing_records(clock()()).expect("records");
    let old = old
        .iter()
        .filter(|record| record.audience == gpu)
        .find(|record| newest.iter().all(|new| new.key_id != record.key_id))
        .expect("the old key");
    let revoked = old.revoked(&root, clock()());
    publish_sealing_keys(&test.settings(), clock(), &[revoked])
        .await
        .expect("published");
    put(&test, &config, &place("pay", 3, &gpu), "new only").await;
    assert_eq!(read(&of_gpu, &["pay"]).await.expect("opens"), "new only");
    fs::remove_file(keys.sealing_key_file(&gpu)).expect("removes");
    assert_eq!(
        read(&of_gpu, &["pay"]).await.expect("keys are in memory"),
        "new only"
    );
}
