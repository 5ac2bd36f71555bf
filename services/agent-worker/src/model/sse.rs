//! Server-sent events: bytes in, data out.

/// One event may not grow without limit: the largest are tool arguments in one piece.
const MAX_EVENT: usize = 4 * 1024 * 1024;

/// Collects lines into events. Only `data` matters here; comments and other fields are skipped.
#[derive(Debug, Default)]
pub(super) struct SseReader {
    /// The unfinished line.
    line: Vec<u8>,
    /// Data lines of the unfinished event.
    data: String,
    has_data: bool,
    /// The last byte was a carriage return: a line feed after it is part of the same line end.
    after_return: bool,
}

/// An event or a line over the limit.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is over {MAX_EVENT} bytes")]
pub(super) struct TooLong;

impl SseReader {
    /// Takes in the next bytes; the data of every event that they complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLong> {
        let mut events = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' | b'\r' => {
                    self.after_return = *byte == b'\r';
                    self.end_line(&mut events);
                }
                _ => {
                    self.after_return = false;
                    self.line.push(*byte);
                }
            }
            if self.line.len() + self.data.len() > MAX_EVENT {
                return Err(TooLong);
            }
        }
        Ok(events)
    }

    /// The last event, when the stream ended without the empty line after it.
    pub(super) fn finish(&mut self) -> Option<String> {
        let mut events = Vec::new();
        if !self.line.is_empty() {
            self.end_line(&mut events);
        }
        self.end_event(&mut events);
        events.pop()
    }

    fn end_line(&mut self, events: &mut Vec<String>) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            self.end_event(events);
            return;
        }
        let line = String::from_utf8_lossy(&line);
        if let Some(data) = line.strip_prefix("data:") {
            if self.has_data {
                self.data.push('\n');
            }
            self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            self.has_data = true;
        }
    }

    fn end_event(&mut self, events: &mut Vec<String>) {
        if std::mem::take(&mut self.has_data) {
            events.push(std::mem::take(&mut self.data));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = ": hello\r\ndata: {\"a\":1}\r\n\r\nevent: x\ndata:two\ndata: lines\n\ndata: ünï\r\rdata: last";
    const EVENTS: [&str; 4] = ["{\"a\":1}", "two\nlines", "ünï", "last"];

    proptest! {
        /// However the network cuts the stream, the events are the same.
        #[test]
        fn events_do_not_depend_on_the_cuts(sizes in prop::collection::vec(1_usize..7, 1..80)) {
            let mut reader = SseReader::default();
            let (mut rest, mut events) = (STREAM.as_bytes(), Vec::new());
            for size in sizes.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at(size.min(rest.len()));
                events.extend(reader.push(now).expect("short"));
                rest = later;
            }
            events.extend(reader.finish());
            prop_assert_eq!(events, EVENTS);
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut reader = SseReader::default();
        let chunk = vec![b'x'; MAX_EVENT / 4 + 1];
        let outcomes: Vec<bool> = (0..5).map(|_| reader.push(&chunk).is_ok()).collect();
        assert_eq!(outcomes.last(), Some(&false));
    }
}
