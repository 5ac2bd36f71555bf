use jiff::Timestamp;

use super::*;
use crate::signing::SigningKey;

fn pool(name: &str) -> Audience {
    Audience::Worker(Pool::new(name).expect("pool"))
}

fn place(version: u64, audience: &Audience) -> Place {
    Place {
        org: OrgId::new("acme").expect("org"),
        node: TeamId::new("pay").expect("node"),
        name: SecretName::new("slack").expect("name"),
        version,
        audience: audience.clone(),
    }
}

fn record(place: &Place, keys: &[&SealingPublicKey]) -> SecretRecord {
    let boxes = keys
        .iter()
        .zip(1_u8..)
        .map(|(key, number)| seal(key, place, b"xoxb-1", [number; 32]).expect("seals"));
    SecretRecord {
        org: place.org.to_string(),
        node: place.node.to_string(),
        name: place.name.to_string(),
        version: place.version,
        audience: place.audience.to_string(),
        boxes: boxes.collect(),
    }
}

fn open(keys: &SealingKeys, record: &SecretRecord) -> Result<Vec<u8>, UnsealError> {
    let place = place(0, keys.audience());
    unseal(keys, (&place.org, &place.node, &place.name), record).map(|value| value.to_vec())
}

fn newest(keys: &SealingKeys) -> &SealingPublicKey {
    keys.newest().expect("a key").public()
}

#[test]
fn only_the_audience_opens_and_only_what_belongs_there() {
    let default = SealingKeys::new(pool("default"), [1; 32]);
    let gpu = SealingKeys::new(pool("gpu"), [2; 32]);
    let ingress = SealingKeys::new(Audience::Ingress, [3; 32]);
    let sealed = record(&place(4, &pool("default")), &[newest(&default)]);
    assert_eq!(open(&default, &sealed).as_deref(), Ok(&b"xoxb-1"[..]));

    // Another pool, and the internet-facing room: the record is not theirs, and relabelled it is
    // sealed to another key, and under that key's name it does not open.
    for other in [&gpu, &ingress] {
        let refused = open(other, &sealed).expect_err("foreign");
        assert!(
            matches!(refused, UnsealError::Elsewhere { .. }),
            "{refused}"
        );
        let mut relabelled = sealed.clone();
        relabelled.audience = other.audience().to_string();
        let refused = open(other, &relabelled).expect_err("sealed to another");
        assert!(matches!(refused, UnsealError::NotForUs { .. }), "{refused}");
        relabelled.boxes[0].key_id = newest(other).id().to_string();
        assert_eq!(open(other, &relabelled), Err(UnsealError::Broken));
    }
    // The same private key under another audience: the audience is bound inside.
    let twin = SealingKeys::new(pool("gpu"), [1; 32]);
    let mut relabelled = sealed;
    relabelled.audience = "worker.gpu".to_owned();
    assert_eq!(open(&twin, &relabelled), Err(UnsealError::Broken));
}

#[test]
fn a_box_does_not_open_under_another_name_node_org_or_version() {
    let keys = SealingKeys::new(pool("default"), [1; 32]);
    let sealed = record(&place(4, &pool("default")), &[newest(&keys)]);
    let (org, node, name) = (
        OrgId::new("acme").expect("org"),
        TeamId::new("pay").expect("node"),
        SecretName::new("slack").expect("name"),
    );
    let (rival, web, pager) = (
        OrgId::new("rival").expect("org"),
        TeamId::new("web").expect("node"),
        SecretName::new("pager").expect("name"),
    );
    for (org, node, name) in [
        (&rival, &node, &name),
        (&org, &web, &name),
        (&org, &node, &pager),
    ] {
        let refused = unseal(&keys, (org, node, name), &sealed).expect_err("elsewhere");
        assert!(
            matches!(refused, UnsealError::Elsewhere { .. }),
            "{refused}"
        );
        let mut moved = sealed.clone();
        moved.org = org.to_string();
        moved.node = node.to_string();
        moved.name = name.to_string();
        let refused = unseal(&keys, (org, node, name), &moved);
        assert_eq!(refused, Err(UnsealError::Broken));
    }
    for version in [3, 5] {
        let mut turned = sealed.clone();
        turned.version = version;
        assert_eq!(open(&keys, &turned), Err(UnsealError::Broken));
    }
    let mut flipped = sealed;
    let mut bytes = flipped.boxes[0].content.to_vec();
    *bytes.last_mut().expect("bytes") ^= 1;
    flipped.boxes[0].content = bytes.into();
    assert_eq!(open(&keys, &flipped), Err(UnsealError::Broken));
    flipped.boxes[0].content = vec![0; 10].into();
    assert_eq!(open(&keys, &flipped), Err(UnsealError::Broken));
}

