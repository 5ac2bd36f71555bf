//! What expressions may call. None of it makes more than a bounded text out of what it is given, and
//! none takes longer than its input is long: the engine's own filters do not promise that.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, State, Value, filters, tests};

/// After `|`.
pub(crate) const FILTERS: &[&str] = &[
    "abs", "default", "first", "float", "int", "join", "last", "length", "lower", "replace",
    "round", "split", "string", "trim", "upper",
];

/// After `is`.
pub(crate) const TESTS: &[&str] = &[
    "containing",
    "defined",
    "endingwith",
    "none",
    "number",
    "startingwith",
    "string",
    "undefined",
];

/// After the dot of a text, with brackets.
pub(crate) const METHODS: &[&str] = &[
    "contains",
    "endsWith",
    "lower",
    "startsWith",
    "toLowerCase",
    "toUpperCase",
    "trim",
    "upper",
];

/// Longest text that a filter makes, in bytes.
const MAX_TEXT_BYTES: usize = 256 * 1024;

/// Adds them all.
pub(crate) fn install(environment: &mut Environment<'_>) {
    environment.add_filter("abs", filters::abs);
    environment.add_filter("default", default);
    environment.add_filter("first", filters::first);
    environment.add_filter("float", float);
    environment.add_filter("int", int);
    environment.add_filter("join", join);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", filters::length);
    environment.add_filter("lower", |text: &str| text.to_lowercase());
    environment.add_filter("replace", replace);
    environment.add_filter("round", filters::round);
    environment.add_filter("split", split);
    environment.add_filter("string", |value: &Value| value.to_string());
    environment.add_filter("trim", |text: &str| text.trim().to_owned());
    environment.add_filter("upper", |text: &str| text.to_uppercase());
    environment.add_test("containing", |text: &str, part: &str| text.contains(part));
    environment.add_test("defined", tests::is_defined);
    environment.add_test("endingwith", |text: &str, end: &str| text.ends_with(end));
    environment.add_test("none", tests::is_none);
    environment.add_test("number", tests::is_number);
    environment.add_test("startingwith", |text: &str, start: &str| {
        text.starts_with(start)
    });
    environment.add_test("string", tests::is_string);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_function("product", product);
    environment.set_unknown_method_callback(method);
}

fn wrong(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem.into())
}

/// Instead of what is missing, none or an empty text.
fn default(value: &Value, other: Value) -> Value {
    let is_empty = value.is_undefined() || value.is_none() || value.as_str() == Some("");
    if is_empty { other } else { value.clone() }
}

fn number(value: &Value) -> Result<f64, Error> {
    let of_text = value
        .as_str()
        .and_then(|text| text.trim().parse::<f64>().ok());
    let number = of_text.or_else(|| f64::try_from(value.clone()).ok());
    number
        .filter(|number| number.is_finite())
        .ok_or_else(|| wrong(format!("{} is no number", shown(value))))
}

fn float(value: &Value) -> Result<f64, Error> {
    number(value)
}

/// Towards zero, as other languages do it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "beyond 64 bits the nearest integer is as good as another"
)]
fn int(value: &Value) -> Result<i64, Error> {
    if let Ok(exact) = i64::try_from(value.clone()) {
        return Ok(exact);
    }
    let of_text = value
        .as_str()
        .and_then(|text| text.trim().parse::<i64>().ok());
    of_text.map_or_else(|| number(value).map(|number| number as i64), Ok)
}

/// `*` between numbers; texts and lists are never repeated.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the engine hands arguments over"
)]
fn product(left: Value, right: Value) -> Result<Value, Error> {
    let failed = || {
        wrong(format!(
            "cannot multiply {} by {}: both must be numbers",
            shown(&left),
            shown(&right)
        ))
    };
    if left.kind() != ValueKind::Number || right.kind() != ValueKind::Number {
        return Err(failed());
    }
    if left.is_integer() && right.is_integer() {
        let (Ok(left), Ok(right)) = (i128::try_from(left.clone()), i128::try_from(right.clone()))
        else {
            return Err(failed());
        };
        let product = left.checked_mul(right);
        return product
            .map(Value::from)
            .ok_or_else(|| wrong("the product is too large"));
    }
    let (Ok(left), Ok(right)) = (f64::try_from(left.clone()), f64::try_from(right.clone())) else {
        return Err(failed());
    };
    Ok(Value::from(left * right))
}

fn bounded(text: String) -> Result<String, Error> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(wrong(format!(
            "the text would be longer than {MAX_TEXT_BYTES} bytes"
        )));
    }
    Ok(text)
}

fn replace(text: &str, from: &str, to: &str) -> Result<String, Error> {
    let grows = to.len().saturating_sub(from.len());
    if grows > 0 {
        let most = text.matches(from).count().saturating_mul(grows);
        if text.len().saturating_add(most) > MAX_TEXT_BYTES {
            return bounded("x".repeat(MAX_TEXT_BYTES + 1));
        }
    }
    bounded(text.replace(from, to))
}

fn split(text: &str, by: &str) -> Result<Vec<String>, Error> {
    if by.is_empty() {
        return Err(wrong("split needs a text to split by, such as split(',')"));
    }
    Ok(text.split(by).map(str::to_owned).collect())
}

fn join(list: &Value, by: &str) -> Result<String, Error> {
    let mut text = String::new();
    for (index, item) in list.try_iter()?.enumerate() {
        if index > 0 {
            text.push_str(by);
        }
        text.push_str(&item.to_string());
        if text.len() > MAX_TEXT_BYTES {
            return bounded(text);
        }
    }
    Ok(text)
}

fn method(
    _: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return Err(wrong(format!(
            "{} is no text, and only texts have the method {name}",
            shown(value)
        )));
    };
    match (name, arguments) {
        ("lower" | "toLowerCase", []) => Ok(Value::from(text.to_lowercase())),
        ("upper" | "toUpperCase", []) => Ok(Value::from(text.to_uppercase())),
        ("trim", []) => Ok(Value::from(text.trim())),
        ("contains" | "startsWith" | "endsWith", [part]) => {
            let Some(part) = part.as_str() else {
                return Err(wrong(format!("{name} needs a text, not {}", shown(part))));
            };
            Ok(Value::from(match name {
                "contains" => text.contains(part),
                "startsWith" => text.starts_with(part),
                _ => text.ends_with(part),
            }))
        }
        _ => Err(wrong(format!(
            "the method {name} takes another number of arguments"
        ))),
    }
}

/// A value in a sentence: short.
fn shown(value: &Value) -> String {
    const MAX_CHARACTERS: usize = 40;
    match value.as_str() {
        Some(text) if text.chars().count() <= MAX_CHARACTERS => format!("the text {text:?}"),
        Some(text) => {
            let start: String = text.chars().take(MAX_CHARACTERS).collect();
            format!("the text {start:?}…")
        }
        None if value.kind() == ValueKind::Number => value.to_string(),
        None => format!("a value of kind {}", value.kind()),
    }
}
