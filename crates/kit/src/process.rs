//! A process from its first line to its exit code.

mod cores;
mod signals;

use std::{num::NonZeroUsize, process::ExitCode, time::Duration};

use clap::{Args, Command, FromArgMatches};

use crate::{
    BoxError, Clock, Context, ErrorChain, HttpClient, Stop, Tasks, health,
    http_client::{OutboundSettings, install_crypto_provider},
    http_server::{self, ServeError},
    settings::{self, HttpListen, Seconds},
    tasks::{Failure, Unfinished},
    telemetry::{self, LogSettings, MetricsHandle, TelemetryError},
};
pub use cores::Cores;
use signals::Signals;

/// How long requests and messages in hand may take to finish. Kubernetes sends SIGKILL 30 s after
/// SIGTERM by default; this leaves time for the hard stage.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);
/// How long tasks get to notice the hard stop before they are aborted.
const HARD_GRACE: Duration = Duration::from_secs(2);
/// How long threads that block get before the process ends around them.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

/// Settings that every process has, whatever it runs.
#[derive(Clone, Debug, Args)]
pub struct ProcessSettings {
    #[command(flatten)]
    pub log: LogSettings,
    /// Where /health, /ready and /metrics are served; port 0 takes a free one, which the log names.
    #[arg(long, env = "METRICS_LISTEN", default_value = "127.0.0.1:0")]
    pub metrics_listen: HttpListen,
    /// Time to finish work in hand after SIGTERM or SIGINT; then, or at a second signal, it is dropped.
    #[arg(long, env = "SHUTDOWN_GRACE", default_value_t = Seconds::new(SHUTDOWN_GRACE))]
    pub shutdown_grace: Seconds,
    /// Tells this process from others of its kind [default: host name and process id].
    #[arg(long, env = "INSTANCE")]
    pub instance: Option<String>,
    /// Threads that work at a time [default: one for each core in ingress, and where all services are in one process;
    /// else one for two cores].
    #[arg(long, env = "RUNTIME_THREADS")]
    pub runtime_threads: Option<NonZeroUsize>,
    #[command(flatten)]
    pub outbound: OutboundSettings,
}

