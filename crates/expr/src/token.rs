//! The words of an expression. Pure.

use std::ops::Range;

use crate::fault::Fault;

/// Longest first, so that `==` is not read as two `=`.
const SYMBOLS: &[&str] = &[
    "&&", "||", "**", "//", "==", "!=", "<=", ">=", "${", "$", "!", "<", ">", "+", "-", "*", "/",
    "%", "~", "|", ".", ",", ":", "=", "(", ")", "[", "]", "{", "}",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Name,
    Number,
    /// With its quotes.
    Text,
    Symbol(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Bytes of the source.
    pub(crate) at: Range<usize>,
}

/// Splits `source`; white space ends a word and means nothing else.
pub(crate) fn tokens(source: &str) -> Result<Vec<Token>, Fault> {
    let mut found: Vec<Token> = Vec::new();
    let mut at = 0;
    while let Some(rest) = source.get(at..) {
        let Some(first) = rest.chars().next() else {
            break;
        };
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let after_dot = found
            .last()
            .is_some_and(|last| last.kind == Kind::Symbol("."));
        let (kind, length) = word(source, at, rest, first, after_dot)?;
        found.push(Token {
            kind,
            at: at..at + length,
        });
        at += length;
    }
    Ok(found)
}

fn word(
    source: &str,
    at: usize,
    rest: &str,
    first: char,
    after_dot: bool,
) -> Result<(Kind, usize), Fault> {
    if is_name_start(first) {
        let length = rest.find(|next| !is_name(next)).unwrap_or(rest.len());
        return Ok((Kind::Name, length));
    }
    if first.is_ascii_digit() {
        let length = number(rest, after_dot);
        let next = rest.get(length..).and_then(|rest| rest.chars().next());
        if next.is_some_and(is_name) {
            let problem = "a number ends where a name begins; put a space or an operator between";
            return Err(Fault::new(source, at + length, problem));
        }
        return Ok((Kind::Number, length));
    }
    if first == '"' || first == '\'' {
        return match end_of_text(rest, first) {
            Some(length) => Ok((Kind::Text, length)),
            None => Err(Fault::new(
                source,
                at,
                format!("the text that begins here has no closing {first}"),
            )),
        };
    }
    let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
    match symbol {
        Some(symbol) => Ok((Kind::Symbol(symbol), symbol.len())),
        None => Err(Fault::new(
            source,
            at,
            format!("{first:?} means nothing here"),
        )),
    }
}

fn is_name_start(letter: char) -> bool {
    letter.is_ascii_alphabetic() || letter == '_'
}

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// `12`, `12.5`, `1e9`; after a dot only digits, because `a.1.0` is a path.
fn number(rest: &str, after_dot: bool) -> usize {
    let digits = |from: usize| {
        let rest = rest.get(from..).unwrap_or_default();
        rest.find(|digit: char| !digit.is_ascii_digit())
            .unwrap_or(rest.len())
    };
    let mut length = digits(0);
    if after_dot {
        return length;
    }
    if rest.get(length..).is_some_and(|rest| rest.starts_with('.')) && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    if rest
        .get(length..)
        .is_some_and(|rest| rest.starts_with(['e', 'E']))
    {
        let signed = rest
            .get(length + 1..)
            .is_some_and(|rest| rest.starts_with(['+', '-']));
        let power = length + 1 + usize::from(signed);
        if digits(power) > 0 {
            length = power + digits(power);
        }
    }
    length
}

fn end_of_text(rest: &str, quote: char) -> Option<usize> {
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        if letter == quote {
            return Some(at + quote.len_utf8());
        }
        if letter == '\\' {
            letters.next();
        }
    }
    None
}
