//! The operator's wish to stop.

use std::{convert::Infallible, io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use crate::Stop;

/// SIGTERM and SIGINT, listened to from the moment this exists.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// The first signal begins the soft stop; a second, or the end of the grace, the hard one. A soft
    /// stop for another reason has the same grace.
    pub(super) async fn drive(mut self, stop: Stop, grace: Duration) -> Result<(), Infallible> {
        tokio::select! {
            signal = self.next() => {
                tracing::info!(signal, grace_seconds = grace.as_secs_f64(), "stopping");
                stop.trigger_soft();
            }
            () = stop.soft() => {}
        }
        tokio::select! {
            signal = self.next() => tracing::warn!(signal, "second signal: dropping work in hand"),
            () = sleep(grace) => tracing::warn!("the grace is over: dropping work in hand"),
            () = stop.hard() => {}
        }
        stop.trigger_hard();
        Ok(())
    }
}
