//! Config with Postgres and nats-server: bulk, reads, lookups, and how soon a write shows.

mod installation;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::deliveries::Build;
use crate::figures::{Rounds, say};
use crate::load::{Load, Sent};
use installation::{ADMIN, INTERNAL, Installation};

/// Connections of the sender.
const CONNECTIONS: usize = 32;
/// Teams that read their config over and over.
const READERS: usize = 100;
/// The steady rate at which latency is promised.
const STEADY_RATE: u64 = 2_000;
/// Lookups a second: far more than routers ever ask, which have an index of their own.
const LOOKUP_RATE: u64 = 500;

/// How large the installation is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) orgs: usize,
    /// In each org, below ten units.
    pub(crate) teams: usize,
    /// Seconds of the storm of writes.
    pub(crate) storm_seconds: u64,
}

impl Size {
    fn all(self) -> u64 {
        u64::try_from(self.orgs * self.teams).unwrap_or(u64::MAX)
    }

    /// Org and team number `index`, neighbours in different orgs.
    fn team(self, index: u64) -> (u64, u64) {
        let index = index % self.all().max(1);
        let orgs = u64::try_from(self.orgs).unwrap_or(1).max(1);
        (index % orgs, index / orgs)
    }
}

/// One measurement of a round.
type Pick = fn(&Round) -> &Sent;

struct Round {
    cached: Sent,
    cached_cpu: f64,
    uncached: Sent,
    uncached_cpu: f64,
    steady: Sent,
    hits: Sent,
    misses: Sent,
}

/// Prints the figures of `rounds` interleaved rounds.
pub(crate) async fn measure(rounds: usize, seconds: u64, size: Size) -> anyhow::Result<()> {
    let installation = Installation::start().await?;
    say(&format!(
        "\nconfig, with Postgres and nats-server: {} orgs with {} teams each, org > unit > team, ten identifiers each",
        size.orgs, size.teams
    ));
    let loaded = installation.load(size).await?;
    say(&format!(
        "  bulk                                   {} teams in {:.1} s, published {:.1} s later",
        size.all(),
        loaded.answered.as_secs_f64(),
        loaded.published.as_secs_f64()
    ));
    let tokens = installation.tokens(size, READERS).await?;
    say(&format!(
        "  effective config                       {} bytes",
        installation.effective_bytes().await?
    ));
    let duration = Duration::from_secs(seconds);
    let mut done = Vec::with_capacity(rounds);
    for number in 1..=rounds {
        let round = round(&installation, size, &tokens, duration).await?;
        say(&format!(
            "round {number}/{rounds}: cached {:.0}/s, {:.1} us CPU | uncached {:.0}/s, {:.1} us CPU | at {STEADY_RATE}/s: {} | lookup hits {}, misses {}",
            round.cached.per_second(),
            round.cached_cpu,
            round.uncached.per_second(),
            round.uncached_cpu,
            round.steady.latencies,
            round.hits.latencies,
            round.misses.latencies
        ));
        done.push(round);
    }
    report(&done);
    writes::measure(&installation, size).await?;
    say(&format!(
        "  memory at its peak                     {} MiB",
        installation.config.process.peak_rss_bytes()? / 1024 / 1024
    ));
    Ok(())
}

async fn round(
    installation: &Installation,
    size: Size,
    tokens: &Arc<Vec<String>>,
    duration: Duration,
) -> anyhow::Result<Round> {
    let send = async |rate: Option<u64>, build: Arc<Build>| {
        let before = installation.config.process.cpu_time()?;
        let load = Load {
            targets: vec![installation.address],
            connections: CONNECTIONS,
            rate,
            duration,
            first: 0,
            build,
            observe: None,
        };
        let sent = load.run().await?;
        anyhow::ensure!(sent.refused == 0, "{} requests were refused", sent.refused);
        let spent = installation.config.process.cpu_time()?;
        let cpu = spent.saturating_sub(before).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let each = cpu * 1e6 / sent.accepted.max(1) as f64;
        anyhow::Ok((sent, each))
    };
    let (cached, cached_cpu) = send(None, own_config(tokens)).await?;
    let (uncached, uncached_cpu) = send(None, refreshed(size)).await?;
    let (steady, _) = send(Some(STEADY_RATE), own_config(tokens)).await?;
    let (hits, _) = send(Some(LOOKUP_RATE), lookup(size, "svc")).await?;
    let (misses, _) = send(Some(LOOKUP_RATE), lookup(size, "scv")).await?;
    Ok(Round {
        cached,
        cached_cpu,
        uncached,
        uncached_cpu,
        steady,
        hits,
        misses,
    })
}