#[test]
fn while_keys_change_the_old_and_the_new_open() {
    let old = SealingKeys::new(pool("default"), [1; 32]);
    let (before, place) = (newest(&old).clone(), place(1, &pool("default")));
    let first = record(&place, &[&before]);
    let new = SealingKeys::from_file(&old.to_file())
        .expect("file")
        .rotated([2; 32]);
    let both = record(&place, &[newest(&new), &before]);
    for (keys, record) in [(&old, &first), (&old, &both), (&new, &first), (&new, &both)] {
        assert_eq!(open(keys, record).as_deref(), Ok(&b"xoxb-1"[..]));
    }
    let only_new = record(&place, &[newest(&new)]);
    assert!(matches!(
        open(&old, &only_new),
        Err(UnsealError::NotForUs { .. })
    ));
}

#[test]
fn key_files_are_read_whole_or_not_at_all_and_never_shown() {
    let keys = SealingKeys::new(pool("default"), [7; 32]).rotated([8; 32]);
    let file = keys.to_file();
    let read = SealingKeys::from_file(&file).expect("reads");
    assert_eq!(read.audience(), &pool("default"));
    assert_eq!(newest(&read), newest(&keys));
    let seed = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    assert!(file.contains(seed) && !format!("{keys:?}").contains(seed));
    for broken in [
        "",
        "{}",
        "{\"audience\":\"worker.default\",\"keys\":[]}",
        &file.replace("worker.default", "everybody"),
        &file.replace(seed, "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg="),
    ] {
        assert!(SealingKeys::from_file(broken).is_err());
    }
}

#[test]
fn only_the_root_names_keys_and_nobody_takes_back_a_revocation() {
    let at = |second| Timestamp::from_second(second).expect("in range");
    let (root, thief) = (
        SigningKey::from_seed(Service::Operator, [1; 32]),
        SigningKey::from_seed(Service::Operator, [9; 32]),
    );
    let keys = SealingKeys::new(Audience::Ingress, [2; 32]);
    let issue = |by: &SigningKey| {
        SealingKeyRecord::issue(by, newest(&keys).clone(), Audience::Ingress, at(100), None)
    };
    let mut ring = SealingRing::new(root.public());
    assert!(!ring.insert(issue(&thief)));
    let mut widened = issue(&root);
    widened.audience = pool("default");
    assert!(!ring.insert(widened));
    assert!(ring.insert(issue(&root)));
    assert_eq!(
        ring.live(&Audience::Ingress, at(150)),
        [newest(&keys).clone()]
    );
    assert!(ring.live(&Audience::Ingress, at(99)).is_empty());
    assert!(ring.live(&pool("default"), at(150)).is_empty());

    let record = issue(&root);
    let text = serde_json::to_string(&record).expect("encodes");
    assert!(text.contains("\"purpose\":\"sealing\""), "{text}");
    assert_eq!(serde_json::from_str(&text).ok(), Some(record.clone()));
    // A sealing key never counts as a signing key, whoever reads it.
    assert!(
        serde_json::from_str::<crate::KeyRecord>(&text).is_err(),
        "a record of a signing key names a service"
    );

    assert!(ring.insert(record.revoked(&root, at(200))));
    assert!(!ring.insert(record));
    assert!(ring.live(&Audience::Ingress, at(250)).is_empty());
}

#[test]
fn audiences_are_the_front_of_their_keys() {
    for (text, expected) in [
        ("ingress", Some(Audience::Ingress)),
        ("worker.default", Some(Audience::default())),
        ("worker.gpu", Some(pool("gpu"))),
        ("worker", None),
        ("worker.", None),
        ("worker.A", None),
        ("worker.a.b", None),
        ("Ingress", None),
        ("", None),
    ] {
        assert_eq!(text.parse().ok(), expected, "{text}");
        if let Some(audience) = expected {
            assert_eq!(audience.to_string(), text);
            assert_eq!(place(1, &audience).key(), format!("{text}.acme.pay.slack"));
        }
    }
}
