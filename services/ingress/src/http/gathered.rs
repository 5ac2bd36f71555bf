//! The bytes of a body while they come: in memory of the allocator, and in pages of their own once they are many.
//!
//! An allocator keeps what it gets back for a while, and 25 MiB are a fifth of what ingress may take under
//! siege. Pages of one body go back to the kernel with its last [`Bytes`].

use std::io;

use bytes::{Bytes, BytesMut};
use memmap2::MmapMut;
use tocsin_wire::limits::MAX_INLINE_BODY_BYTES;

/// Reserved for a body of unknown length; most webhooks are smaller.
const FIRST_BYTES: usize = 8 * 1024;

/// What has come of a body.
#[derive(Debug)]
pub(super) enum Gathered {
    /// One piece at most, as it came.
    Piece(Bytes),
    /// Several, copied together.
    Joined(BytesMut),
    /// Any number.
    Large(Pages),
}

/// Memory that belongs to one body.
#[derive(Debug)]
pub(super) struct Pages {
    mapping: MmapMut,
    filled: usize,
}

/// A body that was announced as shorter than it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overrun;

impl Gathered {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Piece(piece) => piece.len(),
            Self::Joined(joined) => joined.len(),
            Self::Large(pages) => pages.filled,
        }
    }

    /// Goes on in pages for `most` bytes in all; what is not written takes addresses, but no memory.
    pub(super) fn into_pages(self, most: usize) -> io::Result<Self> {
        let mut pages = Pages {
            mapping: MmapMut::map_anon(most.max(self.len()))?,
            filled: 0,
        };
        // It was made long enough.
        let _fits = pages.push(&self.freeze());
        Ok(Self::Large(pages))
    }

    /// Takes the next piece of a body that is `expected` to be so long.
    pub(super) fn push(&mut self, piece: Bytes, expected: Option<usize>) -> Result<(), Overrun> {
        match self {
            Self::Piece(first) if first.is_empty() => *first = piece,
            Self::Piece(first) => {
                let expected = expected.unwrap_or(FIRST_BYTES).min(MAX_INLINE_BODY_BYTES);
                let needed = first.len() + piece.len();
                let mut joined = BytesMut::with_capacity(expected.max(needed));
                joined.extend_from_slice(first);
                joined.extend_from_slice(&piece);
                *self = Self::Joined(joined);
            }
            Self::Joined(joined) => joined.extend_from_slice(&piece),
            Self::Large(pages) => return pages.push(&piece),
        }
        Ok(())
    }

    pub(super) fn freeze(self) -> Bytes {
        match self {
            Self::Piece(piece) => piece,
            Self::Joined(joined) => joined.freeze(),
            Self::Large(pages) => Bytes::from_owner(pages),
        }
    }
}

impl Default for Gathered {
    fn default() -> Self {
        Self::Piece(Bytes::new())
    }
}

impl Pages {
    fn push(&mut self, piece: &[u8]) -> Result<(), Overrun> {
        let end = self.filled + piece.len();
        let free = self.mapping.get_mut(self.filled..end).ok_or(Overrun)?;
        free.copy_from_slice(piece);
        self.filled = end;
        Ok(())
    }
}

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        self.mapping.get(..self.filled).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_comes_in_pieces_is_whole(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            large_from in 0_usize..25,
            expected in prop::option::of(0_usize..4000),
        ) {
            let whole = pieces.concat();
            let mut gathered = Gathered::default();
            for (number, piece) in pieces.into_iter().enumerate() {
                if number == large_from {
                    gathered = gathered.into_pages(whole.len()).expect("pages");
                }
                gathered.push(piece.into(), expected).expect("it fits");
            }
            prop_assert_eq!(gathered.len(), whole.len());
            prop_assert_eq!(gathered.freeze(), whole);
        }
    }

    #[test]
    fn one_piece_is_not_copied() {
        let piece = Bytes::from(vec![b'x'; 100]);
        let mut gathered = Gathered::default();
        gathered.push(piece.clone(), None).expect("it fits");
        assert_eq!(gathered.freeze().as_ptr(), piece.as_ptr());
    }

    #[test]
    fn nothing_is_written_past_the_end() {
        let mut gathered = Gathered::default();
        gathered
            .push(Bytes::from_static(b"0123"), None)
            .expect("it fits");
        let mut gathered = gathered.into_pages(6).expect("pages");
        let overrun = gathered.push(Bytes::from_static(b"456"), None);
        assert_eq!(overrun, Err(Overrun));
        gathered
            .push(Bytes::from_static(b"45"), None)
            .expect("it fits");
        assert_eq!(gathered.freeze(), "012345");
    }
}
