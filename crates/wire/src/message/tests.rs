use proptest::prelude::*;

use super::*;
use crate::ids::RunId;
use crate::keyring::KeyRecord;
use crate::priority::Priority;
use crate::proto;
use crate::proto::Decision;
use crate::token::Pool;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn ring_with(keys: &[&SigningKey]) -> KeyRing {
    let root = SigningKey::from_seed(Service::Operator, [1; 32]);
    let mut ring = KeyRing::new(root.public());
    for key in keys {
        let record = KeyRecord::issue(&root, key.public(), key.service(), at(0), None, None);
        assert!(ring.insert(record));
    }
    ring
}

fn router() -> SigningKey {
    SigningKey::from_seed(Service::Router, [3; 32])
}

fn decision(detail: &str) -> Envelope {
    let event = EventId::derive("pagerduty:shared:1");
    let body = Body::Decision(Decision {
        event_id: event.to_string(),
        run_id: RunId::derive(detail, "acme", "pay").to_string(),
        ..Decision::default()
    });
    let org = OrgId::new("acme").expect("token");
    let team = TeamId::new("pay").expect("token");
    Envelope::new(
        MessageId::decision(event),
        Service::Router,
        at(1_700_000_000),
        event,
        Some(event.into()),
        body,
    )
    .owned_by(&org, &team)
}

fn decisions() -> Subject {
    "results.router.decision.acme.pay".parse().expect("subject")
}

#[test]
fn a_sealed_message_opens_and_a_changed_one_does_not() {
    let key = router();
    let ring = ring_with(&[&key]);
    let sealed = seal(&decision("x"), &decisions(), &key, Some("00-trace"));
    let opened = open(
        &sealed.subject,
        &sealed.headers,
        &sealed.payload,
        &ring,
        at(1),
    )
    .expect("opens");
    assert_eq!(opened.envelope, decision("x"));
    assert_eq!(opened.service, Service::Router);

    for name in [
        "ce-id",
        "ce-time",
        "tenant",
        "correlationid",
        "causationid",
        "ce-subject",
    ] {
        let mut changed = sealed.clone();
        for (known, value) in &mut changed.headers {
            if *known == name {
                value.push('x');
            }
        }
        let error = open(
            &changed.subject,
            &changed.headers,
            &changed.payload,
            &ring,
            at(1),
        );
        assert_eq!(error.expect_err(name).code(), "signature_invalid", "{name}");
    }
    let unsigned: Vec<(&'static str, String)> = Vec::new();
    let error = open(&sealed.subject, &unsigned, &sealed.payload, &ring, at(1));
    assert_eq!(
        error.expect_err("unsigned"),
        OpenError::Signature(VerifyError::Missing)
    );
}

#[test]
fn among_many_each_counts_for_itself() {
    let (key, other) = (router(), SigningKey::from_seed(Service::Router, [4; 32]));
    let ring = ring_with(&[&key, &other]);
    let subject = decisions().to_string();
    let count = 3 * CHECKED_AT_ONCE + 1;
    let sealed: Vec<Sealed> = (0..count)
        .map(|index| {
            let key = if index % 2 == 0 { &key } else { &other };
            seal(&decision(&index.to_string()), &decisions(), key, None)
        })
        .collect();
    // None, one by each rule, the first and the last of a group, all of one group.
    for forged in [
        vec![],
        vec![5],
        vec![0, CHECKED_AT_ONCE - 1, count - 1],
        (CHECKED_AT_ONCE..2 * CHECKED_AT_ONCE).collect(),
    ] {
        let mut stored = sealed.clone();
        for &index in &forged {
            // The signature of another message of the same writer.
            let from = (index + 2) % count;
            stored[index]
                .headers
                .retain(|(name, _)| *name != SIGNATURE_HEADER);
            let taken = sealed[from]
                .headers
                .header(SIGNATURE_HEADER)
                .expect("signed");
            stored[index]
                .headers
                .push((SIGNATURE_HEADER, taken.to_owned()));
        }
        let claimed = stored.iter().map(|one| {
            claim(&subject, &one.headers, &one.payload, &ring, at(1)).expect("known key")
        });
        for (index, opened) in open_all(claimed.collect()).into_iter().enumerate() {
            let alone = open(
                &subject,
                &stored[index].headers,
                &stored[index].payload,
                &ring,
                at(1),
            );
            match (opened, alone) {
                (Ok(opened), Ok(alone)) => {
                    assert!(!forged.contains(&index), "{index} is forged");
                    assert_eq!(opened.envelope, alone.envelope);
                }
                (Err(error), Err(alone)) => {
                    assert!(forged.contains(&index), "{index} is genuine");
                    assert_eq!(error, alone);
                }
                _ => panic!("{index} is judged in two ways"),
            }
        }
    }
}

#[test]
fn a_writer_cannot_say_one_thing_in_headers_and_another_in_the_body() {
    let key = router();
    let ring = ring_with(&[&key]);
    let envelope = decision("x");
    let payload = Bytes::from(envelope.encode_to_vec());
    let mut attributes = envelope.attributes();
    attributes.tenant = "other/team".into();
    let signature = key.sign(&attributes, &decisions().to_string(), &digest(&payload));
    let mut headers = header_list(attributes);
    headers.push((SIGNATURE_HEADER, signature));
    let error = open(&decisions().to_string(), &headers, &payload, &ring, at(1));
    assert_eq!(error.expect_err("lie").code(), "header_mismatch");
}

#[test]
fn a_message_in_the_backlog_is_signed_for_the_work_subject() {
    let key = router();
    let ring = ring_with(&[&key]);
    let backlog = Subject::BacklogRun {
        pool: Pool::shared(),
        org: OrgId::new("acme").expect("token"),
        team: TeamId::new("pay").expect("token"),
        priority: Priority::High,
    };
    let sealed = seal(&decision("x"), &backlog, &key, None);
    assert_eq!(sealed.subject, "backlog.run.default.acme.pay.p2");
    let work = "work.run.default.acme.pay";
    assert!(open(work, &sealed.headers, &sealed.payload, &ring, at(1)).is_ok());
    assert!(
        open(
            &sealed.subject,
            &sealed.headers,
            &sealed.payload,
            &ring,
            at(1)
        )
        .is_err()
    );
}

#[test]
fn the_published_vectors_hold() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../vectors/signature.json")).expect("JSON");
    let key = SigningKey::from_seed(Service::Router, [3; 32]);
    assert_eq!(vectors["public_key"], key.public().to_string());
    let cases = vectors["cases"].as_array().expect("cases");
    assert!(!cases.is_empty());
    for case in cases {
        let (attributes, subject, body) = read_case(case);
        assert_eq!(
            case["signed_text"],
            crate::signing::signed_text(&attributes, &subject, &digest(&body))
        );
        assert_eq!(
            case["signature"],
            key.sign(&attributes, &subject, &digest(&body)),
            "{}",
            case["name"]
        );
    }
}

