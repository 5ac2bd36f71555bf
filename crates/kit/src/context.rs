//! What a process gives to each service that it runs.

use crate::{
    BoxError, Clock, Health, HttpClient, Stop, Tasks,
    http_client::{BuildError, OutboundPolicy},
};

/// A service's surroundings. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Context {
    pub clock: Clock,
    pub stop: Stop,
    pub tasks: Tasks,
    pub health: Health,
    /// The service's name: a label on its metrics and logs, `{service}` in file names.
    pub service: &'static str,
    /// Tells this process from others of the same service, for example `worker-2` or `host-4711`.
    pub instance: String,
    /// For URLs that tenants name: guarded. For URLs that the operator configured, build an
    /// [`HttpClient::trusted`].
    pub http: HttpClient,
}

/// A service returned although nobody had asked it to stop.
#[derive(Debug, thiserror::Error)]
#[error("service {service} ended without being asked to stop; its log says why")]
struct EndedEarly {
    service: &'static str,
}

impl Context {
    /// A scope of its own: fresh health registry and fresh tasks under `stop`.
    #[must_use]
    pub fn new(
        service: &'static str,
        instance: impl Into<String>,
        clock: Clock,
        stop: Stop,
        http: HttpClient,
    ) -> Self {
        Self {
            clock,
            tasks: Tasks::new(stop.clone()),
            stop,
            health: Health::new(),
            service,
            instance: instance.into(),
            http,
        }
    }

    /// What a test needs to run a service: the system's clock, a fresh stop, and a client that may
    /// reach this machine.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn for_test(service: &'static str) -> Result<Self, BuildError> {
        let http = HttpClient::new(&OutboundPolicy::for_test())?;
        Ok(Self::new(
            service,
            format!("{service}-test"),
            Clock::system(),
            Stop::new(),
            http,
        ))
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The surroundings of a service inside this process: its stop is a child of ours, its checks
    /// appear as `<service>.<check>`, and the failure of a task of its stops us too.
    #[must_use]
    pub fn child(&self, service: &'static str) -> Self {
        let stop = self.stop.child();
        Self {
            clock: self.clock.clone(),
            tasks: self.tasks.child(stop.clone()),
            stop,
            health: self.health.child(service),
            service,
            instance: self.instance.clone(),
            http: self.http.clone(),
        }
    }

    /// Starts a service inside this process, in a [child](Context::child) scope of its own.
    ///
    /// Our tasks wait for it and for its tasks. It fails us if it errs, panics, or returns before it
    /// was told to stop. Stop it alone through the returned token.
    pub fn start<F, E>(&self, service: &'static str, run: impl FnOnce(Self) -> F) -> Stop
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError> + Send + 'static,
    {
        let child = self.child(service);
        let (stop, tasks) = (child.stop.clone(), child.tasks.clone());
        // Boxed: a service's whole state is in this future.
        let running = Box::pin(run(child));
        let token = stop.clone();
        self.tasks.spawn(service, async move {
            let result = running.await.map_err(Into::into);
            let early = result.is_ok() && !stop.is_soft();
            stop.trigger_soft();
            // Its tasks get what is left of the process's grace; the hard stop ends that.
            stop.until_hard(tasks.ended()).await;
            if early {
                return Err(EndedEarly { service }.into());
            }
            result
        });
        token
    }
}
