//! Prometheus' HTTP API, and the stand-in's own door to change the data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, put};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::evaluate::{Answer, Labels, Moment, full, matching};
use super::lexer::duration;
use super::parse::{Expression, parse};
use super::series::Series;
use crate::standins::runtime;

/// Prometheus' own limit of points per series in one range query.
const MAX_POINTS: f64 = 11_000.0;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/query", any(query))
        .route("/api/v1/query_range", any(query_range))
        .route("/api/v1/series", any(series))
        .route("/api/v1/labels", any(labels))
        .route("/api/v1/label/{name}/values", get(label_values))
        .route(
            "/-/healthy",
            get(async || "Prometheus Server is Healthy.\n"),
        )
        .route("/-/ready", get(async || "Prometheus Server is Ready.\n"))
        .route("/standin/series", get(list_series).put(put_series))
        .route("/standin/cause", put(put_cause))
}

struct BadData(String);

impl IntoResponse for BadData {
    fn into_response(self) -> Response {
        let body = json!({"status": "error", "errorType": "bad_data", "error": self.0});
        (StatusCode::BAD_REQUEST, Json(body)).into_response()
    }
}

type Reply = Result<Json<Value>, BadData>;

fn success(data: &Value) -> Reply {
    Ok(Json(json!({"status": "success", "data": data})))
}

/// Parameters of the query string and of a form body.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn read(query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Parameters {
        let owned = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
            (name.into_owned(), value.into_owned())
        };
        let form = headers
            .get("content-type")
            .and_then(|kind| kind.to_str().ok());
        let form = form.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let body: &[u8] = if form { body } else { &[] };
        let url = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).map(owned);
        Parameters(url.chain(form_urlencoded::parse(body).map(owned)).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self
            .0
            .iter()
            .find(|(known, value)| known == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    fn expression(&self) -> Result<Expression, BadData> {
        let query = self.get("query").unwrap_or_default();
        parse(query).map_err(|problem| invalid("query", &problem))
    }

    /// Seconds since 1970.
    fn time(&self, name: &str) -> Result<Option<f64>, BadData> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let seconds = text.parse::<f64>().ok().or_else(|| {
            let time: jiff::Timestamp = text.parse().ok()?;
            Some(time.as_millisecond() as f64 / 1000.0)
        });
        let problem = || invalid(name, &format!("cannot parse {text:?} to a valid timestamp"));
        seconds
            .filter(|seconds| seconds.is_finite())
            .map(Some)
            .ok_or_else(problem)
    }
}

fn invalid(name: &str, problem: &str) -> BadData {
    BadData(format!("invalid parameter {name:?}: {problem}"))
}

fn now() -> f64 {
    runtime::now_micros() as f64 / 1_000_000.0
}

async fn query(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let parameters = Parameters::read(query.as_deref(), &headers, &body);
    let expression = parameters.expression()?;
    let now = now();
    let at = parameters.time("time")?.unwrap_or(now);
    let data = shared.lock();
    let moment = Moment {
        series: &data.series,
        at,
        now,
    };
    let answer = moment
        .evaluate(&expression)
        .map_err(|problem| invalid("query", &problem))?;
    let (kind, result) = match answer {
        Answer::Scalar(number) => ("scalar", point(at, number)),
        Answer::Vector(vector) => {
            let one = |(labels, value): &(Labels, f64)| json!({"metric": labels, "value": point(at, *value)});
            ("vector", vector.iter().map(one).collect())
        }
        Answer::Matrix(matrix) => ("matrix", matrix.iter().map(range).collect()),
    };
    success(&json!({"resultType": kind, "result": result}))
}

