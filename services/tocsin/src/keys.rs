//! `tocsin keys …`

use std::fmt::Write as _;
use std::path::Path;

use tocsin_bus::{
    BusSettings, KeyDirectory, list_keys, list_sealing_keys, publish_keys, publish_sealing_keys,
};
use tocsin_wire::sealed::{Audience, SealingKeyRecord};
use tocsin_wire::{KeyRecord, Pool, Service};

use crate::cli::Keys;
use crate::error::CommandError;
use crate::random;
use crate::run::{now, print};
use crate::secrets::master_key;

pub(crate) async fn run(command: Keys) -> Result<(), CommandError> {
    match command {
        Keys::Generate { dir, pools } => generate(&dir, &pools),
        Keys::Publish { dir, bus } => {
            let directory = KeyDirectory::new(dir);
            publish(&bus, &directory.records(now()())?).await?;
            publish_sealing(&bus, &directory.sealing_records(now()())?).await
        }
        Keys::List { bus } => list(&bus).await,
        Keys::Rotate {
            service,
            sealing: true,
            pool,
            dir,
            bus,
        } => rotate_sealing(&bus, &KeyDirectory::new(dir), service, pool).await,
        Keys::Rotate {
            service, dir, bus, ..
        } => {
            let directory = KeyDirectory::new(dir);
            let key = directory.rotate(service, random::bytes()?)?;
            let records = directory.records(now()())?;
            let new: Vec<KeyRecord> = records
                .into_iter()
                .filter(|record| record.key_id == *key.id())
                .collect();
            publish(&bus, &new).await?;
            print(&format!(
                "{service} signs with {} after its next start\n",
                key.id()
            ))
        }
        Keys::Revoke { key_id, dir, bus } => revoke(&bus, &KeyDirectory::new(dir), &key_id).await,
    }
}

fn generate(dir: &Path, pools: &[Pool]) -> Result<(), CommandError> {
    let directory = KeyDirectory::new(dir);
    // Checked once here, so that the closure below has no failure to report.
    random::bytes()?;
    let mut failed = false;
    let mut source = || {
        random::bytes().unwrap_or_else(|_| {
            failed = true;
            [0; 32]
        })
    };
    let mut made = directory.init(&mut source)?;
    for pool in pools {
        made.extend(directory.init_sealing(&Audience::Worker(pool.clone()), &mut source)?);
    }
    made.extend(master_key::init(dir, source())?);
    if failed {
        return Err(CommandError::Random);
    }
    if made.is_empty() {
        return print("every key is there already\n");
    }
    print(&format!("made {}\n", made.join(", ")))
}

async fn publish(settings: &BusSettings, records: &[KeyRecord]) -> Result<(), CommandError> {
    let known = list_keys(settings, now()).await?;
    // A record that is there stays as it is: its times are what messages were accepted by.
    let new: Vec<KeyRecord> = records
        .iter()
        .filter(|record| known.iter().all(|known| known.key_id != record.key_id))
        .cloned()
        .collect();
    publish_keys(settings, now(), &new).await?;
    print(&format!(
        "{} published, {} were there\n",
        new.len(),
        records.len() - new.len()
    ))
}

async fn publish_sealing(
    settings: &BusSettings,
    records: &[SealingKeyRecord],
) -> Result<(), CommandError> {
    let known = list_sealing_keys(settings, now()).await?;
    let new: Vec<SealingKeyRecord> = records
        .iter()
        .filter(|record| known.iter().all(|known| known.key_id != record.key_id))
        .cloned()
        .collect();
    publish_sealing_keys(settings, now(), &new).await?;
    print(&format!(
        "sealing keys: {} published, {} were there\n",
        new.len(),
        records.len() - new.len()
    ))
}

async fn rotate_sealing(
    settings: &BusSettings,
    directory: &KeyDirectory,
    service: Service,
    pool: Option<Pool>,
) -> Result<(), CommandError> {
    let audience = match (service, pool) {
        (Service::Ingress, None) => Audience::Ingress,
        (Service::AgentWorker, pool) => Audience::Worker(pool.unwrap_or_else(Pool::shared)),
        _ => {
            return Err(CommandError::Input(
                "only ingress and the pools of agent-worker have sealing keys".to_owned(),
            ));
        }
    };
    directory.rotate_sealing(&audience, random::bytes()?)?;
    let records = directory.sealing_records(now()())?;
    publish_sealing(settings, &records).await?;
    print(&format!(
        "secrets of {audience} are sealed to its old and its new key within seconds; once every {service} \
         has the new key file, revoke the old key (`tocsin keys list` shows it)\n"
    ))
}

async fn list(settings: &BusSettings) -> Result<(), CommandError> {
    let mut text = format!(
        "{:<16}  {:<14}  {:<7}  {:<20}  {:<20}  {}\n",
        "KEY", "OF", "PURPOSE", "NOT BEFORE", "NOT AFTER", "REVOKED"
    );
    let time = |time: Option<jiff::Timestamp>| {
        time.map_or_else(
            || "-".to_owned(),
            |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        )
    };
    for record in list_keys(settings, now()).await? {
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            text,
            "{:<16}  {:<14}  signing  {:<20}  {:<20}  {}",
            record.key_id,
            record.service.name(),
            time(Some(record.not_before)),
            time(record.not_after),
            time(record.revoked_at)
        );
    }
    for record in list_sealing_keys(settings, now()).await? {
        let _infallible = writeln!(
            text,
            "{:<16}  {:<14}  sealing  {:<20}  {:<20}  {}",
            record.key_id,
            record.audience.to_string(),
            time(Some(record.not_before)),
            time(record.not_after),
            time(record.revoked_at)
        );
    }
    print(&text)
}

async fn revoke(
    settings: &BusSettings,
    directory: &KeyDirectory,
    key_id: &str,
) -> Result<(), CommandError> {
    let known = list_keys(settings, now()).await?;
    let Some(record) = known
        .into_iter()
        .find(|record| record.key_id.as_str() == key_id)
    else {
        return revoke_sealing(settings, directory, key_id).await;
    };
    if let Some(since) = record.revoked_at {
        return print(&format!("{key_id} is revoked since {since}\n"));
    }
    let revoked = KeyRecord::issue(
        &directory.root()?,
        record.public_key,
        record.service,
        record.not_before,
        record.not_after,
        Some(now()()),
    );
    publish_keys(settings, now(), &[revoked]).await?;
    print(&format!(
        "{key_id} of {} is revoked; services refuse it within seconds\n",
        record.service
    ))
}

async fn revoke_sealing(
    settings: &BusSettings,
    directory: &KeyDirectory,
    key_id: &str,
) -> Result<(), CommandError> {
    let known = list_sealing_keys(settings, now()).await?;
    let found = known
        .iter()
        .find(|record| record.key_id.as_str() == key_id)
        .ok_or_else(|| {
            CommandError::Input(format!(
                "no key has the id {key_id}; `tocsin keys list` shows them"
            ))
        })?;
    if let Some(since) = found.revoked_at {
        return print(&format!("{key_id} is revoked since {since}\n"));
    }
    let is_last = !known.iter().any(|other| {
        other.key_id != found.key_id
            && other.audience == found.audience
            && other.revoked_at.is_none()
    });
    publish_sealing_keys(
        settings,
        now(),
        &[found.revoked(&directory.root()?, now()())],
    )
    .await?;
    let rest = if is_last {
        "; it has no other, so its secrets wait until `tocsin keys publish`"
    } else {
        ""
    };
    print(&format!(
        "nothing is sealed to {key_id} of {} any more within seconds{rest}\n",
        found.audience
    ))
}
