//! Logs and metrics: the only state that a process has outside its [`Context`](crate::Context).

pub mod error_chain;
pub mod log_limiter;
mod metrics_recorder;

use std::{any::Any, io::IsTerminal, panic::PanicHookInfo, str::FromStr};

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

pub use error_chain::ErrorChain;
pub use log_limiter::LogLimiter;
pub use metrics_recorder::MetricsHandle;

/// How log lines look. Both go to standard error, one line each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    Text,
    /// For machines: one JSON object, its fields at the top level.
    Json,
}

/// How the process logs.
#[derive(Clone, Debug, clap::Args)]
pub struct LogSettings {
    /// Format of log lines.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What to log: a level (error, warn, info, debug, trace), or levels per target such as
    /// `info,tocsin_bus=debug`.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: LogFilter,
    /// Overrides LOG_LEVEL, for those used to it.
    #[arg(long = "rust-log", env = "RUST_LOG", hide = true)]
    pub rust_log: Option<LogFilter>,
}

/// A checked filter of log lines, in `tracing`'s directive syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl FromStr for LogFilter {
    type Err = tracing_subscriber::filter::ParseError;

    fn from_str(directives: &str) -> Result<Self, Self::Err> {
        EnvFilter::builder().parse(directives)?;
        Ok(Self(directives.to_owned()))
    }
}

impl LogSettings {
    fn filter(&self) -> &LogFilter {
        self.rust_log.as_ref().unwrap_or(&self.log_level)
    }
}

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("set the log filter to {filter:?}; use a level, or `target=level` pairs")]
    Filter {
        filter: String,
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("install the log subscriber: one is installed already; initialise telemetry once")]
    Subscriber(#[source] tracing_subscriber::util::TryInitError),
    #[error("set the histogram buckets")]
    Buckets(#[source] metrics_exporter_prometheus::BuildError),
    #[error("install the metrics recorder: one is installed already; initialise telemetry once")]
    Recorder(#[source] BoxedRecorderError),
}

/// The recorder's own error names its type; only its text matters.
pub type BoxedRecorderError = crate::BoxError;

/// Installs the log subscriber, the metrics recorder and a panic hook that logs. Call it once per
/// process, before anything logs or counts.
///
/// # Errors
/// When the filter is wrong, or telemetry is installed already.
pub fn init(settings: &LogSettings) -> Result<MetricsHandle, TelemetryError> {
    let LogFilter(directives) = settings.filter();
    let filter =
        EnvFilter::builder()
            .parse(directives)
            .map_err(|source| TelemetryError::Filter {
                filter: directives.clone(),
                source,
            })?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => registry
            .with(lines.with_ansi(std::io::stderr().is_terminal()))
            .try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .map_err(TelemetryError::Subscriber)?;
    let metrics = MetricsHandle::install()?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(metrics)
}

/// Panics become log lines like any other, so that a JSON log stays JSON.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        location = panic.location().map(ToString::to_string),
        backtrace = %std::backtrace::Backtrace::capture(),
        "panicked: {}",
        panic_text(panic.payload()),
    );
}

/// The message of a panic.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with a value that is no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_filter_is_refused_when_it_is_read() {
        for (directives, valid) in [
            ("info", true),
            ("warn,tocsin_bus=debug", true),
            ("tocsin_bus=loud", false),
        ] {
            assert_eq!(
                directives.parse::<LogFilter>().is_ok(),
                valid,
                "{directives}"
            );
        }
    }
}
