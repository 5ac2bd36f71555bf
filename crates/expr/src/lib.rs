//! The one expression language: what teams write in rules, and conditions of flows. Pure.
//!
//! The language is that of minijinja's expressions: `severity in ['high', 'critical'] and 'checkout'
//! in title|lower`. Accepted as well, and brought to it by [`Expression::normalised`]: `$a.b` and
//! `${a.b}` for `a.b`, `&&`, `||`, `!` and `null` for `and`, `or`, `not` and `none`. A name that has
//! no value is an error, never false.
//!
//! An [`Expression`] has been read and its names can be checked ([`Expression::check`]);
//! [`Program::add`] makes it ready to be evaluated any number of times.
//!
//! **Limits.** 4 KiB of source, 32 levels, 250 operations, 32 of them growing (`+ ~ *`), no loops, no
//! repetition of texts, 10,000 steps of the engine. An evaluation takes time in proportion to these
//! and to the length of its values, which are the caller's to bound.

mod builtins;
mod fault;
mod grammar;
mod nearest;
mod program;
mod scope;
mod token;

pub use fault::{Failure, Fault, Position};
pub use grammar::Reference;
pub use nearest::nearest;
pub use program::{Program, Values};
pub use scope::Scope;

/// Longest source, in bytes.
pub const MAX_SOURCE_BYTES: usize = 4 * 1024;

/// An expression that has been read: its form is right, its names are not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    source: String,
    normalised: String,
    executable: String,
    references: Vec<Reference>,
}

impl Expression {
    /// Reads `source`.
    ///
    /// # Errors
    /// Where it breaks the grammar or a limit, and how.
    pub fn parse(source: &str) -> Result<Self, Fault> {
        if source.len() > MAX_SOURCE_BYTES {
            let problem = format!(
                "the expression has {} bytes; at most {MAX_SOURCE_BYTES} are allowed",
                source.len()
            );
            return Err(Fault::new(source, 0, problem));
        }
        let read = grammar::read(source, &token::tokens(source)?)?;
        let expression = Self {
            source: source.to_owned(),
            normalised: read.normalised(source),
            executable: read.executable(source),
            references: read.references,
        };
        // The engine has the last word on what it can run.
        Program::default().add(&expression)?;
        Ok(expression)
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// In the language itself, without older forms. Normalising once more changes nothing.
    #[must_use]
    pub fn normalised(&self) -> &str {
        &self.normalised
    }

    /// The values that it takes from outside, in order, each as often as it is used.
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// Checks that every name it uses is one of `scope`.
    ///
    /// # Errors
    /// The first that is not, where it stands, and the nearest that is.
    pub fn check(&self, scope: &Scope) -> Result<(), Fault> {
        self.references
            .iter()
            .try_for_each(|reference| scope.check(&self.source, reference))
    }
}

#[cfg(test)]
mod tests;
