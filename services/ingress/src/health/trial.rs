//! What would become of a captured delivery: all that is done with one, except asking the limits and storing.
//!
//! The question is `{"source": "src_…", "headers": {"name": "value"}, "body_base64": "…", "received_at": time}`,
//! the answer `{"verdict": "ok" | "filtered" | code, "findings": [{"code", "text"}]}`, with `becomes` (`event`,
//! `ping`, `handshake` or `subscription`) and `kinds` where the body can be read, and `picked` and `not_picked`
//! where the source picks from bodies. Without a body the findings of the last refusal are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tocsin_bus::Answer;
use tocsin_kit::ErrorChain;
use tocsin_wire::source::Finding;

use super::SourcesHealth;
use crate::diagnose::{ANY_TIME, Receipt};
use crate::error::Rejection;
use crate::http::is_encoded;
use crate::intake::{Incoming, Intake};
use crate::normalize::{Malformed, Normalized};
use crate::source::Source;
use crate::verify::Refusal;

/// Verdict on a delivery that is acknowledged and dropped.
const FILTERED: &str = "filtered";

/// What ingress is asked about one source.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestQuestion {
    pub(crate) source: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body_base64: Option<String>,
    /// When the delivery came, where that is known; by its clock it is judged.
    received_at: Option<Timestamp>,
}

/// What the body of a delivery says, whoever sent it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reading {
    becomes: Option<&'static str>,
    kinds: BTreeSet<String>,
    /// Why nothing of it is stored, where that is so.
    verdict: Option<&'static str>,
    finding: Option<Finding>,
}

impl TestQuestion {
    pub(crate) fn read(question: Value) -> Result<Self, Answer> {
        serde_json::from_value(question).map_err(|error| Answer {
            code: 400,
            detail: format!(
                "{error}; ask {{\"source\": \"src_…\", \"headers\": {{}}, \"body_base64\": \"…\", \
                 \"received_at\": \"2026-01-31T12:00:00Z\"}}"
            ),
        })
    }

    /// What is wrong with a captured delivery, or was with the last refused one.
    pub(crate) async fn answer(
        self,
        source: &Arc<Source>,
        health: &SourcesHealth,
        intake: &Intake,
    ) -> Result<Value, Answer> {
        let bad = |detail: String| Answer { code: 400, detail };
        let Some(body) = self.body_base64 else {
            return Ok(last_refusal(source, health));
        };
        let body = STANDARD.decode(body);
        let body = body.map_err(|error| bad(format!("body_base64 is not base64: {error}")))?;
        let (body, headers) = (
            Bytes::from(body),
            captured_headers(&self.headers).map_err(bad)?,
        );
        let incoming = Incoming {
            headers: &headers,
            body: &body,
            sender: None,
        };
        let receipt = self
            .received_at
            .map_or_else(|| Receipt::Before(intake.now()), Receipt::At);
        let told = tried(source, intake, incoming, receipt).await;
        told.map_err(|rejection| Answer {
            code: 503,
            detail: ErrorChain(&rejection).to_string(),
        })
    }
}

fn last_refusal(source: &Source, health: &SourcesHealth) -> Value {
    let figures = health.last_findings(&source.figures_id);
    let verdict = figures.last_refusal;
    json!({
        "verdict": verdict.unwrap_or_else(|| "nothing_refused".to_owned()),
        "at": figures.last_refused,
        "last_accepted": figures.last_accepted,
        "findings": figures.last_findings,
    })
}

/// All that is wrong is told; the verdict is what the sender would hear.
async fn tried(
    source: &Arc<Source>,
    intake: &Intake,
    incoming: Incoming<'_>,
    receipt: Receipt,
) -> Result<Value, Rejection> {
    let Incoming { headers, body, .. } = incoming;
    let (mut findings, unverified) = verified(source, intake, incoming, receipt).await;
    let read = match intake.try_reading(source, incoming, receipt.time()).await {
        Ok(normalized) => reading(source, &normalized),
        Err(Rejection::Malformed(malformed)) => Reading::refused(&malformed),
        Err(ours) => return Err(ours),
    };
    findings.extend(read.finding);
    let mut verdict = unverified.or(read.verdict);
    // Before anything is read, so that it is what the sender hears.
    if let Some((code, why)) = outright_refusal(source, headers, body.len()) {
        verdict = Some(code);
        findings.push(finding(code, why));
    }
    let mut answer = Map::from_iter([
        ("verdict".to_owned(), verdict.unwrap_or("ok").into()),
        ("findings".to_owned(), json!(findings)),
    ]);
    if let Some(becomes) = read.becomes {
        answer.insert("becomes".to_owned(), becomes.into());
        answer.insert("kinds".to_owned(), json!(read.kinds));
    }
    if let Value::Object(picked) = json!(intake.picked(source, incoming).await?) {
        answer.extend(picked);
    }
    Ok(Value::Object(answer))
}

