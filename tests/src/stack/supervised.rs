//! A process that is started again when it dies, as a cluster would.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tocsin_testkit::{Process, Program};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long the supervisor waits for the end of a process before it asks again.
const WATCH_INTERVAL: Duration = Duration::from_secs(3600);

/// Dropping it ends the supervision and kills the process.
pub(super) struct Supervised {
    shared: Arc<Shared>,
    supervisor: JoinHandle<()>,
}

struct Shared {
    name: String,
    program: Box<dyn Fn() -> Program + Send + Sync>,
    pause: Duration,
    process: Mutex<Arc<Process>>,
    automatic: watch::Sender<bool>,
    restarts: AtomicUsize,
}

impl Supervised {
    #[expect(
        clippy::disallowed_methods,
        reason = "ends with this value; kit's Tasks are for services"
    )]
    pub(super) fn start(
        name: String,
        program: impl Fn() -> Program + Send + Sync + 'static,
        pause: Duration,
    ) -> anyhow::Result<Self> {
        let process = Mutex::new(Arc::new(program().start()?));
        let shared = Arc::new(Shared {
            name,
            program: Box::new(program),
            pause,
            process,
            automatic: watch::Sender::new(true),
            restarts: AtomicUsize::new(0),
        });
        let supervisor = tokio::spawn(supervise(Arc::clone(&shared)));
        Ok(Self { shared, supervisor })
    }

    pub(super) fn process(&self) -> Arc<Process> {
        Arc::clone(&self.shared.process())
    }

    /// Off: a process that ends stays away until this is on again.
    pub(super) fn restart_automatically(&self, automatic: bool) {
        self.shared.automatic.send_replace(automatic);
    }

    pub(super) fn restarts(&self) -> usize {
        self.shared.restarts.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn process(&self) -> MutexGuard<'_, Arc<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn supervise(shared: Arc<Shared>) {
    let mut automatic = shared.automatic.subscribe();
    loop {
        let process = Arc::clone(&shared.process());
        while process.wait(WATCH_INTERVAL).await.is_err() && process.is_running() {}
        drop(process);
        tokio::time::sleep(shared.pause).await;
        if automatic.wait_for(|automatic| *automatic).await.is_err() {
            return;
        }
        match (shared.program)().start() {
            Ok(process) => {
                *shared.process() = Arc::new(process);
                shared.restarts.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => report(&shared.name, &error),
        }
    }
}

#[expect(clippy::print_stderr, reason = "a test shows it with its output")]
fn report(name: &str, error: &anyhow::Error) {
    eprintln!("{name} cannot be started again: {error:#}");
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.supervisor.abort();
        // The task may still hold its share of the process.
        let killed = self.shared.process().signal("KILL");
        if let Err(error) = killed {
            report(&self.shared.name, &error);
        }
    }
}
