use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use sha2::Sha256;

use super::{LiveSecret, MAX_SIGNATURES, Refusal, Validity, Verifier, standard_webhooks};
use crate::normalize::{github, incidentio, pagerduty, slack};
use crate::provider::Provider;

const BODY: &[u8] = "{\"text\":\"caf\u{e9}\"}".as_bytes();
const NOW: i64 = 1_700_000_000;
const TOLERANCE: Duration = Duration::from_secs(300);

fn headers<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    headers
}

fn verifier(provider: &Provider, secrets: &[&str]) -> Verifier {
    let secrets: Vec<_> = secrets
        .iter()
        .map(|text| LiveSecret::always(text))
        .collect();
    Verifier::new(&provider.schemes[0], &secrets).expect("a scheme")
}

fn verify(provider: &Provider, secrets: &[&str], headers: &HeaderMap) -> Result<usize, Refusal> {
    verifier(provider, secrets).verify(headers, BODY, at(NOW), TOLERANCE)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("in range")
}

fn mac(secret: &str, parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn slack_timestamps_are_strict_and_fresh() {
    for (timestamp, expected) in [
        ("1700000000", Ok(0)),
        ("1699999700", Ok(0)),
        ("1700000300", Ok(0)),
        ("1699999699", Err(Refusal::StaleTimestamp)),
        ("1700000301", Err(Refusal::FutureTimestamp)),
        ("0", Err(Refusal::StaleTimestamp)),
        ("1700000000000", Err(Refusal::MalformedTimestamp)),
        ("170000000000", Err(Refusal::FutureTimestamp)),
        ("", Err(Refusal::MalformedTimestamp)),
        ("-1700000000", Err(Refusal::MalformedTimestamp)),
        ("+1700000000", Err(Refusal::MalformedTimestamp)),
        ("1700000000.0", Err(Refusal::MalformedTimestamp)),
        ("17e8", Err(Refusal::MalformedTimestamp)),
        ("0x6553f100", Err(Refusal::MalformedTimestamp)),
        ("99999999999999999999", Err(Refusal::MalformedTimestamp)),
        ("now", Err(Refusal::MalformedTimestamp)),
    ] {
        let signature = mac("secret", &[b"v0:", timestamp.as_bytes(), b":", BODY]);
        let signature = format!("v0={signature}");
        let headers = headers([
            ("x-slack-signature", signature.as_str()),
            ("x-slack-request-timestamp", timestamp),
        ]);
        let verdict = verify(&slack::PROVIDER, &["secret"], &headers);
        assert_eq!(verdict, expected, "{timestamp:?}");
    }
}

#[test]
fn slack_headers_must_be_there_once_and_well_formed() {
    let right = format!("v0={}", mac("secret", &[b"v0:1700000000:", BODY]));
    let wrong = format!("v0={}", mac("other", &[b"v0:1700000000:", BODY]));
    let time = ("x-slack-request-timestamp", "1700000000");
    let stale = ("x-slack-request-timestamp", "1600000000");
    let signed = |value| ("x-slack-signature", value);
    let (cut, version, longer) = (
        &right[..40],
        right.replace("v0", "v1"),
        format!("{right}00"),
    );
    for (name, pairs, expected) in [
        ("right", vec![time, signed(right.as_str())], Ok(0)),
        (
            "wrong key",
            vec![time, signed(&wrong)],
            Err(Refusal::BadSignature),
        ),
        (
            "truncated",
            vec![time, signed(cut)],
            Err(Refusal::InvalidSignatureFormat),
        ),
        (
            "extended",
            vec![time, signed(&longer)],
            Err(Refusal::InvalidSignatureFormat),
        ),
        (
            "version",
            vec![time, signed(&version)],
            Err(Refusal::InvalidSignatureFormat),
        ),
        (
            "bare",
            vec![time, signed(&right[3..])],
            Err(Refusal::InvalidSignatureFormat),
        ),
        (
            "empty",
            vec![time, signed("")],
            Err(Refusal::InvalidSignatureFormat),
        ),
        ("unsigned", vec![time], Err(Refusal::MissingSignature)),
        (
            "no time",
            vec![signed(&right)],
            Err(Refusal::MissingTimestamp),
        ),
        ("nothing", vec![], Err(Refusal::MissingTimestamp)),
        (
            "two times",
            vec![stale, time, signed(&right)],
            Err(Refusal::DuplicateHeader),
        ),
        (
            "two signatures",
            vec![time, signed(&right), signed(&wrong)],
            Err(Refusal::DuplicateHeader),
        ),
    ] {
        let headers = headers(pairs);
        let verdict = verify(&slack::PROVIDER, &["secret"], &headers);
        assert_eq!(verdict, expected, "{name}");
    }
}

#[test]
fn github_takes_sha256_alone() {
    let right = format!("sha256={}", mac("secret", &[BODY]));
    let wrong = format!("sha256={}", mac("secret", &[b"other body"]));
    let name = "x-hub-signature-256";
    let downgrade = right.replace("sha256", "sha1");
    for (case, pairs, expected) in [
        ("right", vec![(name, right.as_str())], Ok(0)),
        (
            "wrong",
            vec![(name, wrong.as_str())],
            Err(Refusal::BadSignature),
        ),
        (
            "sha1 only",
            vec![("x-hub-signature", right.as_str())],
            Err(Refusal::MissingSignature),
        ),
        (
            "downgrade",
            vec![(name, &downgrade)],
            Err(Refusal::InvalidSignatureFormat),
        ),
        (
            "not hex",
            vec![(name, "sha256=zz")],
            Err(Refusal::InvalidSignatureFormat),
        ),
        (
            "twice",
            vec![(name, &right), (name, &right)],
            Err(Refusal::DuplicateHeader),
        ),
    ] {
        let verdict = verify(&github::PROVIDER, &["secret"], &headers(pairs));
        assert_eq!(verdict, expected, "{case}");
    }
}

#[test]
fn pagerduty_lists_need_one_right_signature_anywhere() {
    let right = format!("v1={}", mac("secret", &[BODY]));
    let wrong = format!("v1={}", mac("other", &[BODY]));
    let v2 = right.replace("v1", "v2");
    let full = vec![wrong.as_str(); MAX_SIGNATURES - 1].join(",");
    for (case, value, expected) in [
        ("one", right.clone(), Ok(0)),
        ("first", format!("{right},{wrong}"), Ok(0)),
        ("last", format!("{wrong}, {right}"), Ok(0)),
        (
            "upper case",
            right.to_uppercase().replace("V1", "v1"),
            Ok(0),
        ),
        (
            "beside unknown versions and noise",
            format!("{v2},,v1=zz,{right}"),
            Ok(0),
        ),
        ("the most", format!("{full},{right}"), Ok(0)),
        (
            "too many",
            format!("{full},{wrong},{right}"),
            Err(Refusal::InvalidSignatureFormat),
        ),
        ("wrong", wrong, Err(Refusal::BadSignature)),
        (
            "unknown versions only",
            v2,
            Err(Refusal::InvalidSignatureFormat),
        ),
        ("empty", String::new(), Err(Refusal::InvalidSignatureFormat)),
    ] {
        let headers = headers([("x-pagerduty-signature", value.as_str())]);
        let verdict = verify(&pagerduty::PROVIDER, &["secret"], &headers);
        assert_eq!(verdict, expected, "{case}");
    }
    let verdict = verify(&pagerduty::PROVIDER, &["secret"], &HeaderMap::new());
    assert_eq!(verdict, Err(Refusal::MissingSignature));
}

#[test]
fn any_live_secret_verifies_and_none_refuses() {
    let signed_with = |secret: &str| {
        let value = format!("sha256={}", mac(secret, &[BODY]));
        headers([("x-hub-signature-256", value.as_str())])
    };
    let keys = ["new", "", "old"];
    let github = &github::PROVIDER;
    assert_eq!(verify(github, &keys, &signed_with("new")), Ok(0));
    assert_eq!(verify(github, &keys, &signed_with("old")), Ok(2));
    assert_eq!(
        verify(github, &keys, &signed_with("")),
        Err(Refusal::BadSignature)
    );
    // What anybody can compute must not open anything.
    for empty in [&[][..], &[""]] {
        let verdict = verify(github, empty, &signed_with(""));
        assert_eq!(verdict, Err(Refusal::MissingSecret));
    }
    assert_eq!(verifier(github, &keys).unusable(), 1);
    assert!(!format!("{:?}", verifier(github, &keys)).contains("old"));
}

#[test]
fn secrets_count_from_one_time_to_another() {
    let signature = format!("sha256={}", mac("secret", &[BODY]));
    let headers = headers([("x-hub-signature-256", signature.as_str())]);
    for (not_before, expires, expected) in [
        (None, None, Ok(0)),
        (Some(NOW), Some(NOW + 1), Ok(0)),
        (Some(NOW + 1), None, Err(Refusal::BadSignature)),
        (None, Some(NOW), Err(Refusal::BadSignature)),
    ] {
        let timed = LiveSecret {
            text: "secret",
            validity: Validity {
                not_before: not_before.map(at),
                expires: expires.map(at),
            },
        };
        let secrets = [timed, LiveSecret::always("another")];
        let verifier = Verifier::new(&github::PROVIDER.schemes[0], &secrets).expect("a scheme");
        let verdict = verifier.verify(&headers, BODY, at(NOW), TOLERANCE);
        assert_eq!(verdict, expected, "{not_before:?} {expires:?}");
        let alone = Verifier::new(&github::PROVIDER.schemes[0], &[timed]).expect("a scheme");
        let verdict = alone.verify(&headers, BODY, at(NOW), TOLERANCE);
        let expected = expected.map_err(|_| Refusal::MissingSecret);
        assert_eq!(verdict, expected, "{not_before:?} {expires:?}");
    }
}

const MESSAGE: &str = "msg_2Lh9";

type Pairs = Vec<(String, String)>;

/// Signed at `NOW` with the secret "secret", and then changed.
fn message(names: [&str; 3], change: &dyn Fn(&mut Pairs)) -> HeaderMap {
    let text = format!("{MESSAGE}.{NOW}.");
    let mut mac = Hmac::<Sha256>::new_from_slice(b"secret").expect("any length");
    mac.update(text.as_bytes());
    mac.update(BODY);
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let values = [MESSAGE.to_owned(), NOW.to_string(), signature];
    let mut pairs: Vec<_> = names.into_iter().map(str::to_owned).zip(values).collect();
    change(&mut pairs);
    headers(
        pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    )
}

#[test]
fn standard_messages_are_taken_whole_or_not_at_all() {
    type Change = fn(&mut Pairs);
    let again = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let changes: [(&str, Change, Result<usize, Refusal>); 9] = [
        ("as it is", |_| (), Ok(1)),
        (
            "no signature",
            |pairs| drop(pairs.remove(2)),
            Err(Refusal::MissingSignature),
        ),
        (
            "no time",
            |pairs| drop(pairs.remove(1)),
            Err(Refusal::MissingTimestamp),
        ),
        (
            "no id",
            |pairs| drop(pairs.remove(0)),
            Err(Refusal::MissingId),
        ),
        (
            "another id",
            |pairs| pairs[0].1.push('x'),
            Err(Refusal::BadSignature),
        ),
        (
            "another time",
            |pairs| pairs[1].1 = (NOW + 1).to_string(),
            Err(Refusal::BadSignature),
        ),
        (
            "an old time",
            |pairs| pairs[1].1 = (NOW - 301).to_string(),
            Err(Refusal::StaleTimestamp),
        ),
        (
            "another version",
            |pairs| pairs[2].1.replace_range(..2, "v2"),
            Err(Refusal::InvalidSignatureFormat),
        ),
        (
            "wrong ones first",
            |pairs| pairs[2].1.insert_str(0, "v1a,x v1,eA== v1, "),
            Ok(1),
        ),
    ];
    let keys = ["whsec_b3RoZXI", "whsec_c2VjcmV0", "no base64!", ""];
    let incidentio = &incidentio::PROVIDER;
    assert_eq!(verifier(incidentio, &keys).unusable(), 2);
    let branded = ["svix-id", "svix-timestamp", "svix-signature"];
    for names in [
        ["webhook-id", "webhook-timestamp", "webhook-signature"],
        branded,
    ] {
        for (what, change, expected) in changes {
            let headers = message(names, &change);
            let got = verify(incidentio, &keys, &headers);
            assert_eq!(got, expected, "{what} {names:?}");
        }
        let twice = message(names, &|pairs| pairs.push(again(names[1], "1")));
        let got = verify(incidentio, &keys, &twice);
        assert_eq!(got, Err(Refusal::DuplicateHeader));
        assert_eq!(standard_webhooks::delivery_id(&twice), MESSAGE);
    }
    let many = message(branded, &|pairs| {
        pairs[2].1 = "v1,eA== ".repeat(MAX_SIGNATURES + 1);
    });
    let got = verify(incidentio, &keys, &many);
    assert_eq!(got, Err(Refusal::InvalidSignatureFormat));
    let got = verify(incidentio, &["", "!"], &many);
    assert_eq!(got, Err(Refusal::MissingSecret));
}
