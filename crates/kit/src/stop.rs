//! Shutdown in two stages.
//!
//! *Soft*: take no new work, finish what is in hand. *Hard*: the time for that is over, drop it.
//! Everything must survive a hard stop at any moment, because a killed process gets no warning at
//! all; the soft stage only makes a planned restart faster and quieter.

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// Tells a scope when to stop. Cheap to clone; clones are the same scope.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Stop {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A scope inside this one: it stops when this one does, and may stop alone before.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            soft: self.soft.child_token(),
            hard: self.hard.child_token(),
        }
    }

    /// Waits until no new work may be taken. Returns at once if that is already so.
    pub fn soft(&self) -> WaitForCancellationFuture<'_> {
        self.soft.cancelled()
    }

    /// Waits until work in hand must be dropped. Returns at once if that is already so.
    pub fn hard(&self) -> WaitForCancellationFuture<'_> {
        self.hard.cancelled()
    }

    #[must_use]
    pub fn is_soft(&self) -> bool {
        self.soft.is_cancelled()
    }

    #[must_use]
    pub fn is_hard(&self) -> bool {
        self.hard.is_cancelled()
    }

    /// Begins the soft stage in this scope and those inside it.
    pub fn trigger_soft(&self) {
        self.soft.cancel();
    }

    /// Ends the soft stage in this scope and those inside it. A hard stop is a soft stop too.
    pub fn trigger_hard(&self) {
        self.soft.cancel();
        self.hard.cancel();
    }

    /// Runs `work` until it ends or the soft stop begins; `None` if the stop came first.
    ///
    /// `work` is dropped at the await where it stands, so use it only for work that may be.
    pub async fn until_soft<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.soft.run_until_cancelled(work).await
    }

    /// Runs `work` until it ends or the hard stop begins; `None` if the stop came first.
    pub async fn until_hard<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.hard.run_until_cancelled(work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stages_go_down_to_children_and_never_up() {
        let process = Stop::new();
        let (one, two) = (process.child(), process.child());

        one.trigger_hard();
        assert!(one.is_soft() && one.is_hard(), "hard includes soft");
        assert!(!process.is_soft() && !two.is_soft(), "a sibling goes on");

        process.trigger_soft();
        two.soft().await;
        assert!(!two.is_hard(), "soft leaves time to finish");
        assert_eq!(two.until_soft(std::future::pending::<()>()).await, None);
        assert_eq!(two.until_hard(async { 7 }).await, Some(7));

        process.trigger_hard();
        two.hard().await;
        assert!(process.child().is_hard(), "a scope born late is stopped");
    }
}
