//! An error with all its causes on one line.

use std::{error::Error, fmt};

/// Prints an error and its sources as `a: b: c`. Log errors through this, once, where they are
/// handled: `error = %ErrorChain(&error)`.
///
/// A source whose text the error above it ends with already (some libraries repeat theirs) is not
/// printed twice.
#[derive(Clone, Copy)]
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = self.0.to_string();
        formatter.write_str(&printed)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            let text = error.to_string();
            if !printed.ends_with(&text) {
                write!(formatter, ": {text}")?;
                printed = text;
            }
            next = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for ErrorChain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        #[source]
        source: Option<Box<Self>>,
    }

    fn chain(texts: &[&'static str]) -> Link {
        let (text, rest) = texts.split_first().expect("at least one");
        let source = (!rest.is_empty()).then(|| Box::new(chain(rest)));
        Link { text, source }
    }

    #[test]
    fn causes_are_joined_and_never_repeated() {
        for (texts, expected) in [
            (vec!["a"], "a"),
            (vec!["a", "b", "c"], "a: b: c"),
            (vec!["read: gone", "gone", "disk"], "read: gone: disk"),
        ] {
            assert_eq!(ErrorChain(&chain(&texts)).to_string(), expected);
        }
    }
}
