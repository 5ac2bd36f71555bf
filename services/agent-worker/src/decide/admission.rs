//! Who may work on a run.

use jiff::Timestamp;
use tocsin_wire::proto::journal_entry::{Entry, Resumed};

use super::state::RunState;

/// What a worker that holds a work message may do with the run it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Nobody has begun it.
    Begin,
    /// It was ours to begin with: the message came again because whoever had it went silent.
    Continue,
    /// It is finished: tell so again.
    Finished,
    /// This message is a copy. While the owner's message still waits in WORK the copy is dropped.
    Copy { owner: u64 },
}

/// Judges by the journal and the sequence of the work message.
pub fn admit(state: &RunState, work_sequence: u64) -> Admission {
    if state.finished.is_some() {
        Admission::Finished
    } else if state.started.is_none() {
        Admission::Begin
    } else if state.work_sequence == work_sequence {
        Admission::Continue
    } else {
        Admission::Copy {
            owner: state.work_sequence,
        }
    }
}

/// The entry with which a worker takes over.
pub fn resumed(state: &RunState, work_sequence: u64, now: Timestamp) -> Entry {
    let idle = state
        .last_at
        .map_or(0, |last| now.duration_since(last).as_millis());
    Entry::Resumed(Resumed {
        at_step: state.steps_done().saturating_add(1),
        idle_millis: u64::try_from(idle).unwrap_or(0),
        previous_worker: state.last_worker.clone(),
        work_sequence,
    })
}
