//! The keys of this room open its own secrets, and no worker's.

use tocsin_bus::{Bus, SecretError};
use tocsin_ingress::secrets::SourceSecrets;
use tocsin_kit::settings::ServicePath;
use tocsin_testkit::TestBus;
use tocsin_wire::ids::{EventId, MessageId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Envelope, SecretRecord};
use tocsin_wire::sealed::{Audience, Place, SealingRing, seal};
use tocsin_wire::{OrgId, SecretName, Service, TeamId};

/// As config does it.
pub(crate) async fn put(
    config: &Bus,
    ring: &SealingRing,
    name: &str,
    audience: Audience,
    value: &str,
) {
    let place = Place {
        org: OrgId::new("acme").expect("org"),
        node: TeamId::new("acme").expect("node"),
        name: SecretName::new(name).expect("name"),
        version: 1,
        audience,
    };
    let boxes = ring
        .live(&place.audience, config.now())
        .into_iter()
        .map(|key| {
            seal(
                &key,
                &place,
                value.as_bytes(),
                tocsin_testkit::bus::random(),
            )
            .expect("seals")
        });
    let record = SecretRecord {
        org: place.org.to_string(),
        node: place.node.to_string(),
        name: place.name.to_string(),
        version: place.version,
        audience: place.audience.to_string(),
        boxes: boxes.collect(),
    };
    let id = MessageId::key_value("secrets", &place.key(), "1");
    let correlation = EventId::from(id.as_uuid());
    let body = Body::SecretRecord(record);
    let envelope = Envelope::new(id, Service::Config, config.now(), correlation, None, body);
    let written = config.bucket("secrets").put(&place.key(), &envelope).await;
    written.expect("written");
}

/// To whom config seals.
pub(crate) async fn ring(config: &Bus) -> SealingRing {
    let mut ring = config.sealing_ring();
    for record in config.sealing_keys().await.expect("keys") {
        assert!(ring.insert(record));
    }
    ring
}

/// Where a room finds its private sealing keys.
pub(crate) fn key_files(test: &TestBus) -> ServicePath {
    let file = test.keys().sealing_key_file(&Audience::Ingress);
    let pattern = file.with_file_name("{service}.seal");
    pattern.display().to_string().parse().expect("path")
}

#[tokio::test]
async fn a_sources_secret_opens_here_and_a_workers_does_not() {
    let test = TestBus::start().await.expect("bus");
    let config = test.connect(Service::Config).await.expect("config");
    let ingress = test.connect(Service::Ingress).await.expect("ingress");
    let ring = ring(&config).await;
    put(&config, &ring, "hook", Audience::Ingress, "whsec-1").await;
    put(&config, &ring, "model", Audience::default(), "sk-1").await;
    let pattern = key_files(&test);
    let secrets = SourceSecrets::new(&ingress, &pattern).expect("keys");
    let org = OrgId::new("acme").expect("org");
    let line = ["acme", "pay"].map(|id| TeamId::new(id).expect("id"));
    let name = |name| SecretName::new(name).expect("name");
    let value = secrets.read(&org, &line, &name("hook")).await;
    assert_eq!(value.expect("opens").as_str(), "whsec-1");
    let refused = secrets.read(&org, &line, &name("model")).await;
    let refused = refused.expect_err("a worker's");
    assert!(matches!(refused, SecretError::Unknown { .. }), "{refused}");
    assert!(!format!("{refused} {refused:?}").contains("sk-1"));
}