/// `GET /api/v1/config/me` of one team after another.
fn own_config(tokens: &Arc<Vec<String>>) -> Arc<Build> {
    let tokens = Arc::clone(tokens);
    Arc::new(move |index, request| {
        let count = u64::try_from(tokens.len()).unwrap_or(1).max(1);
        let place = usize::try_from(index % count).unwrap_or_default();
        let token = tokens.get(place).map(String::as_str).unwrap_or_default();
        fill(
            request,
            &format!(
                "GET /api/v1/config/me HTTP/1.1\r\nHost: config\r\nAuthorization: Bearer {token}\r\n\r\n"
            ),
        );
    })
}

/// What holds for one team after another, read from the database.
fn refreshed(size: Size) -> Arc<Build> {
    Arc::new(move |index, request| {
        let (org, team) = size.team(index);
        fill(
            request,
            &format!(
                "GET /api/v1/admin/orgs/org-{org}/nodes/team-{team}/effective?force_refresh=true HTTP/1.1\r\n\
             Host: config\r\nAuthorization: Bearer {ADMIN}\r\n\r\n"
            ),
        );
    })
}

/// A lookup by a service that a team claims, or by one that is spelled almost as those are.
fn lookup(size: Size, service: &'static str) -> Arc<Build> {
    Arc::new(move |index, request| {
        let (org, team) = size.team(index.wrapping_mul(7_919));
        let body = json!({
            "org_id": format!("org-{org}"),
            "identifiers": {
                "github_repo": "nobody/has-this",
                "service": format!("{service}-{team}-3"),
                "slack_channel_id": "C-none",
            }
        })
        .to_string();
        fill(
            request,
            &format!(
                "POST /api/v1/internal/routing/lookup HTTP/1.1\r\nHost: config\r\nX-Internal-Service: bench\r\n\
             X-Internal-Secret: {INTERNAL}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        );
    })
}

fn fill(request: &mut Vec<u8>, text: &str) {
    request.clear();
    request.extend_from_slice(text.as_bytes());
}

fn report(rounds: &[Round]) {
    let over = |figure: &dyn Fn(&Round) -> f64| Rounds::new(rounds.iter().map(figure).collect());
    let latency = |sent: Pick, share: f64| {
        let milliseconds = |round: &Round| {
            let time = sent(round).latencies.percentile(share);
            time.as_secs_f64() * 1_000.0
        };
        over(&milliseconds).text(2)
    };
    say(&format!(
        "\nmedian over {} rounds (lowest to highest):",
        rounds.len()
    ));
    say(&format!(
        "  effective config, cached               {}/s, {} us of config's CPU each",
        over(&|round| round.cached.per_second()).text(0),
        over(&|round| round.cached_cpu).text(1)
    ));
    say(&format!(
        "  effective config, from the database    {}/s, {} us each",
        over(&|round| round.uncached.per_second()).text(0),
        over(&|round| round.uncached_cpu).text(1)
    ));
    let lines: [(&str, u64, Pick); 3] = [
        ("effective config", STEADY_RATE, |round| &round.steady),
        ("lookup, found", LOOKUP_RATE, |round| &round.hits),
        ("lookup, not found", LOOKUP_RATE, |round| &round.misses),
    ];
    for (what, rate, sent) in lines {
        let title = format!("{what} at {rate}/s");
        say(&format!(
            "  {title:<38} p50 {} ms, p99 {} ms",
            latency(sent, 0.5),
            latency(sent, 0.99)
        ));
    }
}
