//! A storm of writes: nothing is lost, nothing changes its order, and how soon each one shows in the
//! buckets that routers and workers follow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use serde_json::{Value, json};
use tocsin_bus::Change;
use tocsin_testkit::eventually;
use tocsin_wire::proto::envelope::Body;
use tocsin_wire::{OrgId, Service as Room, Subject, TeamId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::installation::{ADMIN, Installation};
use super::{CONNECTIONS, Size, fill};
use crate::deliveries::Build;
use crate::figures::{Latencies, say};
use crate::load::Load;

/// Writes a second.
const RATE: u64 = 200;
/// Teams that are written to, one after another.
const WRITTEN: u64 = 500;
/// How long the last write may take to show before the measurement fails.
const SHOW_LIMIT: Duration = Duration::from_secs(60);

/// When which write was first seen, by org, team and the number that it wrote.
type Seen = Arc<Mutex<BTreeMap<(String, String), Vec<(u64, Instant)>>>>;

/// Prints what came of `RATE` writes a second.
pub(super) async fn measure(installation: &Installation, size: Size) -> anyhow::Result<()> {
    let router = installation.bus.connect(Room::Router).await?;
    let seen: Seen = Arc::default();
    let (stop, stopped) = oneshot::channel::<()>();
    let teams = router.bucket("teams");
    let following = teams.watch(stopped.map(drop), |change| note(&seen, change));
    let storm = async {
        let outcome = storm(installation, size, &seen).await;
        drop(stop);
        outcome
    };
    let ((), outcome) = tokio::join!(following, storm);
    let (writes, answered, shown) = outcome?;
    let written = WRITTEN.min(size.all());
    in_order(installation, size, written, writes).await?;
    say(&format!(
        "  {writes} writes at {RATE}/s for {} s, {written} teams: nothing lost, nothing out of order",
        size.storm_seconds
    ));
    say(&format!(
        "    answered                             {answered}"
    ));
    say(&format!("    seen by who follows the bucket teams {shown}"));
    Ok(())
}

/// How many writes there were, how soon they were answered, and how soon each was seen.
async fn storm(
    installation: &Installation,
    size: Size,
    seen: &Seen,
) -> anyhow::Result<(u64, Latencies, Latencies)> {
    eventually("the watch has caught up", SHOW_LIMIT, || async {
        let known = seen.lock().unwrap_or_else(PoisonError::into_inner).len();
        let is_all = u64::try_from(known).is_ok_and(|known| known >= size.all());
        is_all.then_some(()).ok_or(known)
    })
    .await;
    let written = WRITTEN.min(size.all());
    let began = Instant::now();
    let load = Load {
        targets: vec![installation.address],
        connections: CONNECTIONS,
        rate: Some(RATE),
        duration: Duration::from_secs(size.storm_seconds),
        first: 0,
        build: patches(size, written),
        observe: None,
    };
    let sent = load.run().await?;
    anyhow::ensure!(sent.refused == 0, "{} writes were refused", sent.refused);
    let shown = eventually("the last write shows", SHOW_LIMIT, || async {
        shown(seen, size, sent.accepted, began)
    })
    .await;
    Ok((sent.accepted, sent.latencies, shown))
}

/// Write number n sets `x_bench.number` to n + 1, and claims a service of that name.
fn patches(size: Size, written: u64) -> Arc<Build> {
    Arc::new(move |index, request| {
        let (org, team) = size.team(index % written);
        let number = index + 1;
        let patch = json!({ "patch": {
            "x_bench": { "number": number },
            "routing": { "services": [format!("storm-{number}")] },
        }});
        let body = patch.to_string();
        fill(
            request,
            &format!(
                "PUT /api/v1/admin/orgs/org-{org}/nodes/team-{team}/config HTTP/1.1\r\nHost: config\r\n\
             Authorization: Bearer {ADMIN}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        );
    })
}

fn note(seen: &Seen, change: Change) {
    let Change::Put { entry, .. } = change else {
        return;
    };
    let Some(Body::TeamRecord(record)) = entry.envelope.body else {
        return;
    };
    let effective: Value = serde_json::from_slice(&record.effective_config).unwrap_or_default();
    let number = effective.pointer("/x_bench/number").and_then(Value::as_u64);
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let times = seen.entry((record.org, record.team)).or_default();
    times.push((number.unwrap_or_default(), Instant::now()));
}

/// From intended time of each write to the first record that holds it or a later one of its team.
fn shown(seen: &Seen, size: Size, writes: u64, began: Instant) -> anyhow::Result<Latencies> {
    let written = WRITTEN.min(size.all());
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let mut samples = Vec::new();
    for index in 0..writes {
        let (org, team) = size.team(index % written);
        let times = seen.get(&(format!("org-{org}"), format!("team-{team}")));
        let first = times
            .into_iter()
            .flatten()
            .find(|(number, _)| *number > index);
        let (_, at) = first.with_context(|| format!("write {index} does not show"))?;
        let intended = began + Duration::from_nanos(index * 1_000_000_000 / RATE);
        samples.push(at.saturating_duration_since(intended));
    }
    Ok(Latencies::new(samples))
}

/// Each team's news tell its versions one by one.
async fn in_order(
    installation: &Installation,
    size: Size,
    written: u64,
    writes: u64,
) -> anyhow::Result<()> {
    let operator = installation.bus.connect(Room::Operator).await?;
    for index in 0..written {
        let (org, team) = size.team(index);
        let subject = Subject::ConfigChanged {
            org: OrgId::new(format!("org-{org}"))?,
            node: TeamId::new(format!("team-{team}"))?,
        };
        let mut versions = Vec::new();
        for stored in operator.replay(&subject).await? {
            if let Some(Body::ConfigChanged(change)) = stored.envelope.body
                && matches!(change.what.as_str(), "created" | "updated")
            {
                versions.push(change.version);
            }
        }
        let expected = 1 + writes / written + u64::from(index < writes % written);
        anyhow::ensure!(
            versions.iter().copied().eq(1..=expected),
            "org-{org}/team-{team}: {expected} versions were written, and these were told: {versions:?}"
        );
    }
    Ok(())
}
