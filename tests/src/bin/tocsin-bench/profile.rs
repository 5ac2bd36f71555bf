//! What the services do on a working day, for builds that record it: `./dev profile`.
//!
//! Everything is ended as a supervisor would, because a process that is killed leaves no record.

use std::time::Duration;

use anyhow::Context as _;
use tocsin_testkit::standins;

use crate::deliveries::github_push;
use crate::figures::say;
use crate::full::{self, Installation};
use crate::process::GITHUB_SECRET;

/// Deliveries a second: what a build that counts everything keeps up with.
pub(crate) const RATE: u64 = 250;
/// How long webhooks come as fast as they are taken, so that the door is seen to be busy.
const RUSH: Duration = Duration::from_secs(4);
/// Reads of each team's effective config.
const READS: usize = 20;
/// A process writes down what it counted before it ends, some tens of megabytes.
const END_LIMIT: Duration = Duration::from_secs(60);

/// Lets every service work at `rate` for `seconds`, then under a rush, and ends them one after the other.
pub(crate) async fn work(rate: u64, seconds: u64) -> anyhow::Result<()> {
    say(&format!(
        "\nevery service works: {rate} deliveries/s for {seconds} s, then a rush"
    ));
    let installation = full::start().await?;
    let day = Duration::from_secs(seconds);
    let mixed = full::mixed(full::RUN_EVERY);
    let load = installation.load(Some(rate), day, 0, mixed);
    full::sustained(&installation, load).await?;
    let rush = installation.load(None, RUSH, rate * seconds, github_push(GITHUB_SECRET));
    full::sustained(&installation, rush).await?;
    read_configs(&installation).await?;
    for (name, service) in installation.services.iter().rev() {
        service.process.terminate()?;
        let status = service.process.wait(END_LIMIT).await?;
        anyhow::ensure!(status.success(), "{name} ended with {status}");
    }
    Ok(())
}

async fn read_configs(installation: &Installation) -> anyhow::Result<()> {
    let client = standins::http_client()?;
    for team in (0..full::TEAMS)
        .cycle()
        .take(READS * usize::try_from(full::TEAMS)?)
    {
        let url = format!(
            "http://{}/api/v1/admin/orgs/{}/nodes/team{team}/effective?force_refresh=true",
            installation.config,
            full::ORG
        );
        let answer = client.get(url).bearer_auth(full::ADMIN).send().await?;
        answer
            .error_for_status()
            .context("reading a team's config")?;
    }
    Ok(())
}
