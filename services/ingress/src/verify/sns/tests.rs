use serde_json::{Value, json};

use super::*;
use crate::verify::Verifier;
use tocsin_wire::scheme::Scheme;

const TOLERANCE: Duration = Duration::from_secs(300);
const TOPIC: &str = "arn:aws:sns:us-west-2:131990247566:dongie-standard-topic";
const BODY: &str =
    include_str!("../../../../../tests/fixtures/webhooks/sns/notification.signature_v2.json");
const OLD: &str =
    include_str!("../../../../../tests/fixtures/webhooks/sns/notification.with_subject.json");
const AWS: &[u8] = include_bytes!(
    "../../../../../tests/fixtures/webhooks/sns/SimpleNotificationService-7506a1e35b36ef5a444dd1a8e7cc3ed8.pem"
);
const OTHER: &[u8] = include_bytes!("../../../../../tests/fixtures/webhooks/sns/test-cert.pem");

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn verdict(body: &str, pem: &[u8], now: &str) -> Result<usize, Refusal> {
    let topics = ["arn:aws:sns:us-west-2:1:other", TOPIC].map(LiveSecret::always);
    let verifier = Verifier::new(&Scheme::Sns, &topics).expect("a scheme");
    let now = at(now);
    let url = verifier.certificate_url(body.as_bytes(), now, TOLERANCE)?;
    assert!(is_certificate(&url.expect("one is needed")));
    let certificate = Certificate::from_pem(pem).expect("a certificate");
    let headers = http::HeaderMap::new();
    verifier.verify_with(
        &headers,
        body.as_bytes(),
        now,
        TOLERANCE,
        Some(&certificate),
    )
}

const SOON: &str = "2026-03-06T20:10:00Z";

/// Found by fuzzing.
#[test]
fn what_is_no_text_is_refused_also_where_nothing_is_signed() {
    let topics = [LiveSecret::always(TOPIC)];
    let verifier = Verifier::new(&Scheme::Sns, &topics).expect("a scheme");
    let mut body = BODY.replace("?Action=Unsubscribe", "?Acti").into_bytes();
    let verdict = |body: &[u8]| verifier.certificate_url(body, at(SOON), TOLERANCE);
    assert!(verdict(&body).is_ok());
    let at = BODY.find("?Action=Unsubscribe").expect("a URL");
    body[at + 1] = 0xff;
    assert_eq!(verdict(&body), Err(Refusal::InvalidSignatureFormat));
}

fn changed(body: &str, name: &str, value: Value) -> String {
    let mut message: Value = serde_json::from_str(body).expect("JSON");
    message[name] = value;
    message.to_string()
}

