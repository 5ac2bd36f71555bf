//! `tocsin keys …`

use std::fmt::Write as _;

use tocsin_bus::{BusSettings, KeyDirectory, list_keys, publish_keys};
use tocsin_wire::KeyRecord;

use crate::cli::Keys;
use crate::error::CommandError;
use crate::random;
use crate::run::{now, print};

pub(crate) async fn run(command: Keys) -> Result<(), CommandError> {
    match command {
        Keys::Generate { dir } => generate(&KeyDirectory::new(dir)),
        Keys::Publish { dir, bus } => {
            let records = KeyDirectory::new(dir).records(now()())?;
            publish(&bus, &records).await
        }
        Keys::List { bus } => list(&bus).await,
        Keys::Rotate { service, dir, bus } => {
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

fn generate(directory: &KeyDirectory) -> Result<(), CommandError> {
    // Checked once here, so that the closure below has no failure to report.
    random::bytes()?;
    let mut failed = false;
    let mut source = || {
        random::bytes().unwrap_or_else(|_| {
            failed = true;
            [0; 32]
        })
    };
    let made = directory.init(&mut source)?;
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

async fn list(settings: &BusSettings) -> Result<(), CommandError> {
    let mut text = format!(
        "{:<16}  {:<12}  {:<20}  {:<20}  {}\n",
        "KEY", "SERVICE", "NOT BEFORE", "NOT AFTER", "REVOKED"
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
            "{:<16}  {:<12}  {:<20}  {:<20}  {}",
            record.key_id,
            record.service.name(),
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
        return Err(CommandError::Input(format!(
            "no key has the id {key_id}; `tocsin keys list` shows them"
        )));
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
