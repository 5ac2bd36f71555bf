//! Reading what a stream has kept: from a time or a sequence on, by subject, page by page, verified.

use jiff::Timestamp;
use serde_json::json;

use crate::connect::Bus;
use crate::dead_letter::chain;
use crate::error::BusError;
use crate::message::Stored;

/// Most messages of one page; with [`PAGE_BYTES`] it bounds what a reader holds.
const MAX_PAGE: usize = 500;

/// Bytes of one page, as the server counts them.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// At this sequence, or the next one that is there.
    Sequence(u64),
    /// At the first message that was stored then or later.
    Time(Timestamp),
}

/// Some messages of a stream, oldest first.
#[derive(Debug)]
pub struct Page {
    /// Those whose signature held.
    pub messages: Vec<Stored>,
    /// Sequences of those that cannot be trusted or decoded.
    pub untrusted: Vec<u64>,
    /// Where the next page begins: what is stored later is there as well.
    pub next: ReadFrom,
    /// The stream had more than this by then.
    pub has_more: bool,
}

impl Bus {
    /// The next page of messages of `stream` whose subject matches `filter`, which may have wildcards:
    /// `most` of them, and no more than 500.
    ///
    /// # Errors
    /// When the server refuses or does not answer. A message that cannot be trusted is none: it is
    /// counted, so that one bad message does not hide the others.
    pub async fn read_back(
        &self,
        stream: &str,
        filter: &str,
        from: ReadFrom,
        most: usize,
    ) -> Result<Page, BusError> {
        let mut request = json!({
            "batch": most.clamp(1, MAX_PAGE), "max_bytes": PAGE_BYTES, "next_by_subj": filter,
        });
        let (field, value) = match from {
            ReadFrom::Sequence(sequence) => ("seq", json!(sequence.max(1))),
            ReadFrom::Time(time) => ("start_time", json!(time.to_string())),
        };
        if let Some(fields) = request.as_object_mut() {
            fields.insert(field.to_owned(), value);
        }
        let (found, is_cut) = self.direct_batch(stream, &request).await?;
        let mut page = Page {
            messages: Vec::new(),
            untrusted: Vec::new(),
            next: from,
            has_more: is_cut,
        };
        for found in found {
            let sequence = found.sequence;
            page.next = ReadFrom::Sequence(sequence.saturating_add(1));
            match self.open_found(found).await {
                Ok(stored) => page.messages.push(stored),
                Err(error) => {
                    let reason = chain(&error);
                    tracing::warn!(
                        stream,
                        sequence,
                        reason,
                        "a stored message cannot be trusted; left out"
                    );
                    page.untrusted.push(sequence);
                }
            }
        }
        Ok(page)
    }
}
