//! Raw bodies outside of their events: what they are called, and whether what was read is what came.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::proto::StoredBody;
use crate::signing::hex;
use crate::source::MAX_BODY_BYTES;

/// Object store of the raw bodies.
pub const BODIES: &str = "bodies";

/// An object younger than this is not written again. With the 7 days of an event it stays below the 8 of an
/// object, so the object outlives the event that found it, one that was put aside for hours too.
pub const REUSE_WINDOW: Duration = Duration::from_secs(12 * 60 * 60);

/// Why a body is not the one that an event names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongBody {
    /// The event names what no event of ours does.
    #[error(
        "the event names object {object:?} with a hash of {hash_bytes} bytes; an object is called by its SHA-256 in hex"
    )]
    NoName {
        /// As the event has it.
        object: String,
        /// As the event has it.
        hash_bytes: usize,
    },
    /// More than any source may send.
    #[error("the event names a body of {size} bytes; none has more than {MAX_BODY_BYTES}")]
    TooLarge {
        /// As the event has it.
        size: u64,
    },
    /// Cut, or another.
    #[error(
        "object {object} has {found} bytes where the event has {expected}; it was changed or cut"
    )]
    Size {
        /// Name of the object.
        object: String,
        /// Bytes by the event.
        expected: u64,
        /// Bytes read.
        found: usize,
    },
    /// Another.
    #[error("object {object} does not have the SHA-256 of the event that names it; it was changed")]
    Hash {
        /// Name of the object.
        object: String,
    },
}

impl StoredBody {
    /// Where `body` lies, or shall lie. Hashes it: some 15 ms for 25 MiB.
    pub fn of(body: &[u8]) -> Self {
        let sha256 = Sha256::digest(body);
        Self {
            store: BODIES.to_owned(),
            object: hex(&sha256),
            size: body.len() as u64,
            sha256: sha256.to_vec().into(),
        }
    }

    /// Before it is read: whether it can be an object of ours.
    ///
    /// # Errors
    /// When its name is not that of its hash, or it is larger than any body.
    pub fn check_name(&self) -> Result<(), WrongBody> {
        if self.sha256.len() != 32 || self.object != hex(&self.sha256) {
            return Err(WrongBody::NoName {
                object: self.object.clone(),
                hash_bytes: self.sha256.len(),
            });
        }
        if self.size > u64::from(MAX_BODY_BYTES) {
            return Err(WrongBody::TooLarge { size: self.size });
        }
        Ok(())
    }

    /// Whether `body` is what the event names.
    ///
    /// # Errors
    /// When it is another, or cut.
    pub fn check(&self, body: &[u8]) -> Result<(), WrongBody> {
        self.check_name()?;
        let object = self.object.clone();
        if body.len() as u64 != self.size {
            return Err(WrongBody::Size {
                object,
                expected: self.size,
                found: body.len(),
            });
        }
        if Sha256::digest(body).as_slice() != self.sha256 {
            return Err(WrongBody::Hash { object });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::{object_store, stream};

    #[test]
    fn a_body_is_called_by_its_hash_and_no_other_passes_for_it() {
        let stored = StoredBody::of(b"abc");
        assert_eq!(
            stored.object,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!((stored.store.as_str(), stored.size), (BODIES, 3));
        assert_eq!(stored.check(b"abc"), Ok(()));
        assert_eq!(stored, StoredBody::of(b"abc"));
        let renamed = StoredBody {
            object: "another".to_owned(),
            ..stored.clone()
        };
        let huge = StoredBody {
            size: u64::from(MAX_BODY_BYTES) + 1,
            ..stored.clone()
        };
        for (case, stored, body, expected) in [
            ("changed", &stored, "abd", "was changed"),
            ("cut", &stored, "ab", "3; it was changed or cut"),
            ("renamed", &renamed, "abc", "called by its SHA-256"),
            ("huge", &huge, "abc", "none has more"),
            ("empty", &StoredBody::default(), "", "called by its SHA-256"),
        ] {
            let error = stored.check(body.as_bytes()).expect_err(case).to_string();
            assert!(error.contains(expected), "{case}: {error}");
        }
    }

    #[test]
    fn an_object_outlives_every_event_that_names_it() {
        let bodies = object_store(BODIES).expect("in the table");
        for name in ["EVENTS", "DEFERRED"] {
            let events = stream(name).expect("in the table");
            assert!(
                bodies.max_age >= events.max_age + 2 * REUSE_WINDOW,
                "{name}"
            );
        }
    }
}
