//! Values in the grammar: literals, names with what is taken from them, lists, maps, methods.

use std::ops::Range;

use super::edits::{Class, Edit};
use super::{CONSTANTS, Operand, Parser, RESERVED, Reference};
use crate::builtins::METHODS;
use crate::fault::Fault;
use crate::token::Kind;

impl Parser<'_> {
    pub(super) fn signed(&mut self) -> Operand {
        let start = self.here();
        if self.is_symbol("!") {
            self.replace("(not ");
            self.next += 1;
            self.operation()?;
            let end = self.nested(Self::signed)?.end;
            self.edits.push(Edit {
                at: end..end,
                class: Class::Close,
                text: ")",
                is_hidden: false,
            });
            return Ok(start..end);
        }
        if self.skip_symbol("-") {
            self.operation()?;
            let inner = self.nested(Self::signed)?;
            return Ok(start..inner.end);
        }
        self.primary()?;
        self.postfix(None)?;
        Ok(start..self.end())
    }

    fn primary(&mut self) -> Result<(), Fault> {
        let Some(token) = self.peek() else {
            return Err(self.unexpected("a value"));
        };
        match token.kind {
            Kind::Number | Kind::Text => self.next += 1,
            Kind::Name => return self.name(),
            Kind::Symbol("$") => {
                self.replace("");
                self.next += 1;
                if !self.peek().is_some_and(|token| token.kind == Kind::Name) {
                    return Err(self.unexpected("the name of a value"));
                }
                return self.name();
            }
            Kind::Symbol("${") => return self.braced(),
            Kind::Symbol("(") => return self.list(")"),
            Kind::Symbol("[") => return self.list("]"),
            Kind::Symbol("{") => return self.map(),
            Kind::Symbol(_) => return Err(self.unexpected("a value")),
        }
        Ok(())
    }

    /// `${a.b}` is `a.b`; whatever else stands in the braces gets brackets.
    fn braced(&mut self) -> Result<(), Fault> {
        let opening = self.edits.len();
        self.replace("(");
        self.next += 1;
        let first = self.next;
        self.expression()?;
        if !self.is_symbol("}") {
            return Err(self.unexpected("}"));
        }
        let is_path = self.is_path(first..self.next);
        self.replace(if is_path { "" } else { ")" });
        if is_path && let Some(edit) = self.edits.get_mut(opening) {
            edit.text = "";
        }
        self.next += 1;
        Ok(())
    }

    /// Names with dots between them.
    fn is_path(&self, tokens: Range<usize>) -> bool {
        let tokens = self.tokens.get(tokens).unwrap_or_default();
        let alternates = tokens.iter().enumerate().all(|(index, token)| {
            let wanted = if index % 2 == 0 {
                Kind::Name
            } else {
                Kind::Symbol(".")
            };
            token.kind == wanted
        });
        alternates && tokens.len() % 2 == 1
    }

    fn name(&mut self) -> Result<(), Fault> {
        let Some(token) = self.peek() else {
            return Err(self.unexpected("a name"));
        };
        let name = self.text(token);
        if RESERVED.contains(&name) {
            return Err(self.unexpected("a value"));
        }
        if name == "null" {
            self.replace("none");
        }
        self.next += 1;
        if name == "null" || CONSTANTS.contains(&name) {
            return Ok(());
        }
        if self.is_symbol("(") {
            let problem = format!(
                "there is no function {name}; known are filters, such as title|lower, and methods, such as \
                 title.contains('x')"
            );
            return Err(Fault::new(self.source, token.at.start, problem));
        }
        let reference = Reference {
            path: vec![name.to_owned()],
            at: vec![token.at.start],
        };
        self.postfix(Some(reference))
    }

    /// Accesses and calls. As long as they are literal, they belong to the reference.
    fn postfix(&mut self, mut reference: Option<Reference>) -> Result<(), Fault> {
        loop {
            if self.is_symbol(".") {
                self.next += 1;
                self.operation()?;
                self.member(&mut reference)?;
            } else if self.is_symbol("[") {
                self.operation()?;
                self.subscript(&mut reference)?;
            } else {
                self.references.extend(reference);
                if self.is_symbol("(") {
                    return Err(self.fault("only a method of a value can be called"));
                }
                return Ok(());
            }
        }
    }

    fn member(&mut self, reference: &mut Option<Reference>) -> Result<(), Fault> {
        let Some(token) = self
            .peek()
            .filter(|token| matches!(token.kind, Kind::Name | Kind::Number))
        else {
            return Err(self.unexpected("the name of a member"));
        };
        let name = self.text(token);
        if !name.bytes().all(|byte| byte.is_ascii_digit())
            && self
                .tokens
                .get(self.next + 1)
                .is_some_and(|after| after.kind == Kind::Symbol("("))
        {
            self.references.extend(reference.take());
            self.known_name("method", METHODS)?;
            return self.arguments();
        }
        self.next += 1;
        if let Some(reference) = reference {
            reference.path.push(name.to_owned());
            reference.at.push(token.at.start);
        }
        Ok(())
    }

    fn subscript(&mut self, reference: &mut Option<Reference>) -> Result<(), Fault> {
        let token = self.tokens.get(self.next + 1);
        let after = self.tokens.get(self.next + 2);
        let literal = token
            .filter(|token| token.kind == Kind::Text)
            .filter(|_| after.is_some_and(|after| after.kind == Kind::Symbol("]")))
            .map(|token| (token.at.start, self.text(token)))
            .filter(|(_, text)| !text.contains('\\'));
        if let Some((at, text)) = literal {
            self.next += 3;
            if let Some(reference) = reference {
                let name = text.get(1..text.len() - 1).unwrap_or_default();
                reference.path.push(name.to_owned());
                reference.at.push(at);
            }
            return Ok(());
        }
        self.references.extend(reference.take());
        self.next += 1;
        self.nested(|parser| {
            let start = parser.here();
            // `[1]`, `[1:2]`, `[:2]`, `[::2]`
            let mut parts = 0;
            loop {
                if !parser.is_symbol(":") && !parser.is_symbol("]") {
                    parser.expression()?;
                    parts += 1;
                }
                if !parser.skip_symbol(":") {
                    break;
                }
                parts += 1;
            }
            if parts == 0 {
                return Err(parser.unexpected("an index"));
            }
            parser.expect("]")?;
            Ok(start..parser.end())
        })
        .map(|_| ())
    }

    pub(super) fn arguments(&mut self) -> Result<(), Fault> {
        self.list(")")
    }

    /// Values between brackets, the first of which is next.
    fn list(&mut self, close: &'static str) -> Result<(), Fault> {
        self.next += 1;
        while !self.skip_symbol(close) {
            self.expression()?;
            if !self.skip_symbol(",") {
                return self.expect(close);
            }
        }
        Ok(())
    }

    fn map(&mut self) -> Result<(), Fault> {
        self.next += 1;
        while !self.skip_symbol("}") {
            self.expression()?;
            self.expect(":")?;
            self.expression()?;
            if !self.skip_symbol(",") {
                return self.expect("}");
            }
        }
        Ok(())
    }
}
