//! PromQL, as far as it is known here, to a tree.

use super::functions;
use super::lexer::{Token, tokens};
use super::pattern::Pattern;

/// Nesting of a query; a deeper one is refused instead of overflowing the stack.
const MAX_DEPTH: usize = 64;

#[derive(Clone, Debug)]
pub(super) enum Expression {
    Number(f64),
    Selector(Selector),
    Call {
        function: String,
        arguments: Vec<Expression>,
    },
    Aggregate(Box<Aggregate>),
    Binary(Box<Binary>),
    Negate(Box<Expression>),
}

#[derive(Clone, Debug)]
pub(super) struct Selector {
    /// The metric's name is a matcher of `__name__`.
    pub(super) matchers: Vec<Matcher>,
    /// Seconds, of a range selector.
    pub(super) range: Option<f64>,
    pub(super) offset: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Matcher {
    pub(super) label: String,
    pub(super) test: Test,
    pub(super) negated: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Test {
    Equal(String),
    Pattern(Pattern),
}

#[derive(Clone, Debug)]
pub(super) struct Aggregate {
    pub(super) operator: String,
    pub(super) parameter: Option<f64>,
    pub(super) grouping: Grouping,
    pub(super) inner: Expression,
}

/// Which labels count: of a group, or of a match between two vectors.
#[derive(Clone, Debug)]
pub(super) enum Grouping {
    By(Vec<String>),
    Without(Vec<String>),
}

#[derive(Clone, Debug)]
pub(super) struct Binary {
    pub(super) operator: String,
    pub(super) left: Expression,
    pub(super) right: Expression,
    pub(super) matching: Grouping,
    /// `bool`: 0 or 1 instead of a filter.
    pub(super) as_number: bool,
}

pub(super) fn parse(query: &str) -> Result<Expression, String> {
    let tokens = tokens(query)?;
    if tokens.is_empty() {
        return Err("unknown position: parse error: no expression found in input".to_owned());
    }
    let mut parser = Parser {
        tokens,
        at: 0,
        depth: 0,
        end: query.chars().count() + 1,
    };
    let expression = parser.binary(0)?;
    match parser.peek() {
        None => Ok(expression),
        Some(token) => Err(parser.fault(&format!("unexpected {token:?}"))),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
    end: usize,
}

const AGGREGATES: [&str; 7] = ["sum", "avg", "min", "max", "count", "topk", "bottomk"];
const SET_OPERATORS: [&str; 3] = ["and", "or", "unless"];

/// How tightly an operator binds; `^` also binds to the right.
fn strength(operator: &str) -> Option<u8> {
    match operator {
        "or" => Some(1),
        "and" | "unless" => Some(2),
        "==" | "!=" | "<" | ">" | "<=" | ">=" => Some(3),
        "+" | "-" => Some(4),
        "*" | "/" | "%" => Some(5),
        "^" => Some(6),
        _ => None,
    }
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn take_sign(&mut self, sign: &'static str) -> bool {
        let found = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn take_word(&mut self, wanted: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(word)) if word == wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), String> {
        if self.take_sign(sign) {
            Ok(())
        } else {
            Err(self.fault(&format!("expected {sign:?}")))
        }
    }

    fn fault(&self, what: &str) -> String {
        let position = self
            .tokens
            .get(self.at)
            .map_or(self.end, |(position, _)| *position);
        format!("1:{position}: parse error: {what}")
    }

    fn binary(&mut self, least: u8) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.fault("nested too deeply for this stand-in"));
        }
        let mut left = self.unary()?;
        while let Some((operator, strength)) = self.operator().filter(|(_, found)| *found >= least)
        {
            if SET_OPERATORS.contains(&operator.as_str()) {
                return Err(self.fault(&format!("{operator} is not known to this stand-in")));
            }
            self.at += 1;
            let as_number = self.take_word("bool");
            let matching = self.matching()?;
            let right = self.binary(if operator == "^" {
                strength
            } else {
                strength + 1
            })?;
            let binary = Binary {
                operator,
                left,
                right,
                matching,
                as_number,
            };
            left = Expression::Binary(Box::new(binary));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operator(&self) -> Option<(String, u8)> {
        let text = match self.peek()? {
            Token::Sign(sign) => (*sign).to_owned(),
            Token::Word(word) => word.clone(),
            _ => return None,
        };
        strength(&text).map(|strength| (text, strength))
    }

    fn matching(&mut self) -> Result<Grouping, String> {
        let matching = if self.take_word("on") {
            Grouping::By(self.labels()?)
        } else if self.take_word("ignoring") {
            Grouping::Without(self.labels()?)
        } else {
            Grouping::Without(Vec::new())
        };
        if matches!(self.peek(), Some(Token::Word(word)) if word.starts_with("group_")) {
            return Err(self.fault("group_left and group_right are not known to this stand-in"));
        }
        Ok(matching)
    }

    fn unary(&mut self) -> Result<Expression, String> {
        if self.take_sign("-") {
            // Tighter than anything but `^`, as in Prometheus.
            return Ok(Expression::Negate(Box::new(self.binary(6)?)));
        }
        self.take_sign("+");
        let mut expression = self.atom()?;
        if self.take_sign("[") {
            let Some(Token::Duration(seconds)) = self.take() else {
                return Err(self.fault("expected a duration such as 5m"));
            };
            if self.take_sign(":") {
                return Err(self.fault("subqueries are not known to this stand-in"));
            }
            self.expect("]")?;
            match &mut expression {
                Expression::Selector(selector) => selector.range = Some(seconds),
                _ => return Err(self.fault("ranges only allowed for vector selectors")),
            }
        }
        if self.take_word("offset") {
            match (&mut expression, self.take()) {
                (Expression::Selector(selector), Some(Token::Duration(seconds))) => {
                    selector.offset = seconds;
                }
                _ => return Err(self.fault("offset needs a selector before and a duration after")),
            }
        }
        Ok(expression)
    }

    fn atom(&mut self) -> Result<Expression, String> {
        match self.take() {
            Some(Token::Number(number)) => Ok(Expression::Number(number)),
            Some(Token::Sign("(")) => {
                let inner = self.binary(0)?;
                self.expect(")")?;
                Ok(inner)
            }
            Some(Token::Sign("{")) => self.selector(None),
            Some(Token::Word(word)) => self.word(word),
            _ => {
                self.at = self.at.saturating_sub(1);
                Err(self.fault("unexpected end or token: expected an expression"))
            }
        }
    }

    fn word(&mut self, word: String) -> Result<Expression, String> {
        let called = self.peek() == Some(&Token::Sign("("));
        let grouped =
            matches!(self.peek(), Some(Token::Word(next)) if next == "by" || next == "without");
        if AGGREGATES.contains(&word.as_str()) && (called || grouped) {
            return self.aggregate(word);
        }
        if called {
            return self.call(word);
        }
        if self.take_sign("{") {
            return self.selector(Some(word));
        }
        let name = Matcher {
            label: "__name__".to_owned(),
            test: Test::Equal(word),
            negated: false,
        };
        let selector = Selector {
            matchers: vec![name],
            range: None,
            offset: 0.0,
        };
        Ok(Expression::Selector(selector))
    }

    fn call(&mut self, function: String) -> Result<Expression, String> {
        if !functions::known(&function) {
            self.at = self.at.saturating_sub(1);
            return Err(self.fault(&format!(
                "unknown function with name {function:?} (this stand-in knows {})",
                functions::NAMES.join(", ")
            )));
        }
        self.expect("(")?;
        let mut arguments = Vec::new();
        while !self.take_sign(")") {
            arguments.push(self.binary(0)?);
            if !self.take_sign(",") && self.peek() != Some(&Token::Sign(")")) {
                return Err(self.fault("expected \",\" or \")\""));
            }
        }
        Ok(Expression::Call {
            function,
            arguments,
        })
    }

    fn aggregate(&mut self, operator: String) -> Result<Expression, String> {
        let before = self.grouping()?;
        self.expect("(")?;
        let mut inner = self.binary(0)?;
        let mut parameter = None;
        if self.take_sign(",") {
            match inner {
                Expression::Number(number) => parameter = Some(number),
                _ => return Err(self.fault("the first parameter must be a number")),
            }
            inner = self.binary(0)?;
        }
        self.expect(")")?;
        if operator.ends_with('k') != parameter.is_some() {
            return Err(self.fault(&format!("wrong number of arguments for {operator}")));
        }
        let after = if before.is_none() {
            self.grouping()?
        } else {
            None
        };
        let grouping = before.or(after).unwrap_or(Grouping::By(Vec::new()));
        Ok(Expression::Aggregate(Box::new(Aggregate {
            operator,
            parameter,
            grouping,
            inner,
        })))
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, String> {
        if self.take_word("by") {
            return Ok(Some(Grouping::By(self.labels()?)));
        }
        if self.take_word("without") {
            return Ok(Some(Grouping::Without(self.labels()?)));
        }
        Ok(None)
    }

    fn labels(&mut self) -> Result<Vec<String>, String> {
        self.expect("(")?;
        let mut labels = Vec::new();
        while !self.take_sign(")") {
            match self.take() {
                Some(Token::Word(word)) => labels.push(word),
                _ => return Err(self.fault("expected a label name")),
            }
            self.take_sign(",");
        }
        Ok(labels)
    }

    fn selector(&mut self, name: Option<String>) -> Result<Expression, String> {
        let named = |name| Matcher {
            label: "__name__".to_owned(),
            test: Test::Equal(name),
            negated: false,
        };
        let mut matchers: Vec<Matcher> = name.map(named).into_iter().collect();
        while !self.take_sign("}") {
            let Some(Token::Word(label)) = self.take() else {
                return Err(self.fault("expected a label name or \"}\""));
            };
            let Some(Token::Sign(operator @ ("=" | "!=" | "=~" | "!~"))) = self.take() else {
                return Err(self.fault("expected a label matching operator"));
            };
            let Some(Token::Text(value)) = self.take() else {
                return Err(self.fault("expected a quoted label value"));
            };
            let test = if operator.ends_with('~') {
                Test::Pattern(Pattern::parse(&value).map_err(|problem| self.fault(&problem))?)
            } else {
                Test::Equal(value)
            };
            matchers.push(Matcher {
                label,
                test,
                negated: operator.starts_with('!'),
            });
            self.take_sign(",");
        }
        if matchers.is_empty() {
            return Err(self.fault("vector selector must contain at least one matcher"));
        }
        Ok(Expression::Selector(Selector {
            matchers,
            range: None,
            offset: 0.0,
        }))
    }
}
