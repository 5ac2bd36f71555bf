//! Hearing what a run is told, and closing its log at the end.
//!
//! No consumer per run: the log is one subject of SIGNALS, read directly behind what the journal says was
//! heard. Whoever takes the run over goes on from there.

use tocsin_kit::ErrorChain;
use tocsin_wire::proto::journal_entry::{Entry, SignalsHeard};
use tokio::time::Instant;

use super::{BUS_PATIENCE, BUS_PAUSE, Record, RecordError, Run};
use crate::decide::listen;

impl<R: Record> Run<'_, R> {
    /// Takes in what was told since.
    pub(super) async fn hear(&mut self) -> Result<(), RecordError> {
        let deadline = Instant::now() + BUS_PATIENCE;
        let log = loop {
            match self.record.signals(self.state.heard.last_sequence).await {
                Ok(log) => break log,
                Err(error) if error.is_temporary() && Instant::now() < deadline => {
                    tokio::time::sleep(BUS_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        };
        if let Some(heard) = listen(&self.state.heard, &log) {
            self.push(Entry::SignalsHeard(heard));
        }
        Ok(())
    }

    /// Hears the last of it, then lets nothing join any more. Whatever got into the log before the closing
    /// word is heard; whatever comes after it is refused by the broker, and starts a run of its own.
    pub(super) async fn close(&mut self) -> Result<(), RecordError> {
        let deadline = Instant::now() + BUS_PATIENCE;
        loop {
            self.hear().await?;
            if self.state.heard.closed {
                break;
            }
            match self.record.close(self.state.heard.last_sequence).await {
                Ok(true) => {
                    let heard = &self.state.heard;
                    let closed = SignalsHeard {
                        last_sequence: heard.last_sequence,
                        joined: heard.joined,
                        closed: true,
                        ..SignalsHeard::default()
                    };
                    self.push(Entry::SignalsHeard(closed));
                    break;
                }
                // Somebody got a word in: at most as often as there are events.
                Ok(false) => {}
                Err(error) if error.is_temporary() && Instant::now() < deadline => {
                    tokio::time::sleep(BUS_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        let request = &self.work.request;
        if let Err(error) = self.record.leave(&request.open_key).await {
            // The log tells whoever finds the entry; the next event writes over it.
            tracing::debug!(run = %request.run_id, error = %ErrorChain(&error), "a closed run stays in the bucket open");
        }
        Ok(())
    }
}
