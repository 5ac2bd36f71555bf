//! The grammar: which operations an expression makes and which names it uses, and how its older
//! forms are written in the language of the engine. Pure.
//!
//! ```text
//! expression = or [ "if" or [ "else" expression ] ]
//! or         = and { ("or" | "||") and }            and = not { ("and" | "&&") not }
//! not        = "not" not | compare
//! compare    = sum { ("==" | "!=" | "<" | "<=" | ">" | ">=" | ["not"] "in") sum }
//! sum        = join { ("+" | "-") join }            join = product { "~" product }
//! product    = power { ("*" | "/" | "//" | "%") power }
//! power      = filtered { "**" filtered }
//! filtered   = signed { "|" name [arguments] | "is" ["not"] name [arguments | signed] }
//! signed     = ("-" | "!") signed | primary { "." name | "." digits | "[" … "]" | arguments }
//! primary    = name | "$" name | "${" expression "}" | number | text
//!            | "(" … ")" | "[" … "]" | "{" … "}"
//! ```

mod edits;
mod value;

use std::ops::Range;

use self::edits::{Class, Edit, edited};
use crate::builtins::{FILTERS, TESTS};
use crate::fault::Fault;
use crate::token::{Kind, Token};

/// Brackets, conditions and signs inside each other. The parsers are recursive: this keeps them on
/// the stack of any thread.
pub(crate) const MAX_NESTING: usize = 32;

/// Operators, accesses, calls and filters in one expression.
pub(crate) const MAX_OPERATIONS: usize = 250;

/// Operations whose result may be longer than what goes in: with bounded values, this bounds memory.
pub(crate) const MAX_GROWING: usize = 32;

/// Words that are no names of values.
const RESERVED: &[&str] = &["and", "or", "not", "in", "is", "if", "else"];

/// Words that are values; `null` is how others write `none`.
const CONSTANTS: &[&str] = &["true", "false", "none", "True", "False", "None"];

/// A value that an expression takes from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `["actor", "name"]` for `actor.name` and for `actor["name"]`.
    pub path: Vec<String>,
    /// Byte of the source at which each name begins.
    pub(crate) at: Vec<usize>,
}

/// What the grammar found.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) references: Vec<Reference>,
    edits: Vec<Edit>,
}

struct Parser<'a> {
    source: &'a str,
    tokens: &'a [Token],
    next: usize,
    depth: usize,
    operations: usize,
    growing: usize,
    references: Vec<Reference>,
    edits: Vec<Edit>,
}

/// The bytes of an operand.
type Operand = Result<Range<usize>, Fault>;

/// Reads the whole of `tokens`.
pub(crate) fn read(source: &str, tokens: &[Token]) -> Result<Read, Fault> {
    let mut parser = Parser {
        source,
        tokens,
        next: 0,
        depth: 0,
        operations: 0,
        growing: 0,
        references: Vec::new(),
        edits: Vec::new(),
    };
    if tokens.is_empty() {
        return Err(Fault::new(source, 0, "an expression is needed"));
    }
    parser.expression()?;
    if parser.peek().is_some() {
        return Err(parser.unexpected("the end, or an operator such as and, or, =="));
    }
    Ok(Read {
        references: parser.references,
        edits: parser.edits,
    })
}

impl Read {
    /// The source in its normal form: `&&` is `and`, `$a.b` and `${a.b}` are `a.b`.
    pub(crate) fn normalised(&self, source: &str) -> String {
        edited(source, self.edits.iter().filter(|edit| !edit.is_hidden))
    }

