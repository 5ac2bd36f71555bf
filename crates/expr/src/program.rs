//! Expressions ready to be evaluated.

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use serde_json::Value as Json;

use crate::Expression;
use crate::builtins;
use crate::fault::{Failure, Fault};
use crate::grammar::Reference;

/// Steps of the engine in one evaluation; 250 operations take about 1,000.
const FUEL: u64 = 10_000;

/// The engine keeps compiled code in templates only: this one assigns the result to [`RESULT`].
const RESULT: &str = "__result";

/// Compiled expressions. One of them may be evaluated by many threads at once.
#[derive(Debug, Default)]
pub struct Program {
    /// None before the first expression: most teams have none, and it knows dozens of functions.
    environment: Option<Environment<'static>>,
    expressions: Vec<Expression>,
}

/// What expressions are evaluated over: an object whose members are the names. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Values(Value);

impl Values {
    /// Of a JSON object.
    #[must_use]
    pub fn new(values: &Json) -> Self {
        Self(value(values))
    }

    /// What a reference leads to; `None` where there is nothing.
    #[must_use]
    pub fn get(&self, reference: &Reference) -> Option<Json> {
        let found = self.find(reference)?;
        (!found.is_undefined()).then(|| json(&found))
    }

    fn find(&self, reference: &Reference) -> Option<Value> {
        let mut place = self.0.clone();
        for name in &reference.path {
            place = place.get_attr(name).ok()?;
        }
        Some(place)
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    builtins::install(&mut environment);
    environment
}

impl Program {
    /// Compiles one more expression; returns its number, from 0.
    ///
    /// # Errors
    /// When the engine cannot run it.
    pub fn add(&mut self, expression: &Expression) -> Result<usize, Fault> {
        let source = &expression.executable;
        let refused = |error: Error| {
            let problem = problem(&error);
            Fault::new(&expression.source, 0, problem)
        };
        // As an expression first: then nothing in it can end the template that it is put into.
        let environment = self.environment.get_or_insert_with(environment);
        environment
            .compile_expression_owned(source.clone())
            .map_err(refused)?;
        let number = self.expressions.len();
        let template = format!("{{% set {RESULT} = ({source}) %}}");
        environment
            .add_template_owned(number.to_string(), template)
            .map_err(refused)?;
        self.expressions.push(expression.clone());
        Ok(number)
    }

    /// The expression of this number.
    #[must_use]
    pub fn expression(&self, number: usize) -> Option<&Expression> {
        self.expressions.get(number)
    }

    /// Whether the expression of this number holds: its result is neither false nor zero, empty or none.
    ///
    /// # Errors
    /// When it cannot be evaluated over these values, or there is none of this number.
    pub fn holds(&self, number: usize, values: &Values) -> Result<bool, Failure> {
        self.run(number, values).map(|result| result.is_true())
    }

    /// The result of the expression of this number.
    ///
    /// # Errors
    /// When it cannot be evaluated over these values, or there is none of this number.
    pub fn evaluate(&self, number: usize, values: &Values) -> Result<Json, Failure> {
        self.run(number, values).map(|result| json(&result))
    }

    fn run(&self, number: usize, values: &Values) -> Result<Value, Failure> {
        let (Some(expression), Some(environment)) =
            (self.expressions.get(number), &self.environment)
        else {
            let problem = format!("there is no expression {number}");
            return Err(Failure { problem });
        };
        let template = environment.get_template(&number.to_string());
        let run = template.and_then(|template| template.render_captured(values.0.clone()));
        let result = run.map(|captured| captured.state().lookup(RESULT).unwrap_or_default());
        let failed = |error: Error| Failure {
            problem: missing(&error, expression, values).unwrap_or_else(|| problem(&error)),
        };
        match result {
            // `a if b` without else: nothing was chosen.
            Ok(result) if result.is_undefined() => Err(failed(ErrorKind::UndefinedError.into())),
            Ok(result) => Ok(result),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Which name has no value, where that is what went wrong.
fn missing(error: &Error, expression: &Expression, values: &Values) -> Option<String> {
    if error.kind() != ErrorKind::UndefinedError {
        return None;
    }
    let absent = expression.references.iter().find(|reference| {
        let found = values.find(reference);
        found.is_none_or(|found| found.is_undefined())
    });
    Some(match absent {
        Some(reference) => format!("{} has no value", reference.path.join(".")),
        None => "the expression has no value".to_owned(),
    })
}

fn problem(error: &Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => format!("the evaluation takes more than {FUEL} steps"),
        (_, Some(detail)) => detail.to_owned(),
        (kind, None) => kind.to_string(),
    }
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(members) => Value::from_pairs(
            members
                .iter()
                .map(|(name, member)| (name.as_str(), value(member))),
        ),
    }
}

fn json(value: &Value) -> Json {
    use minijinja::value::ValueKind as Kind;
    match value.kind() {
        Kind::Undefined | Kind::None => Json::Null,
        Kind::Bool => Json::Bool(value.is_true()),
        Kind::Number => i64::try_from(value.clone())
            .ok()
            .filter(|_| value.is_integer())
            .map(Json::from)
            .or_else(|| f64::try_from(value.clone()).ok().map(Json::from))
            .unwrap_or(Json::Null),
        Kind::Seq | Kind::Iterable => Json::Array(
            value
                .try_iter()
                .map(|items| items.map(|item| json(&item)).collect())
                .unwrap_or_default(),
        ),
        Kind::Map => Json::Object(
            value
                .try_iter()
                .map(|names| {
                    names
                        .filter_map(|name| {
                            let member = value.get_item(&name).ok()?;
                            Some((name.to_string(), json(&member)))
                        })
                        .collect()
                })
                .unwrap_or_default(),
        ),
        _ => Json::String(value.to_string()),
    }
}
