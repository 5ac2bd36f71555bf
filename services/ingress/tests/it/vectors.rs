//! Published signatures and handshakes: what the verifier says of them, and what a sender hears.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tocsin_ingress::provider::Provider;
use tocsin_ingress::verify::sns::Certificate;
use tocsin_ingress::verify::{LiveSecret, Refusal, Verifier};
use tocsin_testkit::eventually;
use tocsin_wire::Service;
use tocsin_wire::proto::SourceRecord;
use tocsin_wire::scheme::{HmacScheme, Scheme, SignedTime};

use crate::sources::{Stage, record, secret};
use crate::stage::{LIMIT, SECRET, fixture};

const TOLERANCE: Duration = Duration::from_secs(300);

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
    handshakes: Vec<Handshake>,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    provider: String,
    scheme: Option<String>,
    secret: Option<String>,
    #[serde(default)]
    secrets: Vec<String>,
    headers: Vec<(String, String)>,
    body_b64: String,
    now: i64,
    expect: String,
    /// What a GET of each URL would bring.
    #[serde(default)]
    certs: BTreeMap<String, String>,
    /// What an answer is worth: `2xx`, `4xx` or `any`.
    http: String,
    /// Names of headers, where they are the installation's to choose.
    #[serde(default)]
    settings: BTreeMap<String, Value>,
}

/// A question that a sender asks before it sends.
#[derive(Deserialize)]
struct Handshake {
    id: String,
    request: Question,
    expect: Expected,
}

#[derive(Deserialize)]
struct Question {
    body: String,
    sign_with: String,
}

#[derive(Deserialize)]
struct Expected {
    status: String,
    body_contains: String,
    max_ms: u64,
}

impl Vector {
    fn body(&self) -> Vec<u8> {
        STANDARD.decode(&self.body_b64).expect("base64")
    }

    /// Whatever stands for secrets at its receiver.
    fn secrets(&self) -> Vec<&str> {
        let secrets = self.secrets.iter().chain(&self.secret);
        let topics = self.settings.get("topic_arns").and_then(Value::as_array);
        let topics = topics.into_iter().flatten().filter_map(Value::as_str);
        secrets.map(String::as_str).chain(topics).collect()
    }

    /// The source that takes it, as the one with this number.
    fn record(&self, number: usize) -> SourceRecord {
        let settings = match self.scheme() {
            Scheme::Sns => json!({}),
            scheme => json!({"scheme": scheme}),
        };
        let secrets = self.secrets().into_iter().enumerate();
        let secrets =
            secrets.map(|(index, _)| secret(&index.to_string(), &secret_name(number, index), None));
        SourceRecord {
            provider: self.provider.clone(),
            secrets: secrets.collect(),
            ..record(&source_id(number), &settings)
        }
    }

    /// The scheme that it names: one of the general ones, or a provider's.
    fn scheme(&self) -> Scheme {
        let setting = |name: &str| Some(self.settings.get(name)?.as_str()?.to_owned());
        let timed = |default: &'static str, prefix: &'static str, after: &'static str| {
            let header = setting("header").unwrap_or_else(|| default.to_owned());
            let time = setting("ts_header").unwrap_or_else(|| "X-Timestamp".to_owned());
            Scheme::Hmac(HmacScheme {
                header: header.into(),
                timestamp: Some(SignedTime {
                    header: time.into(),
                    before: "".into(),
                    after: after.into(),
                }),
                ..HmacScheme::over_body("", prefix)
            })
        };
        match self.scheme.as_deref().unwrap_or(&self.provider) {
            "standard" | "standard-asym" | "ed25519" | "gitlab-signed" => Scheme::StandardWebhooks,
            "bearer" => Scheme::Bearer,
            "basic" => Scheme::Basic,
            "sns" => Scheme::Sns,
            "hmac" => Scheme::Hmac(HmacScheme::over_body("X-Signature-256", "sha256=")),
            "hmac-ts" => timed("X-Signature-256", "sha256=", "."),
            "grafana-ts" => timed("X-Grafana-Alerting-Signature", "", ":"),
            name => {
                let provider = Provider::named(name).expect("a provider of the table");
                let scheme = provider.scheme(self.secrets());
                scheme.expect("a scheme").clone()
            }
        }
    }
}

