//! nats-server and PostgreSQL, which the stack may kill.

use std::sync::Arc;
use std::time::Duration;

use tocsin_testkit::{Postgres, TestBus};
use tokio::sync::Mutex;

use super::Component;

/// Both servers; a killed one comes back after a pause.
pub(super) struct Servers {
    bus: Arc<Mutex<TestBus>>,
    postgres: Arc<Mutex<Postgres>>,
    database_url: String,
    pause: Duration,
}

impl Servers {
    pub(super) fn new(bus: TestBus, postgres: Postgres, pause: Duration) -> Self {
        Self {
            database_url: postgres.url().to_owned(),
            bus: Arc::new(Mutex::new(bus)),
            postgres: Arc::new(Mutex::new(postgres)),
            pause,
        }
    }

    pub(super) fn database_url(&self) -> &str {
        &self.database_url
    }

    #[expect(clippy::disallowed_methods, reason = "ends when the server is back")]
    pub(super) async fn kill_nats(&self) -> anyhow::Result<()> {
        let mut bus = Arc::clone(&self.bus).lock_owned().await;
        bus.server.kill().await?;
        let pause = self.pause;
        // The lock is held until the server is back: that is how `ready` waits for it.
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            report("nats-server", bus.server.restart().await);
        });
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "ends when the server is back")]
    pub(super) async fn kill_postgres(&self) -> anyhow::Result<()> {
        let mut postgres = Arc::clone(&self.postgres).lock_owned().await;
        postgres.kill().await?;
        let pause = self.pause;
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            report("postgres", postgres.restart().await);
        });
        Ok(())
    }

    pub(super) async fn stop_nats(&self) -> anyhow::Result<()> {
        self.bus.lock().await.server.kill().await
    }

    pub(super) async fn start_nats(&self) -> anyhow::Result<()> {
        self.bus.lock().await.server.restart().await
    }

    /// Returns when a restart in progress has ended.
    pub(super) async fn ready(&self, component: Component) -> anyhow::Result<()> {
        match component {
            Component::NatsServer => {
                let bus = self.bus.lock().await;
                anyhow::ensure!(bus.server.process().is_running(), "nats-server is down");
            }
            _ => drop(self.postgres.lock().await),
        }
        Ok(())
    }
}

#[expect(clippy::print_stderr, reason = "a test shows it with its output")]
fn report(name: &str, result: anyhow::Result<()>) {
    if let Err(error) = result {
        eprintln!("{name} cannot be started again: {error:#}");
    }
}
