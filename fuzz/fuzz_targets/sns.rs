//! Messages of Amazon SNS, and the certificates that they name: what is taken is of an allowed topic, of this
//! day, and signed by AWS over what it says; what is no certificate is an error.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tocsin_fuzz::{Input, TOLERANCE};
use tocsin_ingress::verify::sns::{Certificate, is_certificate, is_confirmation};
use tocsin_ingress::verify::{LiveSecret, Refusal, Verifier};
use tocsin_wire::scheme::Scheme;

/// That of the messages that AWS published with its SDK.
const NOW: i64 = 1_772_829_000;
/// The second one is theirs.
const TOPICS: [&str; 2] = [
    "arn:aws:sns:eu-west-1:123456789012:other",
    "arn:aws:sns:us-west-2:131990247566:dongie-standard-topic",
];
const CERTIFICATE: &[u8] = include_bytes!(
    "../../tests/fixtures/webhooks/sns/SimpleNotificationService-7506a1e35b36ef5a444dd1a8e7cc3ed8.pem"
);
const SAMPLE: &[u8] =
    include_bytes!("../../tests/fixtures/webhooks/sns/notification.signature_v2.json");

fuzz_target!(|data: &[u8]| {
    let input = Input::read(data);
    match input.choose(vec!["message", "certificate", "url"], |name| {
        (*name).to_owned()
    }) {
        "certificate" => {
            let _either = Certificate::from_pem(input.body);
        }
        "url" => {
            let url = String::from_utf8_lossy(input.body);
            if is_certificate(&url) || is_confirmation(&url) {
                assert!(is_of_aws(&url), "{url}");
            }
        }
        _ => message(input.body),
    }
});

fn message(body: &[u8]) {
    let verifier = Verifier::new(&Scheme::Sns, &TOPICS.map(LiveSecret::always)).expect("a scheme");
    let now = Timestamp::from_second(NOW).expect("in range");
    let certificate = Certificate::from_pem(CERTIFICATE).expect("a certificate");
    let none = http::HeaderMap::new();
    let url = verifier.certificate_url(body, now, TOLERANCE);
    let verdict = verifier.verify_with(&none, body, now, TOLERANCE, Some(&certificate));
    if let Ok(url) = &url {
        assert!(is_of_aws(url.as_deref().expect("SNS has certificates")));
    }
    if let Ok(position) = verdict {
        assert!(url.is_ok(), "taken without what can be checked beforehand");
        // An odd escape in a field that nobody signs is skipped here, and no JSON to others.
        let Ok(message) = serde_json::from_slice::<Value>(body) else {
            return;
        };
        assert_eq!(message["TopicArn"], TOPICS[position]);
        let said = message["Message"].as_str().expect("a text");
        assert!(
            genuine_messages().any(|genuine| genuine["Message"] == said),
            "taken, and AWS never said it"
        );
    }
    let again = verifier.verify_with(&none, body, now, TOLERANCE, Some(&certificate));
    assert_eq!(verdict, again);
    assert!(verifier.verify(&none, body, now, TOLERANCE).is_err());

    let genuine = verifier.verify_with(&none, SAMPLE, now, TOLERANCE, Some(&certificate));
    assert_eq!(genuine, Ok(1));
    let later = Timestamp::from_second(NOW + 86_400).expect("in range");
    let stale = verifier.verify_with(&none, SAMPLE, later, TOLERANCE, Some(&certificate));
    assert_eq!(stale, Err(Refusal::StaleTimestamp));
}

/// Those that the certificate signs.
fn genuine_messages() -> impl Iterator<Item = Value> {
    [
        SAMPLE,
        include_bytes!("../../tests/fixtures/webhooks/sns/notification.with_subject.json"),
        include_bytes!("../../tests/fixtures/webhooks/sns/subscription_confirmation.json"),
    ]
    .into_iter()
    .map(|body: &[u8]| serde_json::from_slice(body).expect("JSON"))
}

/// A second opinion on URLs, by the letters around the region.
fn is_of_aws(url: &str) -> bool {
    let rest = url.strip_prefix("https://sns.").unwrap_or_default();
    let host = rest.split(['/', '?', '#', '@', '\\', ':']).next();
    let host = host.unwrap_or_default();
    let domain = host.strip_suffix(".cn").unwrap_or(host);
    let region = domain.strip_suffix(".amazonaws.com").unwrap_or_default();
    !region.is_empty() && !region.contains('.')
}