async fn query_range(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let parameters = Parameters::read(query.as_deref(), &headers, &body);
    let expression = parameters.expression()?;
    let missing = |name| invalid(name, "cannot parse \"\" to a valid timestamp");
    let start = parameters.time("start")?.ok_or_else(|| missing("start"))?;
    let end = parameters.time("end")?.ok_or_else(|| missing("end"))?;
    let step = parameters.get("step").unwrap_or_default();
    let step = step
        .parse::<f64>()
        .ok()
        .or_else(|| duration(step))
        .filter(|step| *step > 0.0);
    let step = step.ok_or_else(|| invalid("step", "cannot parse to a positive duration"))?;
    if end < start {
        return Err(invalid(
            "end",
            "end timestamp must not be before start time",
        ));
    }
    if (end - start) / step > MAX_POINTS {
        return Err(BadData(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query \
             resolution (?step=XX)"
                .to_owned(),
        ));
    }
    let (now, data) = (now(), shared.lock());
    let mut lines: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    let mut at = start;
    while at <= end {
        let moment = Moment {
            series: &data.series,
            at,
            now,
        };
        match moment
            .evaluate(&expression)
            .map_err(|problem| invalid("query", &problem))?
        {
            Answer::Scalar(number) => lines.entry(Labels::new()).or_default().push((at, number)),
            Answer::Vector(vector) => {
                for (labels, value) in vector {
                    lines.entry(labels).or_default().push((at, value));
                }
            }
            Answer::Matrix(_) => {
                return Err(invalid(
                    "query",
                    "invalid expression type \"range vector\" for range \
                                             query, must be Scalar or instant Vector",
                ));
            }
        }
        at += step;
    }
    let lines: Vec<Value> = lines.into_iter().map(|line| range(&line)).collect();
    success(&json!({"resultType": "matrix", "result": lines}))
}

fn range((labels, samples): &(Labels, Vec<(f64, f64)>)) -> Value {
    let values: Vec<Value> = samples
        .iter()
        .map(|(at, value)| point(*at, *value))
        .collect();
    json!({"metric": labels, "values": values})
}

/// `[seconds, "value"]`
fn point(at: f64, value: f64) -> Value {
    let text = if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 {
            "+Inf".to_owned()
        } else {
            "-Inf".to_owned()
        }
    } else {
        value.to_string()
    };
    json!([(at * 1000.0).round() / 1000.0, text])
}

async fn series(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let parameters = Parameters::read(query.as_deref(), &headers, &body);
    let data = shared.lock();
    let mut found = BTreeSet::new();
    let selectors = parameters.0.iter().filter(|(name, _)| name == "match[]");
    for (_, selector) in selectors {
        let parsed = parse(selector).map_err(|problem| invalid("match[]", &problem))?;
        let Expression::Selector(selector) = parsed else {
            return Err(invalid("match[]", "must be a vector selector"));
        };
        found.extend(matching(&data.series, &selector.matchers).map(full));
    }
    if found.is_empty() && parameters.get("match[]").is_none() {
        return Err(BadData("no match[] parameter provided".to_owned()));
    }
    success(&json!(found))
}

async fn labels(State(shared): State<Arc<Shared>>) -> Reply {
    let data = shared.lock();
    let names: BTreeSet<String> = data
        .series
        .iter()
        .flat_map(|series| full(series).into_keys())
        .collect();
    success(&json!(names))
}

async fn label_values(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Reply {
    let data = shared.lock();
    let values: BTreeSet<String> = data
        .series
        .iter()
        .filter_map(|series| full(series).remove(&name))
        .collect();
    success(&json!(values))
}

async fn list_series(State(shared): State<Arc<Shared>>) -> Json<Vec<Series>> {
    Json(shared.lock().series.clone())
}

async fn put_series(State(shared): State<Arc<Shared>>, Json(new): Json<Series>) -> StatusCode {
    shared.lock().put(new);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct NewCause {
    cause: String,
}

async fn put_cause(State(shared): State<Arc<Shared>>, Json(new): Json<NewCause>) -> Response {
    match shared.lock().set_cause(&new.cause) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => BadData(error.to_string()).into_response(),
    }
}
