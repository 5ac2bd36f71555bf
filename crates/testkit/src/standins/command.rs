//! The `tocsin-standins` command: every stand-in in one process, for people.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use super::model::{self, Model, Script};
use super::prometheus::{Prometheus, Scenario};
use super::slack::{self, RateLimits, Slack};
use super::{Error, runtime};

/// Stand-ins for Slack, Prometheus and a language model: they speak the real protocols on this
/// machine only.
#[derive(Debug, Parser)]
#[command(name = "tocsin-standins", version)]
pub struct Command {
    /// Where Slack's Web API (`/api/<method>`) and the page for people (`/`) are served.
    #[arg(long, default_value = "127.0.0.1:8090")]
    pub slack_listen: SocketAddr,
    /// Where Prometheus' HTTP API is served.
    #[arg(long, default_value = "127.0.0.1:8091")]
    pub prometheus_listen: SocketAddr,
    /// Where the model's Chat Completions are served (`/v1/chat/completions`).
    #[arg(long, default_value = "127.0.0.1:8092")]
    pub model_listen: SocketAddr,
    /// Base URL of the ingress that gets events, interactions and alerts from the page.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub ingress_url: String,
    /// Signs what the page sends as Slack; of a comma separated list, the first. Without it the
    /// page only shows.
    #[arg(long, env = "SLACK_SIGNING_SECRET", hide_env_values = true)]
    pub slack_signing_secret: Option<String>,
    /// Signs *Fire alert*; of a comma separated list, the first.
    #[arg(long, env = "PAGERDUTY_WEBHOOK_SECRET", hide_env_values = true)]
    pub pagerduty_secret: Option<String>,
    /// The only bot token accepted; every `xoxb-…` when not given.
    #[arg(long, env = "SLACK_BOT_TOKEN", hide_env_values = true)]
    pub slack_bot_token: Option<String>,
    /// Channels that exist from the start, as ID=NAME. Posting to another id creates it.
    #[arg(long = "channel", value_name = "ID=NAME", value_parser = pair,
        default_value = "C0INCIDENTS=incidents")]
    pub channels: Vec<(String, String)>,
    /// Which of Slack's rate limits are enforced.
    #[arg(long, value_enum, default_value = "off")]
    pub slack_rate_limits: Limits,
    /// Scenario file with Prometheus' data and the alert; the checkout demonstration when not given.
    #[arg(long)]
    pub scenario: Option<PathBuf>,
    /// Script files for the model, tried before the built-in ones.
    #[arg(long = "script")]
    pub scripts: Vec<PathBuf>,
    /// How long the model thinks before each answer: 0ms, 700ms, 2s.
    #[arg(long, value_parser = duration, default_value = "0ms")]
    pub model_delay: Duration,
    /// A worker process that *Kill the worker* may kill, as NAME=PIDFILE; give each of them.
    #[arg(long = "worker", value_name = "NAME=PIDFILE", value_parser = pair)]
    pub workers: Vec<(String, String)>,
    /// The one worker's pid file, when there is only one.
    #[arg(long, value_name = "PIDFILE", conflicts_with = "workers")]
    pub kill_worker_pid_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Limits {
    /// None.
    Off,
    /// One post a second and channel, after a burst of three.
    Posts,
    /// Posts as above, and each method's documented tier.
    All,
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// A file that cannot be used, or an address that is taken.
pub async fn run(command: Command) -> Result<(), Error> {
    let scenario = match &command.scenario {
        Some(path) => Scenario::parse(&path.display().to_string(), &read(path)?)?,
        None => Scenario::checkout()?,
    };
    let alert = scenario.alert.clone();
    let mut model = model::Settings::new()?;
    model.listen = command.model_listen;
    model.delay = command.model_delay;
    for path in command.scripts.iter().rev() {
        model
            .scripts
            .insert(0, Script::parse(&path.display().to_string(), &read(path)?)?);
    }
    let prometheus = Prometheus::start_with(command.prometheus_listen, scenario).await?;
    let model = Model::start_with(model).await?;
    let slack = Slack::start_with(command.slack(alert, prometheus.clone())).await?;
    let told = announce(&slack, &prometheus, &model);
    if let Err(error) = told {
        tracing::warn!(%error, "cannot write to standard output");
    }
    stopped().await;
    Ok(())
}

impl Command {
    fn slack(self, alert: Option<slack::Alert>, prometheus: Prometheus) -> slack::Settings {
        let first = |list: String| {
            list.split(',')
                .map(str::trim)
                .find(|secret| !secret.is_empty())
                .map(str::to_owned)
        };
        let (url, pagerduty_secret) = (self.ingress_url, self.pagerduty_secret.and_then(first));
        let connected = |slack_signing_secret| slack::Ingress {
            url,
            slack_signing_secret,
            pagerduty_secret,
            alert,
        };
        let named = |(name, path): (String, String)| (name, PathBuf::from(path));
        let only = self
            .kill_worker_pid_file
            .map(|path| ("worker".to_owned(), path));
        slack::Settings {
            listen: self.slack_listen,
            bot_token: self.slack_bot_token,
            channels: self.channels,
            limits: match self.slack_rate_limits {
                Limits::Off => RateLimits::off(),
                Limits::Posts => RateLimits::posts(3),
                Limits::All => RateLimits::like_slack(),
            },
            ingress: self.slack_signing_secret.and_then(first).map(connected),
            workers: self.workers.into_iter().map(named).chain(only).collect(),
            prometheus: Some(prometheus),
            ..slack::Settings::default()
        }
    }
}

fn announce(slack: &Slack, prometheus: &Prometheus, model: &Model) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} stand-ins are ready", runtime::now_rfc3339())?;
    writeln!(
        out,
        "  Slack       {}  (SLACK_API_URL={})",
        slack.page_url(),
        slack.api_url()
    )?;
    writeln!(out, "  Prometheus  {}", prometheus.url())?;
    writeln!(out, "  model       OPENAI_BASE_URL={}", model.base_url())?;
    out.flush()
}

async fn stopped() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        tracing::warn!("cannot listen for signals: serving until killed");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::ReadFile {
        path: path.into(),
        source,
    })
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() => {
            Ok((left.to_owned(), right.to_owned()))
        }
        _ => Err(format!("{text:?} has not the form LEFT=RIGHT")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|letter: char| letter.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{text:?}: use 700ms or 2s"))?;
    let factor = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        _ => return Err(format!("{text:?}: use 700ms or 2s")),
    };
    Duration::try_from_secs_f64(number * factor).map_err(|error| format!("{text:?}: {error}"))
}
