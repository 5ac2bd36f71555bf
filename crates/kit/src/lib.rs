//! Process scaffolding that every service shares: settings, telemetry, health, clock, shutdown,
//! tracked tasks, an HTTP server with limits and an HTTP client with an SSRF guard.
//!
//! It knows nothing about NATS, Postgres or what any service does. It is the only crate that reads
//! the environment, the wall clock and the process's signals; a service receives all three through
//! its [`Context`]. The only process-wide state is the tracing subscriber and the metrics recorder,
//! both set once by [`telemetry::init`].

pub mod clock;
pub mod context;
pub mod health;
pub mod http_client;
pub mod http_server;
pub mod memory;
pub mod open_files;
pub mod problem;
pub mod process;
pub mod random;
pub mod settings;
pub mod stop;
pub mod tasks;
pub mod telemetry;

pub use clock::Clock;
pub use context::Context;
pub use health::{Check, Health};
pub use http_client::HttpClient;
pub use problem::Problem;
pub use process::{Cores, ProcessSettings, run_process, service_main};
pub use settings::{Secret, SecretList};
pub use stop::Stop;
pub use tasks::Tasks;
pub use telemetry::error_chain::ErrorChain;

/// The error that any edge accepts: a boxed error that may cross threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The version that `/health`, `build_info` and the client's `User-Agent` report. All crates of the
/// workspace share it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
