//! What is wrong with an expression, for the person who wrote it.

use std::fmt;

/// A place in a source, counted from 1 in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Character of the line.
    pub column: usize,
}

impl Position {
    pub(crate) fn of(source: &str, byte: usize) -> Self {
        let before = source.get(..byte).unwrap_or(source);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        Self { line, column }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            1 => write!(formatter, "column {}", self.column),
            line => write!(formatter, "line {line}, column {}", self.column),
        }
    }
}

/// An expression that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {problem}")]
pub struct Fault {
    /// Where it shows.
    pub position: Position,
    /// What is wrong there and what would be right; a sentence without its full stop.
    pub problem: String,
    /// The known name that was probably meant, when a name is unknown.
    pub suggestion: Option<String>,
}

impl Fault {
    pub(crate) fn new(source: &str, byte: usize, problem: impl Into<String>) -> Self {
        Self {
            position: Position::of(source, byte),
            problem: problem.into(),
            suggestion: None,
        }
    }

    /// `name` is none of `known`; the nearest of them is proposed.
    pub(crate) fn unknown<'a>(
        (source, byte): (&str, usize),
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) -> Self {
        let suggestion = crate::nearest(name, known.clone()).map(str::to_owned);
        let problem = match &suggestion {
            Some(meant) => format!("there is no {what} {name}; did you mean {meant}?"),
            None => {
                let known: Vec<&str> = known.collect();
                format!("there is no {what} {name}; known are {}", known.join(", "))
            }
        };
        Self {
            suggestion,
            ..Self::new(source, byte, problem)
        }
    }
}

/// An expression that was sound and could not be evaluated over these values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Failure {
    /// What went wrong, with the operation and the kinds of values; a sentence without its full stop.
    pub problem: String,
}
