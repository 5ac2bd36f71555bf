//! The value of an expression at one moment. Pure.

use std::collections::BTreeMap;

use super::functions;
use super::parse::{Aggregate, Binary, Expression, Grouping, Matcher, Selector, Test};
use super::series::Series;

/// How far back an instant selector looks for a sample, in seconds: Prometheus' default.
const LOOKBACK: f64 = 300.0;

pub(super) type Labels = BTreeMap<String, String>;

#[derive(Clone, Debug)]
pub(super) enum Answer {
    Scalar(f64),
    Vector(Vec<(Labels, f64)>),
    /// Samples of a range: `(seconds, value)`.
    Matrix(Vec<(Labels, Vec<(f64, f64)>)>),
}

/// `at` and `now` in seconds since 1970.
pub(super) struct Moment<'s> {
    pub(super) series: &'s [Series],
    pub(super) at: f64,
    pub(super) now: f64,
}

impl Moment<'_> {
    pub(super) fn evaluate(&self, expression: &Expression) -> Result<Answer, String> {
        match expression {
            Expression::Number(number) => Ok(Answer::Scalar(*number)),
            Expression::Selector(selector) => Ok(self.select(selector)),
            Expression::Negate(inner) => match self.evaluate(inner)? {
                Answer::Scalar(number) => Ok(Answer::Scalar(-number)),
                other => Ok(map(self.vector(other)?, |value| Some(-value))),
            },
            Expression::Call {
                function,
                arguments,
            } => self.call(function, arguments),
            Expression::Aggregate(aggregate) => self.aggregate(aggregate),
            Expression::Binary(binary) => self.binary(binary),
        }
    }

    fn select(&self, selector: &Selector) -> Answer {
        let to = self.at - selector.offset;
        let from = to - selector.range.unwrap_or(LOOKBACK);
        let chosen = matching(self.series, &selector.matchers);
        if selector.range.is_some() {
            let samples = chosen.map(|series| (full(series), series.samples(from, to, self.now)));
            return Answer::Matrix(samples.filter(|(_, samples)| !samples.is_empty()).collect());
        }
        let latest = |series: &Series| {
            let value = series
                .value(to.min(self.now) - self.now)
                .filter(|_| to - self.now < LOOKBACK);
            value.map(|value| (full(series), value))
        };
        Answer::Vector(chosen.filter_map(latest).collect())
    }

    fn call(&self, function: &str, arguments: &[Expression]) -> Result<Answer, String> {
        if function == "time" {
            return Ok(Answer::Scalar(self.at));
        }
        let missing = || format!("expected at least 1 argument(s) in call to {function:?}, got 0");
        let first = arguments.first().ok_or_else(missing)?;
        if functions::over_range(function) {
            let Expression::Selector(Selector {
                range: Some(range),
                offset,
                ..
            }) = first
            else {
                return Err(format!(
                    "expected type range vector in call to function {function:?}, got instant vector"
                ));
            };
            let Answer::Matrix(matrix) = self.evaluate(first)? else {
                return Err(missing());
            };
            let (from, to) = (self.at - offset - range, self.at - offset);
            let value = |(labels, samples): (Labels, Vec<(f64, f64)>)| {
                let value = functions::of_samples(function, &samples, from, to)?;
                Some((without_name(labels), value))
            };
            return Ok(Answer::Vector(
                matrix.into_iter().filter_map(value).collect(),
            ));
        }
        let second = match arguments
            .get(1)
            .map(|argument| self.evaluate(argument))
            .transpose()?
        {
            Some(Answer::Scalar(number)) => Some(number),
            Some(_) => {
                return Err(format!(
                    "expected type scalar as 2nd argument of {function:?}"
                ));
            }
            None => None,
        };
        match (function, self.evaluate(first)?) {
            ("scalar", Answer::Vector(vector)) => {
                let only = vector.first().filter(|_| vector.len() == 1);
                Ok(Answer::Scalar(only.map_or(f64::NAN, |(_, value)| *value)))
            }
            (_, other) => Ok(map(self.vector(other)?, |value| {
                functions::of_number(function, value, second)
            })),
        }
    }

    fn vector(&self, answer: Answer) -> Result<Vec<(Labels, f64)>, String> {
        match answer {
            Answer::Vector(vector) => Ok(vector),
            Answer::Scalar(_) => Err("expected type instant vector, got scalar".to_owned()),
            Answer::Matrix(_) => Err("expected type instant vector, got range vector".to_owned()),
        }
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Result<Answer, String> {
        let vector = self.vector(self.evaluate(&aggregate.inner)?)?;
        let mut groups: BTreeMap<Labels, Vec<(Labels, f64)>> = BTreeMap::new();
        for (labels, value) in vector {
            let group = keep(&labels, &aggregate.grouping);
            groups.entry(group).or_default().push((labels, value));
        }
        if let Some(most) = aggregate.parameter {
            let top = aggregate.operator == "topk";
            return Ok(Answer::Vector(
                groups
                    .into_values()
                    .flat_map(|g| best(g, most, top))
                    .collect(),
            ));
        }
        let operator = aggregate.operator.as_str();
        let total = |(labels, members): (Labels, Vec<(Labels, f64)>)| {
            let values = || members.iter().map(|(_, value)| *value);
            let count = u32::try_from(members.len()).map_or(f64::MAX, f64::from);
            let value = match operator {
                "avg" => values().sum::<f64>() / count,
                "min" => values().fold(f64::NAN, f64::min),
                "max" => values().fold(f64::NAN, f64::max),
                "count" => count,
                _ => values().sum(),
            };
            (labels, value)
        };
        Ok(Answer::Vector(groups.into_iter().map(total).collect()))
    }

    fn binary(&self, binary: &Binary) -> Result<Answer, String> {
        let operator = binary.operator.as_str();
        let comparing = operator.contains(['=', '<', '>']);
        let filter = comparing && !binary.as_number;
        match (self.evaluate(&binary.left)?, self.evaluate(&binary.right)?) {
            (Answer::Scalar(left), Answer::Scalar(right)) if filter => Err(format!(
                "comparisons between scalars must use BOOL modifier: {left} {right}"
            )),
            (Answer::Scalar(left), Answer::Scalar(right)) => {
                Ok(Answer::Scalar(apply(operator, left, right)))
            }
            (Answer::Vector(left), Answer::Scalar(right)) => {
                Ok(keep_or_map(left, filter, |left| {
                    (apply(operator, left, right), left)
                }))
            }
            (Answer::Scalar(left), Answer::Vector(right)) => {
                Ok(keep_or_map(right, filter, |right| {
                    (apply(operator, left, right), right)
                }))
            }
            (Answer::Vector(left), Answer::Vector(right)) => {
                one_to_one(left, right, &binary.matching, operator, filter)
            }
            _ => Err(format!(
                "binary expression {operator:?} needs scalars or instant vectors"
            )),
        }
    }
}

