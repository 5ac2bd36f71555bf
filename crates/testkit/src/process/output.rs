//! What a child process prints: the last lines in memory, everything in a file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Enough to see why a process failed; the rest is in the file.
const KEPT_LINES: usize = 200;

#[derive(Debug)]
pub(super) struct Output {
    lines: Mutex<Lines>,
    count: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Lines {
    last: VecDeque<String>,
    /// How many lines have been dropped from the front.
    dropped: u64,
}

impl Output {
    /// Reads `pipe` to its end on a thread of its own, so that a full pipe never blocks the child.
    pub(super) fn capture(pipe: PipeReader, mut file: File) -> std::io::Result<Arc<Self>> {
        let output = Arc::new(Self {
            lines: Mutex::default(),
            count: watch::Sender::new(0),
        });
        let sink = Arc::clone(&output);
        std::thread::Builder::new()
            .name("child-output".to_owned())
            .spawn(move || {
                let mut reader = BufReader::new(pipe);
                let mut line = Vec::new();
                while reader
                    .read_until(b'\n', &mut line)
                    .is_ok_and(|read| read > 0)
                {
                    if let Err(error) = file.write_all(&line) {
                        tracing::debug!(%error, "a child's output is not written to its file");
                    }
                    sink.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                    line.clear();
                }
            })?;
        Ok(output)
    }

    fn push(&self, line: String) {
        let mut lines = self.lines();
        if lines.last.len() == KEPT_LINES {
            lines.last.pop_front();
            lines.dropped += 1;
        }
        lines.last.push_back(line);
        drop(lines);
        self.count.send_modify(|count| *count += 1);
    }

    pub(super) fn last(&self) -> Vec<String> {
        self.lines().last.iter().cloned().collect()
    }

    /// The first kept line at or after `from` that contains `text`, or the number of the next line to look at.
    pub(super) fn find(&self, text: &str, from: u64) -> Result<String, u64> {
        let lines = self.lines();
        let skip = usize::try_from(from.saturating_sub(lines.dropped)).unwrap_or(usize::MAX);
        let found = lines
            .last
            .iter()
            .skip(skip)
            .find(|line| line.contains(text));
        found
            .cloned()
            .ok_or(lines.dropped + lines.last.len() as u64)
    }

    /// Changes with every line.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