/// The process failed.
#[derive(Debug, thiserror::Error)]
enum ProcessError {
    #[error("set up telemetry")]
    Telemetry(#[source] TelemetryError),
    #[error("start the async runtime")]
    Runtime(#[source] std::io::Error),
    #[error("listen for signals")]
    Signals(#[source] std::io::Error),
    #[error("serve health and metrics")]
    Listener(#[source] ServeError),
    #[error("run")]
    Run(#[source] Failure),
    #[error("stop")]
    Stop(#[source] Unfinished),
}

/// The whole `main` of a service: parses its settings, then [`run_process`].
pub fn service_main<S, F, E>(
    service: &'static str,
    about: &'static str,
    cores: Cores,
    run: impl FnOnce(S, Context) -> F,
) -> ExitCode
where
    S: Args,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<BoxError> + Send + 'static,
{
    crate::memory::without_huge_pages();
    let command = Command::new(service).version(crate::VERSION);
    // Last, because a struct of arguments brings its own doc comment along as the description.
    let command = S::augment_args(ProcessSettings::augment_args(command)).about(about);
    let parsed = settings::matches(command).and_then(|matches| {
        Ok((
            ProcessSettings::from_arg_matches(&matches)?,
            S::from_arg_matches(&matches)?,
        ))
    });
    match parsed {
        Ok((process, settings)) => {
            run_process(service, &process, cores, |context| run(settings, context))
        }
        Err(error) => error.exit(),
    }
}

/// Runs `run` as this process: runtime, telemetry, signals, the health listener; then its exit code.
///
/// The process ends when `run` returns, when an essential task fails, or at SIGTERM or SIGINT; in each
/// case the soft stop begins, tasks get the grace to finish, and the hard stop drops the rest. Failure
/// is anything but a clean end. To run several services, `run` calls
/// [`Context::start`](crate::Context::start) for each and awaits `context.stop.soft()`.
pub fn run_process<F, E>(
    service: &'static str,
    settings: &ProcessSettings,
    cores: Cores,
    run: impl FnOnce(Context) -> F,
) -> ExitCode
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<BoxError> + Send + 'static,
{
    install_crypto_provider();
    let open_files = crate::open_files::raise_limit();
    let threads = cores.threads(cores::available());
    let threads = settings.runtime_threads.unwrap_or(threads).get();
    let result = telemetry::init(&settings.log)
        .map_err(ProcessError::Telemetry)
        .and_then(|metrics| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(threads)
                .enable_all()
                .build()
                .map_err(ProcessError::Runtime)?;
            tracing::debug!(
                service,
                threads,
                open_files,
                "threads, and files and sockets at most"
            );
            let result = runtime.block_on(Box::pin(supervise(service, settings, metrics, run)));
            runtime.shutdown_timeout(RUNTIME_GRACE);
            result
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(service, &error);
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "without telemetry there is no log to write to"
)]
fn report(service: &str, error: &ProcessError) {
    let chain = ErrorChain(error);
    if let ProcessError::Telemetry(_) = error {
        eprintln!("{service}: {chain}");
    } else {
        tracing::error!(service, error = %chain, "process failed");
    }
}

async fn supervise<F, E>(
    service: &'static str,
    settings: &ProcessSettings,
    metrics: MetricsHandle,
    run: impl FnOnce(Context) -> F,
) -> Result<(), ProcessError>
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<BoxError> + Send + 'static,
{
    let http = HttpClient::when_needed(&settings.outbound.policy());
    let instance = settings.instance.clone().unwrap_or_else(default_instance);
    MetricsHandle::describe_build(service, &instance);
    let context = Context::new(service, instance, Clock::system(), Stop::new(), http);
    tracing::info!(service, version = crate::VERSION, instance = %context.instance, "starting");

    // What watches the process outlives what it watches.
    let watch = Tasks::new(context.stop.clone());
    let until = Stop::new();
    let listener = http_server::bind(&settings.metrics_listen)
        .await
        .map_err(ProcessError::Listener)?;
    let grace = settings.shutdown_grace.duration();
    let signals = Signals::listen().map_err(ProcessError::Signals)?;
    watch.spawn("signals", signals.drive(context.stop.clone(), grace));
    watch.spawn("metrics", metrics.clone().upkeep(until.clone()));
    watch.spawn(
        "health",
        health::listener::serve(listener, context.clone(), metrics, until.clone()),
    );

    let result = run_until_stopped(&context, run).await;
    let result = match watch.failure() {
        Some(failure) => result.and(Err(ProcessError::Run(failure))),
        None => result,
    };
    until.trigger_hard();
    match &result {
        Ok(()) => tracing::info!(service, "stopped"),
        Err(_) => tracing::warn!(service, "stopped after a failure"),
    }
    result
}

async fn run_until_stopped<F, E>(
    context: &Context,
    run: impl FnOnce(Context) -> F,
) -> Result<(), ProcessError>
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<BoxError> + Send + 'static,
{
    // Boxed: the whole program's state is in this future.
    let running = Box::pin(run(context.clone()));
    let stop = context.stop.clone();
    context.tasks.spawn(context.service, async move {
        let result = running.await;
        stop.trigger_soft();
        result
    });
    context.stop.until_hard(context.tasks.ended()).await;
    let unfinished = context.tasks.wait(HARD_GRACE).await;
    match context.tasks.failure() {
        Some(failure) => Err(ProcessError::Run(failure)),
        None => unfinished.map_err(ProcessError::Stop),
    }
}

/// `<host>-<process id>`; on systems that do not tell the host's name in a file, `local-<process id>`.
fn default_instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "local",
        name => name,
    };
    format!("{host}-{}", std::process::id())
}
