//! `./dev bench`: how fast a webhook becomes durable, what it costs, and where the limit lies.
//!
//! Everything runs on this machine: nats-server, the services as real processes, and this load
//! generator. It is open-loop: each delivery has an intended time, and latency counts from there,
//! so a stall shows in every delivery that it delayed. Rounds of different things are interleaved
//! within one run, and figures are medians with the spread over rounds: on a shared machine only
//! ratios mean much.

mod ack;
mod config;
mod deliveries;
mod figures;
mod full;
mod idle;
mod load;
mod process;
mod profile;
mod raw_nats;
mod rotation;
mod route;
mod siege;
mod sources;
mod tenants;
mod windows;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

/// Teams of each org in the bench of config.
const TEAMS_OF_AN_ORG: usize = 100;

/// Identifiers of each team in the bench of routing.
const IDENTIFIERS_OF_A_TEAM: usize = 10;

/// Decisions of a round, a second or two.
const DECISIONS_OF_A_ROUND: usize = 100_000;

/// Writes to the index that are waited for, enough for a 99th percentile.
const WRITES: usize = 2_000;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Webhook to durable ack: ingress and nats-server alone, beside a raw publisher.
    Ack,
    /// Every service on, one delivery in ten routed to a run.
    Full,
    /// Config: bulk, reads, lookups, writes.
    Config,
    /// Routing among 10,000 teams and 100,000 identifiers.
    Route,
    /// Rate windows over two replicas that are killed in the middle.
    Windows,
    /// Two hundred sources with secrets and limits of their own.
    Sources,
    /// Secrets that are rotated under load.
    Rotation,
    /// Memory of each service that has nothing to do.
    Idle,
    /// Ingress under attack, beside good senders: fails when a promise is broken.
    Siege,
    /// What services do all day, for builds that record it (`./dev profile`); measures nothing.
    Profile,
}

/// Measures Tocsin on this machine.
#[derive(Debug, Parser)]
#[command(name = "tocsin-bench")]
struct Arguments {
    /// What to measure; everything without it.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Interleaved rounds of each measurement.
    #[arg(long, default_value_t = 8)]
    rounds: usize,
    /// Seconds of each measurement in a round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Deliveries a second with every service on.
    #[arg(long, default_value_t = 1_500)]
    full_rate: u64,
    /// Seconds with every service on.
    #[arg(long, default_value_t = 60)]
    full_seconds: u64,
    /// With every service on, one delivery in so many becomes a run.
    #[arg(long, default_value_t = full::RUN_EVERY, value_parser = clap::value_parser!(u64).range(1..))]
    full_run_every: u64,
    /// Orgs of a hundred teams each in the bench of config.
    #[arg(long, default_value_t = 100)]
    config_orgs: usize,
    /// Seconds of the storm of writes.
    #[arg(long, default_value_t = 60)]
    storm_seconds: u64,
    /// Seconds of the siege.
    #[arg(long, default_value_t = 60)]
    siege_seconds: u64,
    /// Teams in the bench of routing; ten identifiers each.
    #[arg(long, default_value_t = 10_000)]
    route_teams: usize,
    /// Seconds of each proof: rate windows, rotation of secrets.
    #[arg(long, default_value_t = 60)]
    proof_seconds: u64,
    /// Deliveries a second of windows, rotation, sources and profile, in place of what is usual for each.
    #[arg(long)]
    rate: Option<u64>,
    /// A short check that everything can be measured: one round of a second.
    #[arg(long)]
    smoke: bool,
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "a command says why it failed")]
async fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.smoke {
        arguments.rounds = 1;
        arguments.seconds = 1;
        arguments.full_rate = 100;
        arguments.full_seconds = 3;
        arguments.config_orgs = 1;
        arguments.storm_seconds = 2;
        arguments.route_teams = 100;
        arguments.proof_seconds = 10;
        arguments.rate = Some(50);
    }
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tocsin-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let wants = |part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    if wants(Part::Ack) {
        ack::measure(arguments.rounds, arguments.seconds).await?;
    }
    if wants(Part::Full) {
        let run_every = arguments.full_run_every;
        full::measure(arguments.full_rate, arguments.full_seconds, run_every).await?;
    }
    if wants(Part::Config) {
        let size = config::Size {
            orgs: arguments.config_orgs,
            teams: TEAMS_OF_AN_ORG,
            storm_seconds: arguments.storm_seconds,
        };
        config::measure(arguments.rounds, arguments.seconds, size).await?;
    }
    if wants(Part::Route) {
        let size = route::Size {
            teams: arguments.route_teams,
            identifiers: arguments.route_teams * IDENTIFIERS_OF_A_TEAM,
            decisions: DECISIONS_OF_A_ROUND,
            writes: if arguments.smoke { 50 } else { WRITES },
        };
        route::measure(arguments.rounds, size).await?;
    }
    if wants(Part::Sources) {
        let rate = arguments.rate.unwrap_or(sources::RATE);
        sources::measure(arguments.rounds, arguments.seconds, rate).await?;
    }
    if wants(Part::Windows) {
        let rate = arguments.rate.unwrap_or(windows::RATE);
        windows::measure(rate, arguments.proof_seconds).await?;
    }
    if wants(Part::Rotation) {
        let rate = arguments.rate.unwrap_or(rotation::RATE);
        Box::pin(rotation::measure(rate, arguments.proof_seconds)).await?;
    }
    if wants(Part::Idle) {
        idle::measure().await?;
    }
    if wants(Part::Siege) {
        let size = if arguments.smoke {
            siege::Size::smoke()
        } else {
            siege::Size::full(arguments.siege_seconds)
        };
        siege::measure(size).await?;
    }
    // Only when asked for: it has no figures.
    let smoke_of_all = arguments.smoke && arguments.parts.is_empty();
    if smoke_of_all || arguments.parts.contains(&Part::Profile) {
        let rate = arguments.rate.unwrap_or(profile::RATE);
        profile::work(rate, arguments.full_seconds).await?;
    }
    Ok(())
}
