//! The `tocsin` binary as measured processes.

use std::time::Duration;

use anyhow::Context as _;
use tocsin_testkit::{
    Process, Program, ReservedPort, TestBus, built_program, eventually, standins,
};

pub(crate) const GITHUB_SECRET: &str = "bench-github";
pub(crate) const PAGERDUTY_SECRET: &str = "bench-pagerduty";

/// Release builds start in well under a second, a router that reads the configs of 10,000 teams in seconds.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A service as a process of its own.
pub(crate) struct Service {
    pub(crate) process: Process,
    _health: ReservedPort,
}

/// Starts `tocsin <service>` against `bus` and waits until it is ready.
pub(crate) async fn start(
    bus: &TestBus,
    service: &'static str,
    environment: &[(&str, String)],
) -> anyhow::Result<Service> {
    let program = Program::new(built_program("tocsin")?).args([service]);
    launch(bus, service, program, environment).await
}

/// Starts a service as `program` and waits until it is ready.
pub(crate) async fn launch(
    bus: &TestBus,
    service: &'static str,
    program: Program,
    environment: &[(&str, String)],
) -> anyhow::Result<Service> {
    let health = ReservedPort::take()?;
    let settings = bus.settings();
    let mut program = program
        .env("NATS_URL", settings.nats_url)
        .env(
            "NATS_NKEY_FILE",
            settings.nats_nkey_file.unwrap_or_default(),
        )
        .env("SIGNING_KEY_FILE", settings.signing_key_file)
        .env(
            "SIGNING_ROOT_FILE",
            settings.signing_root_file.display().to_string(),
        )
        .env("METRICS_LISTEN", health.address().to_string())
        .env("LOG_LEVEL", "warn");
    for (name, value) in environment {
        program = program.env(*name, value);
    }
    let process = program
        .start()
        .with_context(|| format!("starting {service}"))?;
    let client = standins::http_client()?;
    let url = format!("http://{}/ready", health.address());
    eventually(&format!("{service} is ready"), START_LIMIT, || async {
        let answer = client.get(&url).send().await?.error_for_status()?;
        anyhow::Ok(answer)
    })
    .await;
    Ok(Service {
        process,
        _health: health,
    })
}