/// What is found about its signature, and the code of its refusal.
async fn verified(
    source: &Source,
    intake: &Intake,
    incoming: Incoming<'_>,
    receipt: Receipt,
) -> (Vec<Finding>, Option<&'static str>) {
    let Incoming { headers, body, .. } = incoming;
    // Also an old one is verified.
    let asking = intake.certificate(source, body, receipt.time(), ANY_TIME);
    let certificate = match asking.await {
        Err(rejection @ Rejection::Sns(_)) => {
            let why = finding(rejection.code(), ErrorChain(&rejection).to_string());
            return (vec![why], Some(rejection.code()));
        }
        // Why there is none is found again, and said as a finding.
        certificate => certificate.ok().flatten(),
    };
    let told = source.diagnose(headers, body, receipt, certificate.as_deref());
    (told.findings, told.refusal.map(Refusal::code))
}

impl Reading {
    fn refused(malformed: &Malformed) -> Self {
        let code = malformed.code();
        Self {
            verdict: Some(code),
            finding: Some(finding(code, format!("{}.", ErrorChain(malformed)))),
            ..Self::default()
        }
    }
}

/// What a body becomes that could be read, and what the source's filter drops of it.
fn reading(source: &Source, normalized: &Normalized) -> Reading {
    let (becomes, events) = match normalized {
        Normalized::Event(event) => ("event", std::slice::from_ref(event.as_ref())),
        Normalized::Events(events) => ("event", events.as_slice()),
        Normalized::Ping => ("ping", &[][..]),
        Normalized::Challenge(_) => ("handshake", &[][..]),
        Normalized::Subscription(_) => ("subscription", &[][..]),
    };
    let kinds: BTreeSet<String> = events.iter().map(|event| event.kind.clone()).collect();
    let dropped: Vec<&str> = kinds
        .iter()
        .map(String::as_str)
        .filter(|kind| !source.takes(kind))
        .collect();
    let is_dropped = !dropped.is_empty() && dropped.len() == kinds.len();
    let finding = (!dropped.is_empty()).then(|| {
        let text = format!(
            "Of kind {}, which is none of only_kinds ({}): it is acknowledged and dropped.",
            dropped.join(", "),
            source.only_kinds.join(", ")
        );
        finding(FILTERED, text)
    });
    Reading {
        becomes: Some(becomes),
        verdict: is_dropped.then_some(FILTERED),
        kinds,
        finding,
    }
}

/// Why nothing like it is taken, however it is signed; the address of its sender aside.
fn outright_refusal(
    source: &Source,
    headers: &HeaderMap,
    body_bytes: usize,
) -> Option<(&'static str, String)> {
    let limit = source.max_body;
    let (rejection, text) = if source.disabled {
        let text = "The source is disabled: all that it sends is refused until it is enabled.";
        (Rejection::Disabled, text.to_owned())
    } else if is_encoded(headers) {
        let text = "The body is compressed or encoded otherwise, which no sender signs: have it sent without \
                    Content-Encoding.";
        (Rejection::BodyEncoded, text.to_owned())
    } else if body_bytes > limit {
        let text = format!(
            "The body has {body_bytes} bytes, and this source takes {limit}: raise max_body_bytes, or have the \
             sender send less."
        );
        (Rejection::BodyTooLarge { limit }, text)
    } else {
        return None;
    };
    Some((rejection.code(), text))
}

fn finding(code: &str, text: String) -> Finding {
    Finding {
        code: code.to_owned(),
        text,
    }
}

fn captured_headers(given: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let header = HeaderName::from_bytes(name.as_bytes());
        let header = header.map_err(|_| format!("{name:?} is no name of a header"))?;
        let value = HeaderValue::from_str(value);
        let value = value.map_err(|_| format!("the value of {name} cannot be a header's"))?;
        headers.append(header, value);
    }
    Ok(headers)
}
