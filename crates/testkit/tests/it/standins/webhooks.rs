use serde_json::Value;
use tocsin_testkit::standins::{github, pagerduty, signature};

use super::receiver::Receiver;

/// The providers' own published vectors.
#[test]
fn signatures_match_the_published_vectors() {
    let github = signature::github("It's a Secret to Everybody", b"Hello, World!").unwrap();
    assert_eq!(
        github,
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
    assert!(
        signature::pagerduty("", b"x").is_err(),
        "an empty secret signs nothing"
    );
}

#[tokio::test]
async fn deliveries_are_signed_over_the_bytes_that_are_sent() {
    let ingress = Receiver::start(&[]).await;
    let incident = pagerduty::Incident::new("PCHECKOUT", "checkout-api", "5xx");
    let status = pagerduty::deliver(&ingress.url, "pd", &incident)
        .await
        .unwrap();
    assert!(status.is_success());
    let delivery = github::Delivery::workflow_failed("acme/shop", "ci");
    github::deliver(&ingress.url, "gh", &delivery)
        .await
        .unwrap();

    let seen = ingress.seen();
    assert_eq!(seen[0].path, "/webhooks/pagerduty");
    let signed = signature::pagerduty("pd", &seen[0].body).unwrap();
    assert_eq!(seen[0].header("x-pagerduty-signature"), signed);
    let body: Value = serde_json::from_slice(&seen[0].body).unwrap();
    assert_eq!(body["event"]["event_type"], "incident.triggered");
    assert_eq!(body["event"]["data"]["service"]["id"], "PCHECKOUT");
    let again = pagerduty::Incident::new("PCHECKOUT", "checkout-api", "5xx");
    assert_ne!((again.id, again.event_id), (incident.id, incident.event_id));

    assert_eq!(seen[1].path, "/webhooks/github");
    assert_eq!(
        seen[1].header("x-hub-signature-256"),
        signature::github("gh", &seen[1].body).unwrap()
    );
    assert_eq!(seen[1].header("x-github-delivery"), delivery.delivery_id);
}