fn read_case(case: &serde_json::Value) -> (Attributes<'_>, String, Vec<u8>) {
    let text = |name: &str| case["headers"][name].as_str().unwrap_or_default().into();
    let attributes = Attributes {
        id: text("ce-id"),
        source: text("ce-source"),
        kind: text("ce-type"),
        time: text("ce-time"),
        about: text("ce-subject"),
        correlation_id: text("correlationid"),
        causation_id: text("causationid"),
        tenant: text("tenant"),
    };
    let body = case["body_hex"].as_str().expect("hex");
    let body = (0..body.len())
        .step_by(2)
        .map(|index| u8::from_str_radix(&body[index..index + 2], 16).expect("hex"))
        .collect();
    (
        attributes,
        case["subject"].as_str().expect("subject").to_owned(),
        body,
    )
}

proptest! {
    #[test]
    fn header_values_never_break_the_line(about in ".{0,60}") {
        let body = Body::Claim(proto::Claim { key: about, ..proto::Claim::default() });
        let event = EventId::derive("x");
        let envelope = Envelope::new(event.into(), Service::Router, at(1), event, None, body);
        let encoded = envelope.attributes().about;
        prop_assert!(encoded.bytes().all(|byte| (0x21..=0x7e).contains(&byte)));
    }

    #[test]
    fn values_open_only_under_their_own_key(key_name in "[a-z]{1,10}", other in "[a-z]{1,10}") {
        let key = router();
        let ring = ring_with(&[&key]);
        let subject = |name: &str| Subject::KeyValue { bucket: "seen".to_owned(), key: name.to_owned() };
        let value = seal_value(&decision("x"), &subject(&key_name), &key);
        let opens = |name: &str| open_value(&subject(name).to_string(), &value, &ring, at(1)).is_ok();
        prop_assert!(opens(&key_name));
        prop_assert_eq!(opens(&other), other == key_name);
    }
}
