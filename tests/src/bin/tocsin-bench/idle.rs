//! Memory of each service that has nothing to do.

use std::cell::Cell;
use std::time::Duration;

use tocsin_testkit::{Postgres, Program, TestBus, built_program, eventually};
use tokio::time::Instant;

use crate::figures::say;
use crate::process::{self, GITHUB_SECRET, PAGERDUTY_SECRET, Service};

/// The service that is also shipped as a program of its own, for who runs it alone: of the program of all it
/// needs the most.
const OWN_PROGRAM: &str = "tocsin-config";

/// Nobody calls them, so any free port will do.
const ANY_PORT: &str = "127.0.0.1:0";

/// For how long memory must not have fallen any more: allocators give back within a second or two.
const STILL: Duration = Duration::from_secs(2);
/// How long that is waited for.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);

/// Prints resident memory of each service, ready and idle.
pub(crate) async fn measure() -> anyhow::Result<()> {
    let bus = TestBus::start().await?;
    let postgres = Postgres::database().await?;
    let mut services = Vec::new();
    for service in ["ingress", "router", "config", "agent-worker", "audit"] {
        let environment = environment(&postgres).await?;
        services.push((service, process::start(&bus, service, &environment).await?));
    }
    if let Ok(program) = built_program(OWN_PROGRAM) {
        let environment = environment(&postgres).await?;
        let own = process::launch(&bus, "config", Program::new(program), &environment).await?;
        services.push((OWN_PROGRAM, own));
    }
    settled(&services).await;
    say(
        "\nidle memory of five services of one program, and of config as a program of its own, in MiB:",
    );
    say("                  own   with its share of the program   resident, program and all");
    for (service, started) in &services {
        let process = &started.process;
        say(&format!(
            "  {service:<14} {:>5.1}   {:>29.1}   {:>25.1}",
            mebibytes(process.anonymous_bytes()?),
            mebibytes(process.proportional_bytes()?),
            mebibytes(process.rss_bytes()?)
        ));
    }
    Ok(())
}

async fn environment(postgres: &Postgres) -> anyhow::Result<[(&'static str, String); 9]> {
    Ok([
        ("INGRESS_LISTEN", ANY_PORT.to_owned()),
        ("CONFIG_LISTEN", ANY_PORT.to_owned()),
        ("GITHUB_WEBHOOK_SECRET", GITHUB_SECRET.to_owned()),
        ("PAGERDUTY_WEBHOOK_SECRET", PAGERDUTY_SECRET.to_owned()),
        ("DATABASE_URL", postgres.another_database().await?),
        ("MIGRATE", "true".to_owned()),
        ("ADMIN_TOKEN", "bench-admin".to_owned()),
        ("TOKEN_PEPPER", "bench-pepper".to_owned()),
        ("INTERNAL_SERVICE_SECRET", "bench-internal".to_owned()),
    ])
}

/// Until what was needed to start has been given back.
async fn settled(services: &[(&str, Service)]) {
    let lowest = Cell::new((u64::MAX, Instant::now()));
    eventually("memory falls no more", SETTLE_LIMIT, || async {
        let each = services.iter();
        let bytes: Vec<u64> = each
            .map(|(_, service)| service.process.anonymous_bytes())
            .collect::<anyhow::Result<_>>()?;
        let total = bytes.iter().sum();
        let (least, since) = lowest.get();
        if total < least {
            lowest.set((total, Instant::now()));
            anyhow::bail!("it fell to {total} bytes");
        }
        anyhow::ensure!(since.elapsed() >= STILL, "it fell a moment ago");
        anyhow::Ok(())
    })
    .await;
}

fn mebibytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "megabytes are far below 2^53")]
    let bytes = bytes as f64;
    bytes / 1024.0 / 1024.0
}
