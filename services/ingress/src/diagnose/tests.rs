use super::*;
use crate::normalize::{github, slack};
use tocsin_testkit::standins::signature;

const NOW: i64 = 1_700_000_000;
const BODY: &str = "{\"b\":\"caf\u{e9} / x\",\"a\":[1,2]}";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("in range")
}

fn github_codes(secret: LiveSecret<'_>, signed_with: &str, signed: &str) -> Vec<String> {
    let mut headers = HeaderMap::new();
    let signature = signature::github(signed_with, signed.as_bytes()).expect("signed");
    headers.insert("x-hub-signature-256", signature.parse().expect("a value"));
    let case = Case {
        scheme: &github::PROVIDER.schemes[0],
        secrets: &[secret],
        secret_ids: &["7".to_owned()],
        tolerance: Duration::from_secs(300),
        certificate: None,
    };
    let findings = diagnose(case, &headers, BODY.as_bytes(), Receipt::At(at(NOW))).findings;
    for finding in &findings {
        assert!(
            !finding.text.contains(secret.text.trim()),
            "{}",
            finding.text
        );
    }
    findings.into_iter().map(|finding| finding.code).collect()
}

#[test]
fn usual_mistakes_are_named() {
    let secret = LiveSecret::always("a secret");
    let expired = LiveSecret {
        text: "a secret",
        validity: Validity {
            not_before: None,
            expires: Some(at(NOW - 1)),
        },
    };
    for (case, secret, signed_with, signed, expected) in [
        ("right", secret, "a secret", BODY, &[][..]),
        (
            "another secret",
            secret,
            "other",
            BODY,
            &["wrong_secret", "bad_signature"],
        ),
        (
            "expired",
            expired,
            "a secret",
            BODY,
            &["expired_secret", "missing_secret"],
        ),
        (
            "pasted with a line feed",
            LiveSecret::always("a secret\n"),
            "a secret",
            BODY,
            &["secret_has_blanks", "bad_signature"],
        ),
        (
            "a proxy dropped the blanks",
            secret,
            "a secret",
            "{\"b\": \"caf\u{e9} / x\", \"a\": [1, 2]}",
            &["body_changed", "bad_signature"],
        ),
        (
            "a proxy unescaped",
            secret,
            "a secret",
            "{\"b\":\"caf\\u00e9 / x\",\"a\":[1,2]}",
            &["body_changed", "bad_signature"],
        ),
        (
            "a proxy took the line feed",
            secret,
            "a secret",
            &format!("{BODY}\n"),
            &["body_changed", "bad_signature"],
        ),
    ] {
        assert_eq!(
            github_codes(secret, signed_with, signed),
            expected,
            "{case}"
        );
    }
}

const SENT: i64 = NOW - 4_000;

/// A delivery that Slack signed at [`SENT`], with `secret` over `signed`.
fn diagnosed(secret: &str, signed: &str, receipt: Receipt) -> Diagnosis {
    let secrets = [LiveSecret::always("a secret")];
    let case = Case {
        scheme: &slack::PROVIDER.schemes[0],
        secrets: &secrets,
        secret_ids: &[],
        tolerance: Duration::from_secs(300),
        certificate: None,
    };
    let signature = signature::slack(secret, SENT, signed.as_bytes()).expect("signed");
    let mut headers = HeaderMap::new();
    headers.insert("x-slack-signature", signature.parse().expect("a value"));
    headers.insert("x-slack-request-timestamp", SENT.into());
    diagnose(case, &headers, BODY.as_bytes(), receipt)
}

/// Codes of the findings, of which the last is the refusal, where there is one.
fn codes(told: &Diagnosis) -> Vec<&str> {
    let codes: Vec<_> = told
        .findings
        .iter()
        .map(|found| found.code.as_str())
        .collect();
    let refusal = told.refusal.map(Refusal::code);
    assert!(
        refusal.is_none() || codes.last().copied() == refusal,
        "{told:?}"
    );
    codes
}

#[test]
fn a_delivery_that_lay_somewhere_is_judged_by_its_signature() {
    let changed = format!("{BODY}\n");
    for (secret, signed, expected) in [
        ("a secret", BODY, &["old_capture"][..]),
        (
            "other",
            BODY,
            &["wrong_secret", "old_capture", "bad_signature"],
        ),
        (
            "a secret",
            &changed,
            &["body_changed", "old_capture", "bad_signature"],
        ),
    ] {
        let told = diagnosed(secret, signed, Receipt::Before(at(NOW)));
        assert_eq!(codes(&told), expected);
        assert_eq!(told.refusal.is_some(), expected.len() > 1);
        assert_eq!(told.skew_seconds, None);
    }
    // It was captured before now: its clock was even further ahead.
    let told = diagnosed("a secret", BODY, Receipt::Before(at(SENT - 900)));
    assert_eq!(codes(&told), ["clock_skew", "future_timestamp"]);
}

#[test]
fn a_delivery_is_judged_by_the_clock_at_its_receipt_and_by_its_signature() {
    for (secret, came, expected, skew) in [
        ("a secret", SENT + 2, &[][..], None),
        ("other", SENT + 2, &["wrong_secret", "bad_signature"], None),
        (
            "a secret",
            NOW,
            &["clock_skew", "stale_timestamp"],
            Some(-4_000),
        ),
        (
            "a secret",
            SENT - 900,
            &["clock_skew", "future_timestamp"],
            Some(900),
        ),
        // Anybody could have set that clock.
        (
            "other",
            NOW,
            &["wrong_secret", "clock_skew", "stale_timestamp"],
            None,
        ),
    ] {
        let told = diagnosed(secret, BODY, Receipt::At(at(came)));
        assert_eq!(
            (codes(&told).as_slice(), told.skew_seconds),
            (expected, skew)
        );
    }
}

#[test]
fn times_are_told() {
    let text = |secret, receipt| diagnosed(secret, BODY, receipt).findings.remove(0).text;
    let stale = text("a secret", Receipt::At(at(NOW)));
    assert!(
        stale.contains("4000 s behind") && stale.contains("else the signature is right"),
        "{stale}"
    );
    let old = text("a secret", Receipt::Before(at(NOW)));
    assert!(
        old.contains("signed 4000 s ago") && old.contains("The signature holds"),
        "{old}"
    );
}

#[test]
fn foreign_headers_are_named() {
    let case = Case {
        scheme: &slack::PROVIDER.schemes[0],
        secrets: &[LiveSecret::always("a secret")],
        secret_ids: &[],
        tolerance: Duration::from_secs(300),
        certificate: None,
    };
    let mut headers = HeaderMap::new();
    headers.insert("x-hub-signature-256", "sha256=00".parse().expect("a value"));
    let findings = diagnose(case, &headers, BODY.as_bytes(), Receipt::At(at(NOW))).findings;
    assert_eq!(findings[0].code, "other_headers");
    assert!(findings[0].text.contains("GitHub"), "{}", findings[0].text);
}
