//! Tracked background tasks: none is forgotten at shutdown, and none fails unseen.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use crate::{BoxError, ErrorChain, Stop, telemetry::panic_text};

/// How long an aborted task gets to reach its next await and be dropped.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// Spawns and tracks the background tasks of one scope. Cheap to clone; clones are the same scope.
#[derive(Clone, Debug)]
pub struct Tasks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stop: Stop,
    parent: Option<Tasks>,
    tracker: TaskTracker,
    next: AtomicU64,
    alive: Mutex<BTreeMap<u64, Alive>>,
    failure: OnceLock<Failure>,
}

#[derive(Debug)]
struct Alive {
    name: Cow<'static, str>,
    abort: Option<AbortHandle>,
}

/// The first essential task that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("task {task} failed: {reason}")]
pub struct Failure {
    pub task: String,
    /// The error with its chain of causes, or the panic's message.
    pub reason: String,
}

/// Tasks that had not ended by the deadline, and were aborted.
#[derive(Debug, thiserror::Error)]
#[error("tasks still at work at the deadline, aborted: {}", names.join(", "))]
pub struct Unfinished {
    pub names: Vec<String>,
}

impl Tasks {
    /// Tasks whose failure triggers `stop`'s soft stage.
    #[must_use]
    pub fn new(stop: Stop) -> Self {
        Self::inside(stop, None)
    }

    /// A scope inside this one. A failure there is a failure here too: it stops both scopes.
    #[must_use]
    pub fn child(&self, stop: Stop) -> Self {
        Self::inside(stop, Some(self.clone()))
    }

    fn inside(stop: Stop, parent: Option<Self>) -> Self {
        Self(Arc::new(Inner {
            stop,
            parent,
            tracker: TaskTracker::new(),
            next: AtomicU64::new(0),
            alive: Mutex::default(),
            failure: OnceLock::new(),
        }))
    }

    /// Spawns a task that the service cannot do without. If it errs or panics, that is logged with
    /// its causes, the scope's soft stop begins, and the process will exit with a failure.
    pub fn spawn<F, E>(&self, name: impl Into<Cow<'static, str>>, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError> + Send,
    {
        let name = name.into();
        let scope = self.clone();
        let future = Box::pin(future);
        self.track(name.clone(), async move {
            if let Some(reason) = outcome(future).await {
                tracing::error!(task = %name, error = %reason, "task failed; stopping");
                scope.fail(&Failure {
                    task: name.into_owned(),
                    reason,
                });
            }
        });
    }

    /// Spawns a task whose failure concerns only itself, such as one connection or one request. An
    /// error or panic is logged as a warning and counted in `task_failures_total`.
    pub fn spawn_contained<F, E>(&self, name: impl Into<Cow<'static, str>>, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError> + Send,
    {
        let name = name.into();
        let future = Box::pin(future);
        self.track(name.clone(), async move {
            if let Some(reason) = outcome(future).await {
                tracing::warn!(task = %name, error = %reason, "task failed");
                metrics::counter!("task_failures_total", "task" => name.into_owned()).increment(1);
            }
        });
    }

    /// The first essential task that failed in this scope or one inside it.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.0.failure.get().cloned()
    }

    /// Names of the tasks at work, oldest first.
    #[must_use]
    pub fn alive(&self) -> Vec<String> {
        self.lock()
            .values()
            .map(|task| task.name.clone().into_owned())
            .collect()
    }

    /// Waits until every task has ended; those that have not by the deadline are aborted.
    ///
    /// Tasks may still be spawned meanwhile and are waited for as well.
    ///
    /// # Errors
    /// The names of the tasks that were aborted.
    pub async fn wait(&self, deadline: Duration) -> Result<(), Unfinished> {
        self.0.tracker.close();
        if tokio::time::timeout(deadline, self.0.tracker.wait())
            .await
            .is_ok()
        {
            return Ok(());
        }
        let names = self.alive();
        self.abort();
        if tokio::time::timeout(ABORT_GRACE, self.0.tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!(tasks = ?self.alive(), "tasks block their thread and cannot be aborted");
        }
        Err(Unfinished { names })
    }

    /// Waits until every task has ended, however long that takes.
    pub async fn ended(&self) {
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }

    fn abort(&self) {
        for task in self.lock().values() {
            if let Some(abort) = &task.abort {
                abort.abort();
            }
        }
    }

    fn fail(&self, failure: &Failure) {
        // Only the first failure is kept: later ones are usually its consequences, and are logged.
        self.0.failure.get_or_init(|| failure.clone());
        self.0.stop.trigger_soft();
        if let Some(parent) = &self.0.parent {
            parent.fail(failure);
        }
    }

    fn track(&self, name: Cow<'static, str>, future: impl Future<Output = ()> + Send + 'static) {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(id, Alive { name, abort: None });
        let entry = Entry {
            tasks: self.clone(),
            id,
        };
        let handle = self.0.tracker.spawn(async move {
            let _entry = entry;
            future.await;
        });
        // The task may have ended already, and its entry with it.
        if let Some(task) = self.lock().get_mut(&id) {
            task.abort = Some(handle.abort_handle());
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Alive>> {
        self.0.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the task off the list when it ends, in whatever way.
struct Entry {
    tasks: Tasks,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.tasks.lock().remove(&self.id);
    }
}

/// Why the future failed, if it did: its error with the causes, or its panic.
///
/// Takes it boxed: an `async fn` that is given a future holds it twice, and a task is four of those, one in
/// another. With 16 KB of its own it would take 264 KB, and as much of the stack of who spawns it.
async fn outcome<E: Into<BoxError>>(
    future: Pin<Box<impl Future<Output = Result<(), E>>>>,
) -> Option<String> {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(ErrorChain(error.into().as_ref()).to_string()),
        Err(panic) => Some(format!("panicked: {}", panic_text(panic.as_ref()))),
    }
}

#[cfg(test)]
mod tests;
