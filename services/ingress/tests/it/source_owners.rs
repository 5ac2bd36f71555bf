//! What the owner of a source is told about what its sender got wrong.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tocsin_testkit::eventually;
use tocsin_testkit::standins::signature;
use tocsin_wire::Service;
use tocsin_wire::proto::SourceRecord;

use crate::sources::{NEW, Stage, record};
use crate::stage::{LIMIT, NOW};

/// Ingress writes every five seconds what it saw.
const TOLD: Duration = Duration::from_secs(30);

impl Stage {
    /// The findings that come with the verdict.
    async fn until_verdict(&self, question: &Value, verdict: &str) -> Value {
        eventually("the verdict", TOLD, || async {
            let asking = self.config.ask(Service::Ingress, "source_test", question);
            let mut answer = asking.await.map_err(|error| error.to_string())?;
            if answer["verdict"] == verdict {
                Ok(answer["findings"].take())
            } else {
                Err(answer.to_string())
            }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_owner_is_told_what_the_sender_got_wrong() {
    let stage = Stage::start().await;
    stage.seal("new", NEW).await;
    stage.publish(record("src_f", &json!({}))).await;
    stage.until_status("src_f", NEW, 200).await;
    assert_eq!(stage.status("src_f", NEW, 0).await, 200, "the same again");
    let (status, problem) = stage
        .deliver(&stage.ingress, "src_f", &format!("{NEW}\n"), 1)
        .await;
    assert_eq!(
        (status, &problem["code"]),
        (401, &json!("signature_bad_signature"))
    );
    assert!(
        !problem.to_string().contains("line feed"),
        "the sender is told no more"
    );

    let question = json!({"source": "src_f"});
    let findings = stage.until_verdict(&question, "bad_signature").await;
    assert_eq!(
        findings[0]["code"], "sender_secret_has_line_feed",
        "{findings}"
    );
    let question = json!({
        "source": "src_f",
        "headers": {"x-slack-signature": "v0=1"},
        "body_base64": "e30=",
    });
    let answer = stage
        .config
        .ask(Service::Ingress, "source_test", &question)
        .await;
    let answer = answer.expect("an answer");
    assert_eq!(answer["verdict"], "missing_signature");
    assert_eq!(answer["findings"][0]["code"], "other_headers");
    let question = json!({"sources": ["src_f", "src_other"]});
    let health = stage
        .config
        .ask(Service::Ingress, "source_health", &question)
        .await;
    let health = health.expect("an answer");
    let figures = &health["src_f"];
    assert_eq!(figures["refused"]["bad_signature"], 1);
    let counted = ["accepted", "duplicates", "retries", "unavailable"].map(|name| &figures[name]);
    assert_eq!(counted.map(Value::as_u64), [1, 1, 1, 0].map(Some));
    let of_late = &figures["of_late"];
    assert_eq!(of_late["deliveries"], 3);
    assert_eq!(of_late["refused"]["sender"]["count"], 1, "{of_late}");
    assert!(figures.get("recent").is_none(), "it is told in short");
    assert_eq!(health["src_f"]["secret_last_used"]["2"], NOW);
    assert_eq!(health.as_object().map(serde_json::Map::len), Some(1));
}

/// The owner learns why nothing is taken, and reads no findings about what was refused before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_owner_is_told_that_the_source_takes_nothing() {
    let stage = Stage::start().await;
    stage.seal("new", NEW).await;
    stage.publish(record("src_g", &json!({}))).await;
    stage.until_status("src_g", NEW, 200).await;
    assert_eq!(stage.status("src_g", "wrong", 1).await, 401);
    stage
        .until_verdict(&sample("src_g", "wrong"), "bad_signature")
        .await;
    stage.until_verdict(&sample("src_g", NEW), "ok").await;

    let small = json!({"max_body_bytes": 1});
    stage.publish(record("src_g", &small)).await;
    stage
        .until_verdict(&sample("src_g", NEW), "body_too_large")
        .await;
    let disabled = SourceRecord {
        disabled: true,
        ..record("src_g", &json!({}))
    };
    stage.publish(disabled).await;
    stage
        .until_verdict(&sample("src_g", NEW), "source_disabled")
        .await;
    let both = sample("src_g", "wrong");
    let both = stage.until_verdict(&both, "source_disabled").await;
    assert_eq!(both[0]["code"], "wrong_secret", "{both}");

    stage.until_status("src_g", NEW, 403).await;
    let last = json!({"source": "src_g"});
    let findings = stage.until_verdict(&last, "source_disabled").await;
    assert_eq!(findings, json!([]));
}

/// What a delivery becomes, or why nothing becomes of it, although its signature holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_owner_is_told_what_a_delivery_becomes() {
    let stage = Stage::start().await;
    stage.seal("new", NEW).await;
    let only = json!({"only_kinds": ["issue_comment"]});
    stage.publish(record("src_h", &only)).await;
    stage.until_status("src_h", NEW, 200).await;
    let event = |kind: &'static str| json!({"x-github-event": kind});
    for (body, headers, verdict, becomes, kinds) in [
        (
            "{}",
            event("issue_comment"),
            "ok",
            "event",
            &["issue_comment"][..],
        ),
        ("{}", event("push"), "filtered", "event", &["push"]),
        ("{}", event("ping"), "ok", "ping", &[]),
        ("no JSON", event("push"), "invalid_json", "", &[]),
        (
            "{}",
            json!({"x-github-event": "issue_comment", "content-encoding": "gzip"}),
            "content_encoding_unsupported",
            "event",
            &["issue_comment"],
        ),
    ] {
        let mut question = sample_of("src_h", NEW, body);
        let all = question["headers"].as_object_mut().expect("headers");
        all.extend(headers.as_object().expect("headers").clone());
        let answer = stage
            .config
            .ask(Service::Ingress, "source_test", &question)
            .await;
        let answer = answer.expect("an answer");
        assert_eq!(answer["verdict"], verdict, "{answer}");
        assert_eq!(
            answer["becomes"].as_str().unwrap_or_default(),
            becomes,
            "{answer}"
        );
        let told: Vec<&str> = answer["kinds"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(told, kinds, "{answer}");
        assert_eq!(
            answer["findings"].as_array().is_some_and(Vec::is_empty),
            verdict == "ok",
            "{answer}"
        );
    }
    let broken = sample_of("src_h", "wrong", "no JSON");
    let both = stage.until_verdict(&broken, "bad_signature").await;
    assert_eq!(both[2]["code"], "invalid_json", "{both}");
}

/// Pasted days later, it is judged by its signature; by its clock where it is known when it came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_owner_may_ask_about_an_old_delivery() {
    let stage = Stage::start().await;
    stage.seal("new", NEW).await;
    let slack = SourceRecord {
        provider: "slack".to_owned(),
        ..record("src_i", &json!({}))
    };
    stage.publish(slack).await;
    let sent = NOW - 90_000;
    let signed = signature::slack(NEW, sent, b"{}").expect("signed");
    let mut question = json!({"source": "src_i", "body_base64": "e30=",
        "headers": {"x-slack-signature": signed, "x-slack-request-timestamp": sent.to_string()}});
    let findings = stage.until_verdict(&question, "ok").await;
    assert_eq!(findings[0]["code"], "old_capture", "{findings}");
    for (after, verdict) in [(1, "ok"), (900, "stale_timestamp")] {
        let came = jiff::Timestamp::from_second(sent + after).expect("in range");
        question["received_at"] = json!(came);
        stage.until_verdict(&question, verdict).await;
    }
}

/// The clock of a sender is known also where it is why nothing is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_refused_is_told() {
    let stage = Stage::start().await;
    stage.seal("new", NEW).await;
    let slack = SourceRecord {
        provider: "slack".to_owned(),
        ..record("src_j", &json!({}))
    };
    stage.publish(slack).await;
    let sent = NOW - 900;
    let signed = signature::slack(NEW, sent, b"{}").expect("signed");
    eventually("it is loaded and refuses", LIMIT, || async {
        let request = stage.ingress.post("/webhooks/slack/src_j").body("{}");
        let request = request.header("x-slack-signature", &signed);
        let request = request.header("x-slack-request-timestamp", sent);
        let status = request.send().await.expect("an answer").status();
        if status == 401 { Ok(()) } else { Err(status) }
    })
    .await;
    let question = json!({"sources": ["src_j"]});
    eventually("the clock is told", TOLD, || async {
        let asking = stage
            .config
            .ask(Service::Ingress, "source_health", &question);
        let answer = asking.await.map_err(|error| error.to_string())?;
        match answer["src_j"]["clock_skew_seconds"].as_i64() {
            Some(-900) => Ok(()),
            _ => Err(answer.to_string()),
        }
    })
    .await;
}

/// A question about an empty delivery that is signed with `secret`.
fn sample(id: &str, secret: &str) -> Value {
    sample_of(id, secret, "{}")
}

fn sample_of(id: &str, secret: &str, body: &str) -> Value {
    let signed = signature::github(secret, body.as_bytes()).expect("signed");
    json!({"source": id, "headers": {"x-hub-signature-256": signed}, "body_base64": STANDARD.encode(body)})
}