pub(super) fn matching<'s>(
    series: &'s [Series],
    matchers: &'s [Matcher],
) -> impl Iterator<Item = &'s Series> {
    series
        .iter()
        .filter(move |series| matchers.iter().all(|matcher| accepts(matcher, series)))
}

fn accepts(matcher: &Matcher, series: &Series) -> bool {
    let value = match matcher.label.as_str() {
        "__name__" => series.metric.as_str(),
        label => series.labels.get(label).map_or("", String::as_str),
    };
    let holds = match &matcher.test {
        Test::Equal(wanted) => value == wanted,
        Test::Pattern(pattern) => pattern.matches(value),
    };
    holds != matcher.negated
}

/// Labels with the metric's name among them.
pub(super) fn full(series: &Series) -> Labels {
    let mut labels = series.labels.clone();
    labels.insert("__name__".to_owned(), series.metric.clone());
    labels
}

fn without_name(mut labels: Labels) -> Labels {
    labels.remove("__name__");
    labels
}

fn keep(labels: &Labels, grouping: &Grouping) -> Labels {
    let kept = |name: &String| match grouping {
        Grouping::By(names) => names.contains(name),
        Grouping::Without(names) => name != "__name__" && !names.contains(name),
    };
    let pairs = labels.iter().filter(|(name, _)| kept(name));
    pairs
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn best(mut group: Vec<(Labels, f64)>, most: f64, top: bool) -> Vec<(Labels, f64)> {
    group.sort_by(|(_, left), (_, right)| {
        if top {
            right.total_cmp(left)
        } else {
            left.total_cmp(right)
        }
    });
    let most = most.clamp(0.0, 10_000.0) as usize;
    group.truncate(most);
    group
}

fn map(vector: Vec<(Labels, f64)>, change: impl Fn(f64) -> Option<f64>) -> Answer {
    let changed = vector
        .into_iter()
        .filter_map(|(labels, value)| Some((without_name(labels), change(value)?)));
    Answer::Vector(changed.collect())
}

/// A comparison keeps what it holds for, unchanged; everything else takes the computed value.
fn keep_or_map(
    vector: Vec<(Labels, f64)>,
    filter: bool,
    compute: impl Fn(f64) -> (f64, f64),
) -> Answer {
    let changed = vector.into_iter().filter_map(|(labels, value)| {
        let (computed, original) = compute(value);
        match (filter, computed != 0.0) {
            (true, true) => Some((labels, original)),
            (true, false) => None,
            (false, _) => Some((without_name(labels), computed)),
        }
    });
    Answer::Vector(changed.collect())
}

fn one_to_one(
    left: Vec<(Labels, f64)>,
    right: Vec<(Labels, f64)>,
    matching: &Grouping,
    operator: &str,
    filter: bool,
) -> Result<Answer, String> {
    let mut others: BTreeMap<Labels, f64> = BTreeMap::new();
    for (labels, value) in right {
        if others.insert(keep(&labels, matching), value).is_some() {
            return Err(
                "found duplicate series for the match group on the right hand-side of the \
                        operation: many-to-many matching not allowed"
                    .to_owned(),
            );
        }
    }
    let mut answer = Vec::new();
    let mut used: BTreeMap<Labels, ()> = BTreeMap::new();
    for (labels, value) in left {
        let key = keep(&labels, matching);
        let Some(other) = others.get(&key) else {
            continue;
        };
        if used.insert(key.clone(), ()).is_some() {
            return Err(
                "multiple matches for labels: many-to-one matching must be explicit \
                        (group_left/group_right), which this stand-in does not know"
                    .to_owned(),
            );
        }
        let computed = apply(operator, value, *other);
        match (filter, computed != 0.0) {
            (true, true) => answer.push((labels, value)),
            (true, false) => {}
            (false, _) => answer.push((key, computed)),
        }
    }
    Ok(Answer::Vector(answer))
}

#[expect(clippy::float_cmp, reason = "PromQL's == is exact")]
fn apply(operator: &str, left: f64, right: f64) -> f64 {
    let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
    match operator {
        "+" => left + right,
        "-" => left - right,
        "*" => left * right,
        "/" => left / right,
        "%" => left % right,
        "^" => left.powf(right),
        "==" => truth(left == right),
        "!=" => truth(left != right),
        "<" => truth(left < right),
        ">" => truth(left > right),
        "<=" => truth(left <= right),
        ">=" => truth(left >= right),
        _ => f64::NAN,
    }
}
