//! How many threads a process works with.

use std::num::NonZeroUsize;

/// What part of the machine's cores a process is for.
///
/// Threads that take turns on a core do less between them: docs/performance.md, everything on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// All: somebody waits for each answer, or all services are in the process.
    All,
    /// Half of them, at least one: it works behind the bus, beside others.
    Half,
}

impl Cores {
    /// Threads on a machine with so many `cores`.
    pub(crate) fn threads(self, cores: NonZeroUsize) -> NonZeroUsize {
        match self {
            Self::All => cores,
            Self::Half => NonZeroUsize::new(cores.get() / 2).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

/// Cores that this process may use: the machine's, or what its container is allowed.
pub(crate) fn available() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_thread() {
        for (cores, all, half) in [(1, 1, 1), (2, 2, 1), (3, 3, 1), (8, 8, 4)] {
            let available = NonZeroUsize::new(cores).expect("not zero");
            assert_eq!(Cores::All.threads(available).get(), all, "{cores}");
            assert_eq!(Cores::Half.threads(available).get(), half, "{cores}");
        }
    }
}
