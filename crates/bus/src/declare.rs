//! Streams, consumers and buckets: created when missing, verified always, changed never.

use std::sync::Arc;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{self, ErrorCode, kv};
use jiff::Timestamp;
use tocsin_wire::streams::{
    BUCKETS, BucketSpec, CONSUMERS, ConsumerSpec, OBJECT_STORES, ObjectStoreSpec, Retention,
    STREAMS, StreamSpec, WhenFull,
};
use tocsin_wire::{Service, limits};

use crate::connect::{Bus, Now};
use crate::error::BusError;
use crate::settings::BusSettings;

/// What [`declare`] found and made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// Names of what was created now.
    pub created: Vec<String>,
    /// Names of what was there, with the same settings.
    pub present: Vec<String>,
}

/// Creates whatever is missing, with the operator's identity. What exists with other settings is an
/// error and stays as it is.
pub async fn declare(
    settings: &BusSettings,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
) -> Result<Declared, BusError> {
    let bus = Bus::open(settings, Service::Operator, "declare", now as Now).await?;
    let mut declared = Declared::default();
    for spec in STREAMS {
        declare_stream(&bus, spec, settings, &mut declared).await?;
    }
    for spec in BUCKETS {
        declare_bucket(&bus, spec, settings.nats_replicas, &mut declared).await?;
    }
    for spec in OBJECT_STORES {
        declare_object_store(&bus, spec, settings, &mut declared).await?;
    }
    for spec in CONSUMERS {
        declare_consumer(&bus, spec, &mut declared).await?;
    }
    Ok(declared)
}

/// Fails when something that `bus`'s service uses is missing or differs.
pub(crate) async fn verify(bus: &Bus) -> Result<(), BusError> {
    let service = bus.service();
    for spec in STREAMS {
        let writes = spec.writers.iter().any(|(writer, _)| *writer == service);
        let reads = CONSUMERS
            .iter()
            .any(|known| known.service == service && known.stream == spec.name);
        if writes || reads {
            let found = find_stream(bus, spec.name).await?;
            let found = found.ok_or_else(|| BusError::Missing {
                what: format!("stream {}", spec.name),
            })?;
            same_stream(spec, &found.cached_info().config)?;
        }
    }
    for spec in BUCKETS {
        if spec.writers.contains(&service) || spec.readers.contains(&service) {
            let found = find_stream(bus, &format!("KV_{}", spec.name)).await?;
            found.ok_or_else(|| BusError::Missing {
                what: format!("bucket {}", spec.name),
            })?;
        }
    }
    for spec in OBJECT_STORES {
        if spec.writers.contains(&service) || spec.readers.contains(&service) {
            let found = find_stream(bus, &format!("OBJ_{}", spec.name)).await?;
            found.ok_or_else(|| BusError::Missing {
                what: format!("object store {}", spec.name),
            })?;
        }
    }
    Ok(())
}

async fn find_stream(bus: &Bus, name: &str) -> Result<Option<Stream>, BusError> {
    match bus.inner.jetstream.get_stream(name).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            jetstream::context::GetStreamErrorKind::JetStream(server)
                if server.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            _ => Err(BusError::request(
                format!("looking up stream {name}"),
                error,
            )),
        },
    }
}

async fn declare_stream(
    bus: &Bus,
    spec: &StreamSpec,
    settings: &BusSettings,
    declared: &mut Declared,
) -> Result<(), BusError> {
    let name = format!("stream {}", spec.name);
    if let Some(found) = find_stream(bus, spec.name).await? {
        same_stream(spec, &found.cached_info().config)?;
        declared.present.push(name);
        return Ok(());
    }
    let mut config = stream_config(spec, settings.nats_replicas);
    config.max_bytes = config
        .max_bytes
        .saturating_mul(i64::from(settings.stream_size_factor));
    let created = bus.inner.jetstream.create_stream(config).await;
    created.map_err(|error| BusError::request(format!("creating {name}"), error))?;
    declared.created.push(name);
    Ok(())
}

fn stream_config(spec: &StreamSpec, replicas: usize) -> Config {
    Config {
        name: spec.name.to_owned(),
        description: Some(spec.purpose.to_owned()),
        subjects: spec
            .subjects
            .iter()
            .map(|subject| (*subject).to_owned())
            .collect(),
        retention: match spec.retention {
            Retention::Limits => RetentionPolicy::Limits,
            Retention::WorkQueue => RetentionPolicy::WorkQueue,
        },
        max_age: spec.max_age,
        max_bytes: spec.max_bytes,
        max_messages: -1,
        max_messages_per_subject: spec.max_messages_per_subject,
        discard: match spec.when_full {
            WhenFull::RefuseNew => DiscardPolicy::New,
            WhenFull::DropOldest => DiscardPolicy::Old,
        },
        discard_new_per_subject: spec.max_messages_per_subject > 0,
        // The server refuses one that is longer than messages live.
        duplicate_window: if spec.max_age.is_zero() {
            limits::DUPLICATE_WINDOW
        } else {
            limits::DUPLICATE_WINDOW.min(spec.max_age)
        },
        allow_message_schedules: spec.schedules(),
        allow_direct: true,
        storage: StorageType::File,
        num_replicas: replicas,
        ..Config::default()
    }
}

