//! Readiness that tells the truth: one named check per thing that a service needs.

pub mod listener;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

/// What a check says before it was first reported on.
const STARTING: &str = "starting";
/// What a check says when nobody is left to report on it.
const ABANDONED: &str = "the part that reports this check has ended";

/// The checks of a process. Cheap to clone; clones and children write to the same registry.
#[derive(Clone, Debug, Default)]
pub struct Health {
    checks: Arc<Mutex<BTreeMap<String, Entry>>>,
    prefix: String,
}

/// `Ok` or why not.
type State = Result<(), String>;

#[derive(Debug)]
struct Entry {
    state: State,
    is_optional: bool,
}

/// Every check at one moment, in the shape that `/ready` answers with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// True when there are checks and every one that is not optional is ready.
    pub ready: bool,
    /// By name; checks of a service inside a process are called `<service>.<check>`.
    pub checks: BTreeMap<String, CheckState>,
}

/// One check at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckState {
    pub ready: bool,
    /// Why not, when not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the process is ready without it: then it does less, and `/ready` only tells of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

impl Health {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same registry, in which checks get `<service>.` before their name.
    #[must_use]
    pub fn child(&self, service: &str) -> Self {
        Self {
            checks: Arc::clone(&self.checks),
            prefix: format!("{}{service}.", self.prefix),
        }
    }

    /// Adds a check, not ready with the reason "starting". A name that is already there is
    /// restarted, and the older handle still writes to it: names are unique within a service.
    ///
    /// Keep the handle for as long as the thing lives: when the last clone is dropped, the check
    /// turns not ready.
    #[must_use = "a dropped check is not ready"]
    pub fn register(&self, name: &str) -> Check {
        self.insert(name, false)
    }

    /// As [`Health::register`], for what the process can do without: `/ready` tells of it, and stays ready
    /// while it is not.
    #[must_use = "a dropped check is not ready"]
    pub fn register_optional(&self, name: &str) -> Check {
        self.insert(name, true)
    }

    fn insert(&self, name: &str, is_optional: bool) -> Check {
        let name = format!("{}{name}", self.prefix);
        let state = Err(STARTING.to_owned());
        let entry = Entry { state, is_optional };
        self.lock().insert(name.clone(), entry);
        Check(Arc::new(Registered {
            health: self.clone(),
            name,
        }))
    }

    /// Every check as it is now, those of other services in the process included.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let checks: BTreeMap<_, _> = self
            .lock()
            .iter()
            .map(|(name, entry)| {
                let reason = entry.state.as_ref().err().cloned();
                let state = CheckState {
                    ready: reason.is_none(),
                    reason,
                    optional: entry.is_optional,
                };
                (name.clone(), state)
            })
            .collect();
        // A process that has not named its checks yet knows nothing good of itself.
        let ready =
            !checks.is_empty() && checks.values().all(|check| check.ready || check.optional);
        Snapshot { ready, checks }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, name: &str, state: State) {
        let mut checks = self.lock();
        let Some(entry) = checks.get_mut(name) else {
            return;
        };
        let current = &mut entry.state;
        if current.is_ok() != state.is_ok() {
            match &state {
                Ok(()) => tracing::info!(check = name, "ready"),
                Err(reason) => tracing::warn!(check = name, reason, "not ready"),
            }
        }
        *current = state;
    }
}

/// Reports on one check. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Check(Arc<Registered>);

#[derive(Debug)]
struct Registered {
    health: Health,
    name: String,
}

impl Check {
    pub fn ready(&self) {
        self.0.health.set(&self.0.name, Ok(()));
    }

    /// `reason` is shown to whoever asks `/ready`: say what is missing, and no secrets.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.0.health.set(&self.0.name, Err(reason.into()));
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.health.set(&self.name, Err(ABANDONED.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_start_not_ready_and_say_why() {
        let health = Health::new();
        assert!(!health.snapshot().ready, "it has hardly begun");
        let nats = health.child("router").register("nats");
        let index = health.register("index");
        insta::assert_json_snapshot!(health.snapshot(), @r#"
        {
          "ready": false,
          "checks": {
            "index": {
              "ready": false,
              "reason": "starting"
            },
            "router.nats": {
              "ready": false,
              "reason": "starting"
            }
          }
        }
        "#);
        nats.ready();
        index.ready();
        let slack = health.register_optional("slack");
        slack.not_ready("no token");
        assert!(health.snapshot().ready);
        assert_eq!(
            health.snapshot().checks["slack"].reason.as_deref(),
            Some("no token")
        );
        nats.not_ready("disconnected");
        assert!(!health.snapshot().ready);
        drop(index);
        let snapshot = health.snapshot();
        assert_eq!(
            snapshot.checks["router.nats"].reason.as_deref(),
            Some("disconnected")
        );
        assert_eq!(
            snapshot.checks["index"].reason.as_deref(),
            Some("the part that reports this check has ended")
        );
    }
}
