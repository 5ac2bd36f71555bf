//! The regular expressions of label matchers: anchored at both ends, over literals, `.`, classes,
//! groups, `|`, `*`, `+` and `?`.

/// Steps of one match; a pattern that needs more matches nothing rather than hang the server.
const FUEL: u32 = 100_000;

#[derive(Clone, Debug)]
pub(super) struct Pattern(Node);

#[derive(Clone, Debug)]
enum Node {
    Any,
    Literal(char),
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    Sequence(Vec<Node>),
    Either(Vec<Node>),
    Repeat {
        node: Box<Node>,
        least: u32,
        once: bool,
    },
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Pattern, String> {
        let letters: Vec<char> = text.chars().collect();
        let mut parser = Parser {
            letters: &letters,
            at: 0,
        };
        let node = parser.either()?;
        match parser.peek() {
            None => Ok(Pattern(node)),
            Some(letter) => Err(format!("unexpected {letter:?} in pattern {text:?}")),
        }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let letters: Vec<char> = text.chars().collect();
        let mut fuel = FUEL;
        step(&self.0, &letters, &mut fuel, &mut |rest, _| rest.is_empty())
    }
}

type Next<'n> = &'n mut dyn FnMut(&[char], &mut u32) -> bool;

fn step(node: &Node, text: &[char], fuel: &mut u32, next: Next<'_>) -> bool {
    let Some(left) = fuel.checked_sub(1) else {
        return false;
    };
    *fuel = left;
    let mut one = |accepts: &dyn Fn(char) -> bool, fuel: &mut u32| match text.split_first() {
        Some((letter, rest)) if accepts(*letter) => next(rest, fuel),
        _ => false,
    };
    match node {
        Node::Any => one(&|_| true, fuel),
        Node::Literal(wanted) => one(&|letter| letter == *wanted, fuel),
        Node::Class { negated, ranges } => {
            let inside = |letter| {
                ranges
                    .iter()
                    .any(|(low, high)| (*low..=*high).contains(&letter))
            };
            one(&|letter| inside(letter) != *negated, fuel)
        }
        Node::Sequence(nodes) => sequence(nodes, text, fuel, next),
        Node::Either(nodes) => nodes.iter().any(|node| step(node, text, fuel, next)),
        Node::Repeat { node, least, once } => repeat(node, *least, *once, text, fuel, next),
    }
}

fn sequence(nodes: &[Node], text: &[char], fuel: &mut u32, next: Next<'_>) -> bool {
    match nodes.split_first() {
        None => next(text, fuel),
        Some((first, others)) => step(first, text, fuel, &mut |rest, fuel| {
            sequence(others, rest, fuel, next)
        }),
    }
}

fn repeat(
    node: &Node,
    least: u32,
    once: bool,
    text: &[char],
    fuel: &mut u32,
    next: Next<'_>,
) -> bool {
    let more = step(node, text, fuel, &mut |rest, fuel| {
        // A round that takes nothing would repeat for ever.
        rest.len() < text.len()
            && if once {
                next(rest, fuel)
            } else {
                repeat(node, 0, once, rest, fuel, next)
            }
    });
    more || (least == 0 && next(text, fuel))
}

struct Parser<'p> {
    letters: &'p [char],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }

    fn take(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += 1;
        Some(letter)
    }

    fn either(&mut self) -> Result<Node, String> {
        let mut branches = vec![self.sequence()?];
        while self.peek() == Some('|') {
            self.at += 1;
            branches.push(self.sequence()?);
        }
        Ok(Node::Either(branches))
    }

    fn sequence(&mut self) -> Result<Node, String> {
        let mut nodes = Vec::new();
        while let Some(letter) = self.peek().filter(|letter| !matches!(letter, '|' | ')')) {
            self.at += 1;
            let node = self.atom(letter)?;
            nodes.push(self.repeated(node));
        }
        Ok(Node::Sequence(nodes))
    }

    fn repeated(&mut self, node: Node) -> Node {
        let (least, once) = match self.peek() {
            Some('*') => (0, false),
            Some('+') => (1, false),
            Some('?') => (0, true),
            _ => return node,
        };
        self.at += 1;
        Node::Repeat {
            node: Box::new(node),
            least,
            once,
        }
    }

    fn atom(&mut self, letter: char) -> Result<Node, String> {
        match letter {
            '.' => Ok(Node::Any),
            // Matchers are anchored anyway.
            '^' | '$' => Ok(Node::Sequence(Vec::new())),
            '[' => self.class(),
            '\\' => self.escaped(),
            '(' => {
                if self.peek() == Some('?') {
                    self.at += 1;
                    if self.take() != Some(':') {
                        return Err("only (?:…) groups are known here".to_owned());
                    }
                }
                let inner = self.either()?;
                match self.take() {
                    Some(')') => Ok(inner),
                    _ => Err("missing closing )".to_owned()),
                }
            }
            '*' | '+' | '?' => Err(format!("missing argument to repetition operator {letter}")),
            '{' | '}' => Err("counted repetition is not known here".to_owned()),
            _ => Ok(Node::Literal(letter)),
        }
    }

    fn escaped(&mut self) -> Result<Node, String> {
        let word = vec![('a', 'z'), ('A', 'Z'), ('0', '9'), ('_', '_')];
        let digit = vec![('0', '9')];
        match self.take() {
            Some('d') => Ok(Node::Class {
                negated: false,
                ranges: digit,
            }),
            Some('D') => Ok(Node::Class {
                negated: true,
                ranges: digit,
            }),
            Some('w') => Ok(Node::Class {
                negated: false,
                ranges: word,
            }),
            Some('W') => Ok(Node::Class {
                negated: true,
                ranges: word,
            }),
            Some(letter) if !letter.is_alphanumeric() => Ok(Node::Literal(letter)),
            Some(letter) => Err(format!("escape \\{letter} is not known here")),
            None => Err("trailing backslash".to_owned()),
        }
    }

    fn class(&mut self) -> Result<Node, String> {
        let negated = self.peek() == Some('^');
        if negated {
            self.at += 1;
        }
        let mut ranges = Vec::new();
        loop {
            match self.take() {
                None => return Err("missing closing ]".to_owned()),
                Some(']') if !ranges.is_empty() => return Ok(Node::Class { negated, ranges }),
                Some(low) => {
                    let range = self.peek() == Some('-')
                        && self
                            .letters
                            .get(self.at + 1)
                            .is_some_and(|letter| *letter != ']');
                    if range {
                        self.at += 1;
                    }
                    let high = if range {
                        self.take().unwrap_or(low)
                    } else {
                        low
                    };
                    ranges.push((low, high));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn patterns_match_as_in_prometheus() {
        let cases = [
            ("5..", "503", true),
            ("5..", "5031", false),
            ("a|bc|", "bc", true),
            ("a|bc|", "", true),
            ("checkout-.*", "checkout-api", true),
            ("(check|pay).+s", "payments", true),
            ("[^45]..", "200", true),
            ("[45]..", "200", false),
            (r"v\d+\.4\d\.0", "v2.41.0", true),
            ("(a*)*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(
                Pattern::parse(pattern).unwrap().matches(text),
                expected,
                "{pattern} {text}"
            );
        }
        assert!(Pattern::parse("(a").is_err());
        assert!(Pattern::parse("*a").is_err());
    }
}