fn source_id(number: usize) -> String {
    format!("src_v{number}")
}

fn secret_name(number: usize, index: usize) -> String {
    format!("v{number}-{index}")
}

fn vectors() -> Vectors {
    let vectors: Vectors = serde_json::from_slice(&fixture("vectors.json")).expect("vectors");
    assert!(vectors.vectors.len() >= 38 && !vectors.handshakes.is_empty());
    vectors
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("in range")
}

#[test]
fn published_vectors_hold() {
    for vector in vectors().vectors {
        let mut headers = HeaderMap::new();
        for (name, value) in &vector.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        let body = vector.body();
        let secrets = vector.secrets().into_iter().map(LiveSecret::always);
        let secrets: Vec<_> = secrets.collect();
        let verifier = Verifier::new(&vector.scheme(), &secrets).expect("a scheme");
        let now = at(vector.now);
        let url = verifier.certificate_url(&body, now, TOLERANCE);
        let verdict = url.and_then(|url| {
            let pem = url.and_then(|url| vector.certs.get(&url));
            let certificate = pem.map(|pem| Certificate::from_pem(pem.as_bytes()).expect("PEM"));
            verifier.verify_with(&headers, &body, now, TOLERANCE, certificate.as_ref())
        });
        let said = verdict.map_or_else(Refusal::code, |_| "accept");
        // Reasons are advisory, and one vector says only that its header is missing.
        let agrees = said == vector.expect || (vector.expect == "reject" && said != "accept");
        assert!(agrees, "{}: {said}, expected {}", vector.id, vector.expect);
    }
}

/// Each at the URL of a source that is set up for it, at its own time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn published_vectors_are_answered_as_they_say() {
    let stage = Stage::start().await;
    // A confirmation that is believed would be a visit to AWS.
    let is_local = |vector: &Vector| vector.provider != "sns" || vector.http != "any";
    let vectors: Vec<_> = vectors().vectors.into_iter().filter(is_local).collect();
    for (number, vector) in vectors.iter().enumerate() {
        for (index, secret) in vector.secrets().into_iter().enumerate() {
            stage.seal(&secret_name(number, index), secret).await;
        }
        stage.publish(vector.record(number)).await;
    }
    for number in 0..vectors.len() {
        let question = json!({"source": source_id(number)});
        eventually("the source is loaded", LIMIT, || async {
            let asking = stage.config.ask(Service::Ingress, "source_test", &question);
            asking.await.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }
    for (number, vector) in vectors.iter().enumerate() {
        stage.ingress.context.clock.set(at(vector.now));
        let path = format!("/webhooks/{}/{}", vector.provider, source_id(number));
        let request = stage.ingress.post(&path).body(vector.body());
        let headers = vector.headers.iter();
        let request = headers.fold(request, |request, (name, value)| {
            request.header(name, value)
        });
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let answer = answer.text().await.expect("text");
        let about = format!("{}: {status} {answer}", vector.id);
        match vector.http.as_str() {
            "2xx" => assert!((200..300).contains(&status), "{about}"),
            "4xx" => assert!((400..500).contains(&status), "{about}"),
            other => assert_eq!(other, "any", "{about}"),
        }
        // What the verdict is about: a body that nobody can read is refused too, with another status.
        let is_refused = status == 401 && answer.contains("\"code\":\"signature_");
        assert_eq!(is_refused, vector.expect == "reject", "{about}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_are_answered_in_time() {
    let stage = Stage::start().await;
    for handshake in vectors().handshakes {
        let Handshake {
            id,
            request,
            expect,
        } = handshake;
        let path = format!("/webhooks/{}/events", request.sign_with);
        let asking = stage.ingress.signed(&path, SECRET, request.body.as_bytes());
        let limit = Duration::from_millis(expect.max_ms);
        let answer = asking.timeout(limit).send().await.expect("an answer");
        assert_eq!(answer.status().as_str(), expect.status, "{id}");
        let text = answer.text().await.expect("text");
        assert!(text.contains(&expect.body_contains), "{id}: {text}");
    }
}
