//! PromQL's tokens.

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Names, keywords, functions and metrics.
    Word(String),
    Number(f64),
    /// `5m` in seconds.
    Duration(f64),
    Text(String),
    /// `(`, `=~`, `<=` …
    Sign(&'static str),
}

/// Longest first, so that `=~` is not read as `=`.
const SIGNS: [&str; 23] = [
    "=~", "!~", "==", "!=", "<=", ">=", "(", ")", "{", "}", "[", "]", ",", "=", "<", ">", "+", "-",
    "*", "/", "%", "^", ":",
];

/// Each token with its position (1-based, in characters), as error messages count.
pub(super) fn tokens(query: &str) -> Result<Vec<(usize, Token)>, String> {
    let letters: Vec<char> = query.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(letter) = letters.get(at).copied() {
        let position = at + 1;
        if letter.is_whitespace() {
            at += 1;
        } else if letter == '#' {
            at += letters
                .iter()
                .skip(at)
                .take_while(|letter| **letter != '\n')
                .count();
        } else if letter == '"' || letter == '\'' || letter == '`' {
            let (text, end) = quoted(&letters, at, letter)
                .ok_or_else(|| format!("1:{position}: parse error: unterminated quoted string"))?;
            tokens.push((position, Token::Text(text)));
            at = end;
        } else if letter.is_ascii_digit() || letter == '.' {
            let word: String = run(&letters, at, |letter| {
                letter.is_ascii_alphanumeric() || letter == '.'
            });
            at += word.chars().count();
            let token = number(&word).ok_or_else(|| {
                format!("1:{position}: parse error: bad number or duration syntax: {word:?}")
            })?;
            tokens.push((position, token));
        } else if letter.is_ascii_alphabetic() || letter == '_' {
            let word = run(&letters, at, |letter| {
                letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'
            });
            at += word.chars().count();
            tokens.push((position, Token::Word(word)));
        } else {
            let rest: String = letters.iter().skip(at).take(2).collect();
            let sign = SIGNS
                .into_iter()
                .find(|sign| rest.starts_with(sign))
                .ok_or_else(|| {
                    format!("1:{position}: parse error: unexpected character: {letter:?}")
                })?;
            tokens.push((position, Token::Sign(sign)));
            at += sign.len();
        }
    }
    Ok(tokens)
}

fn run(letters: &[char], at: usize, accepts: impl Fn(char) -> bool) -> String {
    letters
        .iter()
        .skip(at)
        .copied()
        .take_while(|letter| accepts(*letter))
        .collect()
}

fn number(word: &str) -> Option<Token> {
    word.parse()
        .map(Token::Number)
        .ok()
        .or_else(|| duration(word).map(Token::Duration))
}

/// Seconds of `1h30m`, `500ms`.
pub(super) fn duration(word: &str) -> Option<f64> {
    let mut seconds = 0.0;
    let mut rest = word;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (count, unit_and_more) = rest.split_at_checked(digits)?;
        let units: [(&str, f64); 7] = [
            ("ms", 0.001),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
            ("d", 86_400.0),
            ("w", 604_800.0),
            ("y", 31_536_000.0),
        ];
        let (unit, factor) = units
            .into_iter()
            .find(|(unit, _)| unit_and_more.starts_with(unit))?;
        seconds += count.parse::<f64>().ok()? * factor;
        rest = unit_and_more.get(unit.len()..)?;
    }
    (seconds > 0.0).then_some(seconds)
}

/// The text between quotes, and where it ends. Backquotes take everything as it stands.
fn quoted(letters: &[char], start: usize, quote: char) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut at = start + 1;
    loop {
        let letter = *letters.get(at)?;
        at += 1;
        match letter {
            _ if letter == quote => return Some((text, at)),
            '\\' if quote != '`' => {
                text.push(match *letters.get(at)? {
                    'n' => '\n',
                    't' => '\t',
                    other => other,
                });
                at += 1;
            }
            _ => text.push(letter),
        }
    }
}