#[test]
fn what_aws_signed_holds_and_nothing_else() {
    assert_eq!(verdict(BODY, AWS, SOON), Ok(1));
    assert_eq!(verdict(OLD, AWS, SOON), Ok(1));
    let lambda = BODY.replace("SigningCertURL", "SigningCertUrl");
    assert_eq!(verdict(&lambda, AWS, SOON), Ok(1));
    let null = changed(BODY, "Subject", Value::Null);
    assert_eq!(verdict(&null, AWS, SOON), Ok(1));
    let elsewhere = "https://sns.evil.example/SimpleNotificationService-0.pem";
    for (name, value, expected) in [
        ("Message", json!("Another."), Refusal::BadSignature),
        ("MessageId", json!("1"), Refusal::BadSignature),
        ("Subject", json!(""), Refusal::BadSignature),
        ("Subject", json!("New"), Refusal::BadSignature),
        (
            "Timestamp",
            json!("2026-03-06T20:00:26.894Z"),
            Refusal::BadSignature,
        ),
        ("Timestamp", json!("now"), Refusal::MalformedTimestamp),
        (
            "TopicArn",
            json!("arn:aws:sns:us-west-2:1:other"),
            Refusal::BadSignature,
        ),
        (
            "TopicArn",
            json!("arn:aws:sns:us-west-2:1:foreign"),
            Refusal::UnknownTopic,
        ),
        (
            "Type",
            json!("UnsubscribeConfirmation"),
            Refusal::BadSignature,
        ),
        ("Type", json!("Other"), Refusal::InvalidSignatureFormat),
        // A signature of one version is none of the other.
        ("SignatureVersion", json!("1"), Refusal::BadSignature),
        (
            "SignatureVersion",
            json!("3"),
            Refusal::InvalidSignatureFormat,
        ),
        (
            "SignatureVersion",
            json!(2),
            Refusal::InvalidSignatureFormat,
        ),
        ("Signature", json!("AAAA"), Refusal::BadSignature),
        ("Signature", json!("?"), Refusal::InvalidSignatureFormat),
        ("Signature", Value::Null, Refusal::MissingSignature),
        (
            "SigningCertURL",
            json!(elsewhere),
            Refusal::UntrustedCertificate,
        ),
        ("Message", json!(["x"]), Refusal::InvalidSignatureFormat),
    ] {
        let body = changed(BODY, name, value.clone());
        assert_eq!(verdict(&body, AWS, SOON), Err(expected), "{name} {value}");
    }
    let downgraded = changed(OLD, "SignatureVersion", json!("2"));
    assert_eq!(verdict(&downgraded, AWS, SOON), Err(Refusal::BadSignature));
    let twice = BODY.replacen('{', r#"{"Message":"x","#, 1);
    assert_eq!(
        verdict(&twice, AWS, SOON),
        Err(Refusal::InvalidSignatureFormat)
    );
    assert_eq!(
        verdict("[]", AWS, SOON),
        Err(Refusal::InvalidSignatureFormat)
    );
}

#[test]
fn messages_and_certificates_have_their_time() {
    for (now, expected) in [
        ("2026-03-06T19:55:27Z", Ok(1)),
        ("2026-03-06T19:55:26Z", Err(Refusal::FutureTimestamp)),
        ("2026-03-06T22:00:26Z", Ok(1)),
        ("2026-03-06T22:00:27Z", Err(Refusal::StaleTimestamp)),
    ] {
        assert_eq!(verdict(BODY, AWS, now), expected, "{now}");
    }
    // Valid only later.
    let early = verdict(BODY, OTHER, SOON);
    assert_eq!(early, Err(Refusal::UntrustedCertificate));
    let late = changed(BODY, "Timestamp", json!("2026-12-01T00:00:00Z"));
    let expired = verdict(&late, AWS, "2026-12-01T00:00:00Z");
    assert_eq!(expired, Err(Refusal::UntrustedCertificate));
    let other = verdict(&late, OTHER, "2026-12-01T00:00:00Z");
    assert_eq!(other, Err(Refusal::BadSignature));
}

#[test]
fn without_a_topic_or_a_certificate_nothing_holds() {
    for topics in [
        &[][..],
        &[
            "",
            "*",
            "arn:aws:sqs:eu-west-1:1:q",
            "arn:aws:sns:eu-west-1:1",
        ],
    ] {
        let topics: Vec<_> = topics.iter().map(|text| LiveSecret::always(text)).collect();
        let verifier = Verifier::new(&Scheme::Sns, &topics).expect("a scheme");
        assert_eq!(verifier.unusable(), topics.len());
        let asked = verifier.certificate_url(BODY.as_bytes(), at(SOON), TOLERANCE);
        assert_eq!(asked, Err(Refusal::MissingSecret));
    }
    let topics = [LiveSecret::always(TOPIC)];
    let verifier = Verifier::new(&Scheme::Sns, &topics).expect("a scheme");
    let headers = http::HeaderMap::new();
    let verdict = verifier.verify(&headers, BODY.as_bytes(), at(SOON), TOLERANCE);
    assert_eq!(verdict, Err(Refusal::UntrustedCertificate));
}
