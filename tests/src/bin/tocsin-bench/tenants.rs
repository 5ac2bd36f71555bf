//! Sources of orgs, as config publishes them, and an ingress that takes their deliveries.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tocsin_bus::Bus;
use tocsin_testkit::{TestBus, eventually, standins};
use tocsin_wire::ids::{EventId, MessageId};
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::proto::{Envelope, SecretRecord, SourceRecord, SourceSecret};
use tocsin_wire::sealed::{self, Audience, Place, SealingRing, seal};
use tocsin_wire::source::SOURCES;
use tocsin_wire::{OrgId, SecretName, Service as Room, TeamId, time};

use crate::process::{self, Service};

/// How soon an ingress must have what was published.
const LOAD_LIMIT: Duration = Duration::from_secs(30);
/// What a delivery without a signature hears of a source that can verify.
const UNSIGNED: u16 = 401;

/// Starts ingress with what it needs to open the secrets of sources.
pub(crate) async fn ingress(bus: &TestBus, listen: SocketAddr) -> anyhow::Result<Service> {
    let keys = bus.keys().sealing_key_file(&Audience::Ingress);
    let environment = [
        ("INGRESS_LISTEN", listen.to_string()),
        ("SEALING_KEY_FILE", keys.display().to_string()),
        ("GITHUB_WEBHOOK_SECRET", process::GITHUB_SECRET.to_owned()),
    ];
    process::start(bus, "ingress", &environment).await
}

/// Waits until ingress has the source and can verify for it; counts in no window.
pub(crate) async fn until_loaded(target: SocketAddr, path: &str) -> anyhow::Result<()> {
    let client = standins::http_client()?;
    let url = format!("http://{target}{path}");
    eventually("the source is loaded", LOAD_LIMIT, || async {
        let answer = client.post(&url).body("{}").send().await;
        let status = answer.map_err(|error| error.to_string())?.status();
        if status == UNSIGNED {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    Ok(())
}

/// One source, as it was last published.
#[derive(Clone)]
pub(crate) struct Published {
    pub(crate) id: String,
    pub(crate) org: String,
    pub(crate) provider: &'static str,
    pub(crate) tier: Option<&'static str>,
    /// Number and end of each secret that counts.
    pub(crate) secrets: Vec<(u64, Option<Timestamp>)>,
    /// Rises with every change.
    pub(crate) version: u64,
}

/// Writes what config writes.
pub(crate) struct Publisher {
    config: Bus,
    ring: SealingRing,
}

impl Publisher {
    pub(crate) async fn connect(bus: &TestBus) -> anyhow::Result<Self> {
        let config = bus.connect(Room::Config).await?;
        let mut ring = config.sealing_ring();
        for record in config.sealing_keys().await? {
            ring.insert(record);
        }
        Ok(Self { config, ring })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.config.now()
    }

    /// Seals the secret with that number; each has a name of its own, as config names them.
    pub(crate) async fn secret(
        &self,
        source: &Published,
        number: u64,
        text: &str,
    ) -> anyhow::Result<()> {
        let place = Place {
            org: OrgId::new(source.org.as_str())?,
            node: TeamId::new(source.org.as_str())?,
            name: SecretName::new(secret_name(source, number))?,
            version: 1,
            audience: Audience::Ingress,
        };
        let live = self.ring.live(&place.audience, self.now());
        let random = tocsin_testkit::bus::random;
        let boxes = live
            .iter()
            .map(|key| seal(key, &place, text.as_bytes(), random()));
        let record = SecretRecord {
            org: place.org.to_string(),
            node: place.node.to_string(),
            name: place.name.to_string(),
            version: place.version,
            audience: place.audience.to_string(),
            boxes: boxes.collect::<Result<_, _>>()?,
        };
        self.put(sealed::BUCKET, &place.key(), Body::SecretRecord(record), 1)
            .await
    }

    /// Publishes the record of a source.
    pub(crate) async fn record(&self, source: &Published) -> anyhow::Result<()> {
        let settings = match source.tier {
            Some(tier) => json!({ "rate_tier": tier }),
            None => Value::Object(serde_json::Map::new()),
        };
        let secrets = source.secrets.iter().map(|(number, expires)| SourceSecret {
            id: number.to_string(),
            name: secret_name(source, *number),
            version: 1,
            not_before: None,
            expires: expires.map(time::to_proto),
        });
        let record = SourceRecord {
            id: source.id.clone(),
            org: source.org.clone(),
            provider: source.provider.to_owned(),
            name: source.id.clone(),
            disabled: false,
            settings: settings.to_string().into_bytes().into(),
            secrets: secrets.collect(),
            version: source.version,
        };
        let body = Body::SourceRecord(record);
        self.put(SOURCES, &source.id, body, source.version).await
    }

    async fn put(
        &self,
        bucket: &'static str,
        key: &str,
        body: Body,
        version: u64,
    ) -> anyhow::Result<()> {
        let id = MessageId::key_value(bucket, key, &version.to_string());
        let correlation = EventId::from(id.as_uuid());
        let now = self.now();
        let envelope = Envelope::new(id, Room::Config, now, correlation, None, body);
        self.config.bucket(bucket).put(key, &envelope).await?;
        Ok(())
    }
}

fn secret_name(source: &Published, number: u64) -> String {
    format!("{}-{number}", source.id.replace('_', "-"))
}
