//! `./dev chaos`: kill -9 of every process, one after the other, under load; then the accounts.
//!
//! Two rounds: one without Slack's rate limits, one with Slack's one post a second in a channel.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tocsin_testkit::standins::slack::RateLimits;
use tocsin_tests::chaos::{self, Round};
use tocsin_tests::load::Rate;
use tocsin_tests::{Component, Options, Stack};
use tokio::time::Instant;

/// Work continues within this time, whatever was killed.
const LONGEST_GAP: Duration = Duration::from_secs(5);
/// How long one delivery is sent again before it counts as refused.
const PATIENCE: Duration = Duration::from_secs(60);

/// Kills every process of a running Tocsin under load, and accounts for every delivery.
#[derive(Debug, Parser)]
#[command(name = "tocsin-chaos")]
struct Arguments {
    /// Deliveries a second.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Deliveries a second in the round with Slack's rate limits.
    #[arg(long, default_value_t = 200)]
    limited_rate: u32,
    /// Seconds of load in each round; the kills take about 60.
    #[arg(long, default_value_t = 75)]
    seconds: u64,
    /// Teams, each with a channel.
    #[arg(long, default_value_t = 400)]
    channels: usize,
    /// Worker processes.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Runs at a time in each worker.
    #[arg(long, default_value_t = 64)]
    slots: u16,
    /// Milliseconds that the model thinks before each of a run's two answers, so that every kill
    /// meets runs in hand.
    #[arg(long, default_value_t = 150)]
    model_delay: u64,
    /// Seconds between a part being ready again and the next kill.
    #[arg(long, default_value_t = 5)]
    calm: u64,
    /// Seconds that the work left at the end of the load may take.
    #[arg(long, default_value_t = 300)]
    drain: u64,
    /// What is killed, in this order; everything once when not given.
    #[arg(long, value_delimiter = ',', value_name = "PARTS")]
    kill: Vec<Component>,
    /// Only the first round, or only the second.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=2))]
    only: Option<u8>,
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "a command says why it failed")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tocsin-chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let rounds = [
        (
            1,
            "Slack without rate limits",
            arguments.rate,
            RateLimits::off(),
        ),
        (
            2,
            "Slack with one post a second in a channel",
            arguments.limited_rate,
            RateLimits::posts(1),
        ),
    ];
    let mut is_kept = true;
    for (number, name, rate, limits) in rounds {
        if arguments.only.is_none_or(|only| only == number) {
            is_kept &= round(arguments, number, name, rate, limits).await?;
        }
    }
    Ok(is_kept)
}

fn kills(arguments: &Arguments) -> Vec<Component> {
    if !arguments.kill.is_empty() {
        return arguments.kill.clone();
    }
    let workers = (0..arguments.workers).map(Component::Worker);
    let first = [Component::Ingress, Component::Router].into_iter();
    let last = [
        Component::Audit,
        Component::Config,
        Component::NatsServer,
        Component::Postgres,
    ];
    first.chain(workers).chain(last).collect()
}

#[expect(clippy::print_stdout, reason = "a command that reports")]
async fn round(
    arguments: &Arguments,
    number: u8,
    name: &str,
    rate: u32,
    limits: RateLimits,
) -> anyhow::Result<bool> {
    let began = Instant::now();
    let say = move |line: String| println!("{:>7.1} s  {line}", began.elapsed().as_secs_f64());
    println!(
        "round {number}: {rate} deliveries/s over {} channels, {name}",
        arguments.channels
    );
    let pace = if limits == RateLimits::off() {
        Duration::ZERO
    } else {
        Duration::from_secs(1)
    };
    let stack = Stack::start(Options {
        name: format!("chaos-{number}"),
        workers: arguments.workers,
        worker_slots: arguments.slots,
        slack_limits: limits,
        slack_pace: (pace, Duration::from_secs(2)),
        model_delay: Duration::from_millis(arguments.model_delay),
        ..Options::default()
    })
    .await?;
    say(format!(
        "everything runs; logs are in {}",
        stack.logs().display()
    ));
    let teams = stack.seed_teams(arguments.channels).await?;
    say(format!("{} teams are routed", teams.len()));
    let kills = kills(arguments);
    let round = Round {
        rate: Rate {
            per_second: rate,
            duration: Duration::from_secs(arguments.seconds),
            patience: PATIENCE,
        },
        kills,
        calm: Duration::from_secs(arguments.calm),
        drain: Duration::from_secs(arguments.drain),
    };
    let verdict = chaos::run(&stack, &teams, &round, &say).await?;
    println!("\n{verdict}");
    let violations = verdict.violations(LONGEST_GAP);
    for history in &verdict.histories {
        println!("{history}");
    }
    for violation in &violations {
        println!("VIOLATION: {violation}");
    }
    let word = if violations.is_empty() {
        "kept every promise"
    } else {
        "broke a promise"
    };
    println!("round {number} {word}\n");
    Ok(violations.is_empty())
}