    /// As the engine gets it: also without `*`, which would repeat texts a million times.
    pub(crate) fn executable(&self, source: &str) -> String {
        edited(source, self.edits.iter())
    }
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.next)
    }

    fn text(&self, token: &Token) -> &'a str {
        self.source.get(token.at.clone()).unwrap_or_default()
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Some(Token { kind: Kind::Symbol(found), .. }) if *found == symbol)
    }

    fn is_word(&self, word: &str) -> bool {
        self.peek()
            .is_some_and(|token| token.kind == Kind::Name && self.text(token) == word)
    }

    fn skip_symbol(&mut self, symbol: &str) -> bool {
        let is_there = self.is_symbol(symbol);
        self.next += usize::from(is_there);
        is_there
    }

    fn skip_word(&mut self, word: &str) -> bool {
        let is_there = self.is_word(word);
        self.next += usize::from(is_there);
        is_there
    }

    /// The byte at which the next token begins.
    fn here(&self) -> usize {
        self.peek()
            .map_or(self.source.trim_end().len(), |token| token.at.start)
    }

    /// The byte at which the last token ended.
    fn end(&self) -> usize {
        let last = self
            .next
            .checked_sub(1)
            .and_then(|last| self.tokens.get(last));
        last.map_or(0, |token| token.at.end)
    }

    fn fault(&self, problem: impl Into<String>) -> Fault {
        Fault::new(self.source, self.here(), problem)
    }

    fn unexpected(&self, expected: &str) -> Fault {
        match self.peek() {
            None => self.fault(format!("the expression ends where {expected} is needed")),
            Some(token) => {
                let hint = match token.kind {
                    Kind::Symbol("=") => "; two values are compared with ==",
                    _ => "",
                };
                let found = self.text(token);
                self.fault(format!("{found} stands where {expected} is needed{hint}"))
            }
        }
    }

    fn expect(&mut self, symbol: &'static str) -> Result<(), Fault> {
        if self.skip_symbol(symbol) {
            return Ok(());
        }
        Err(self.unexpected(symbol))
    }

    fn operation(&mut self) -> Result<(), Fault> {
        self.operations += 1;
        if self.operations > MAX_OPERATIONS {
            let problem = format!(
                "the expression has more than {MAX_OPERATIONS} operations; `x in [a, b, c]` is one"
            );
            return Err(self.fault(problem));
        }
        Ok(())
    }

    fn growing(&mut self) -> Result<(), Fault> {
        self.growing += 1;
        if self.growing > MAX_GROWING {
            let problem = format!("the expression has more than {MAX_GROWING} of + ~ *");
            return Err(self.fault(problem));
        }
        Ok(())
    }

    fn nested(&mut self, inner: impl FnOnce(&mut Self) -> Operand) -> Operand {
        if self.depth == MAX_NESTING {
            let problem = format!("more than {MAX_NESTING} levels inside each other");
            return Err(self.fault(problem));
        }
        self.depth += 1;
        let found = inner(self);
        self.depth -= 1;
        found
    }

    fn replace(&mut self, text: &'static str) {
        if let Some(token) = self.peek() {
            let at = token.at.clone();
            self.edits.push(Edit {
                at,
                class: Class::Replace,
                text,
                is_hidden: false,
            });
        }
    }

    fn expression(&mut self) -> Operand {
        self.nested(|parser| {
            let start = parser.or()?.start;
            while parser.skip_word("if") {
                parser.operation()?;
                parser.or()?;
                if parser.skip_word("else") {
                    parser.expression()?;
                }
            }
            Ok(start..parser.end())
        })
    }

    fn or(&mut self) -> Operand {
        self.words(("or", "||"), |parser| {
            parser.words(("and", "&&"), Self::not)
        })
    }

    /// `operand`, and more of them after a word or after how others write it.
    fn words(
        &mut self,
        (word, symbol): (&'static str, &str),
        operand: impl Fn(&mut Self) -> Operand,
    ) -> Operand {
        let start = operand(self)?.start;
        loop {
            if self.is_symbol(symbol) {
                self.replace(word);
            } else if !self.is_word(word) {
                return Ok(start..self.end());
            }
            self.next += 1;
            self.operation()?;
            operand(self)?;
        }
    }

    fn not(&mut self) -> Operand {
        if !self.is_word("not") {
            return self.compare();
        }
        let start = self.here();
        self.next += 1;
        self.operation()?;
        let inner = self.nested(Self::not)?;
        Ok(start..inner.end)
    }

    fn compare(&mut self) -> Operand {
        let start = self.sum()?.start;
        loop {
            let is_symbol = ["==", "!=", "<=", ">=", "<", ">"]
                .into_iter()
                .any(|symbol| self.skip_symbol(symbol));
            if !is_symbol && !self.skip_word("in") {
                if !self.skip_word("not") {
                    return Ok(start..self.end());
                }
                if !self.skip_word("in") {
                    return Err(self.unexpected("in"));
                }
            }
            self.operation()?;
            self.sum()?;
        }
    }

    fn sum(&mut self) -> Operand {
        self.symbols(&["+", "-"], |parser| {
            parser.symbols(&["~"], |parser| {
                parser.symbols(&["*", "/", "//", "%"], |parser| {
                    parser.symbols(&["**"], Self::filtered)
                })
            })
        })
    }

    fn symbols(
        &mut self,
        symbols: &[&'static str],
        operand: impl Fn(&mut Self) -> Operand,
    ) -> Operand {
        let start = operand(self)?.start;
        loop {
            let at = self.next;
            let Some(symbol) = symbols
                .iter()
                .copied()
                .find(|symbol| self.skip_symbol(symbol))
            else {
                return Ok(start..self.end());
            };
            self.operation()?;
            if matches!(symbol, "+" | "~" | "*") {
                self.growing()?;
            }
            let right = operand(self)?;
            if symbol == "*" {
                self.product(start, at, right.end);
            }
        }
    }

    /// `a * b` is `product(a, b)` for the engine.
    fn product(&mut self, start: usize, operator: usize, end: usize) {
        let Some(operator) = self.tokens.get(operator) else {
            return;
        };
        for (at, class, text) in [
            (start..start, Class::Open, "product("),
            (operator.at.clone(), Class::Replace, ","),
            (end..end, Class::Close, ")"),
        ] {
            self.edits.push(Edit {
                at,
                class,
                text,
                is_hidden: true,
            });
        }
    }

    fn filtered(&mut self) -> Operand {
        let start = self.signed()?.start;
        loop {
            if self.skip_symbol("|") {
                self.operation()?;
                self.known_name("filter", FILTERS)?;
                if self.is_symbol("(") {
                    self.arguments()?;
                }
            } else if self.skip_word("is") {
                self.operation()?;
                self.skip_word("not");
                self.known_name("test", TESTS)?;
                if self.is_symbol("(") {
                    self.arguments()?;
                } else if self.begins_a_test_argument() {
                    self.signed()?;
                }
            } else {
                return Ok(start..self.end());
            }
        }
    }

    /// `is startingwith 'x'`: as the engine decides it.
    fn begins_a_test_argument(&self) -> bool {
        match self.peek() {
            Some(Token {
                kind: Kind::Number | Kind::Text | Kind::Symbol("[" | "{" | "-"),
                ..
            }) => true,
            Some(token) if token.kind == Kind::Name => !RESERVED.contains(&self.text(token)),
            _ => false,
        }
    }

    fn known_name(&mut self, what: &str, known: &[&str]) -> Result<(), Fault> {
        let Some(token) = self.peek().filter(|token| token.kind == Kind::Name) else {
            return Err(self.unexpected(&format!("the name of a {what}")));
        };
        let name = self.text(token);
        if !known.contains(&name) {
            let place = (self.source, token.at.start);
            return Err(Fault::unknown(place, what, name, known.iter().copied()));
        }
        self.next += 1;
        Ok(())
    }
}