/// Replicas, placement and size are the operator's to tune; the rest is what the code relies on.
fn same_stream(spec: &StreamSpec, found: &Config) -> Result<(), BusError> {
    let wanted = stream_config(spec, found.num_replicas);
    let differences = [
        (
            "subjects",
            format!("{:?}", wanted.subjects),
            format!("{:?}", found.subjects),
        ),
        (
            "retention",
            format!("{:?}", wanted.retention),
            format!("{:?}", found.retention),
        ),
        (
            "discard",
            format!("{:?}", wanted.discard),
            format!("{:?}", found.discard),
        ),
        (
            "max_msgs_per_subject",
            wanted.max_messages_per_subject.to_string(),
            found.max_messages_per_subject.to_string(),
        ),
        (
            "discard_new_per_subject",
            wanted.discard_new_per_subject.to_string(),
            found.discard_new_per_subject.to_string(),
        ),
        (
            "allow_msg_schedules",
            wanted.allow_message_schedules.to_string(),
            found.allow_message_schedules.to_string(),
        ),
        (
            "allow_direct",
            wanted.allow_direct.to_string(),
            found.allow_direct.to_string(),
        ),
    ];
    match differences
        .into_iter()
        .find(|(_, wanted, found)| wanted != found)
    {
        None => Ok(()),
        Some((setting, wanted, found)) => Err(BusError::Differs {
            what: format!("stream {}", spec.name),
            difference: format!("{setting} is {found}, not {wanted}"),
        }),
    }
}

async fn declare_bucket(
    bus: &Bus,
    spec: &BucketSpec,
    replicas: usize,
    declared: &mut Declared,
) -> Result<(), BusError> {
    let name = format!("bucket {}", spec.name);
    if find_stream(bus, &format!("KV_{}", spec.name))
        .await?
        .is_some()
    {
        declared.present.push(name);
        return Ok(());
    }
    let config = kv::Config {
        bucket: spec.name.to_owned(),
        description: spec.purpose.to_owned(),
        history: 1,
        max_age: spec.max_age,
        num_replicas: replicas,
        ..kv::Config::default()
    };
    let created = bus.inner.jetstream.create_key_value(config).await;
    created.map_err(|error| BusError::request(format!("creating {name}"), error))?;
    declared.created.push(name);
    Ok(())
}

async fn declare_object_store(
    bus: &Bus,
    spec: &ObjectStoreSpec,
    settings: &BusSettings,
    declared: &mut Declared,
) -> Result<(), BusError> {
    let (name, stream) = (spec.name, format!("OBJ_{}", spec.name));
    let what = format!("object store {name}");
    if find_stream(bus, &stream).await?.is_some() {
        declared.present.push(what);
        return Ok(());
    }
    let factor = i64::from(settings.stream_size_factor);
    // As NATS's clients make one, so that they can read it.
    let config = Config {
        name: stream,
        description: Some(spec.purpose.to_owned()),
        subjects: vec![format!("$O.{name}.C.>"), format!("$O.{name}.M.>")],
        max_age: spec.max_age,
        max_bytes: spec.max_bytes.saturating_mul(factor),
        max_messages: -1,
        max_messages_per_subject: -1,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        allow_direct: true,
        storage: StorageType::File,
        num_replicas: settings.nats_replicas,
        ..Config::default()
    };
    let created = bus.inner.jetstream.create_stream(config).await;
    created.map_err(|error| BusError::request(format!("creating {what}"), error))?;
    declared.created.push(what);
    Ok(())
}

async fn declare_consumer(
    bus: &Bus,
    spec: &ConsumerSpec,
    declared: &mut Declared,
) -> Result<(), BusError> {
    let name = format!("consumer {}/{}", spec.stream, spec.name);
    let Some(stream) = find_stream(bus, spec.stream).await? else {
        return Err(BusError::Missing {
            what: format!("stream {}", spec.stream),
        });
    };
    let existing = stream.get_consumer::<pull::Config>(spec.name).await;
    if let Ok(found) = existing {
        let found = &found.cached_info().config;
        let same = found.ack_wait == spec.ack_wait
            && found.filter_subject == spec.filter
            && found.max_deliver <= 0;
        if !same {
            let difference = format!(
                "ack_wait {:?}, filter {:?}, max_deliver {}",
                found.ack_wait, found.filter_subject, found.max_deliver
            );
            return Err(BusError::Differs {
                what: name,
                difference,
            });
        }
        declared.present.push(name);
        return Ok(());
    }
    let config = pull::Config {
        durable_name: Some(spec.name.to_owned()),
        filter_subject: spec.filter.to_owned(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: spec.ack_wait,
        // The server would leave a message that used up its tries in a work queue for ever,
        // unseen; we count and dead-letter instead.
        max_deliver: -1,
        max_ack_pending: spec.max_ack_pending,
        ..pull::Config::default()
    };
    let created = stream.create_consumer(config).await;
    created.map_err(|error| BusError::request(format!("creating {name}"), error))?;
    declared.created.push(name);
    Ok(())
}
