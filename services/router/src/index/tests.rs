use std::time::Instant;

use tocsin_wire::proto::RoutingOwner;

use super::*;

const TEAMS_LOADED: usize = 10_000;
const IDENTIFIERS_LOADED: usize = 100_000;
const LOOKUPS: usize = 100_000;

fn record(kind: &IdentifierType, value: &str, owners: &[(&str, &str)]) -> (String, RoutingRecord) {
    let owners = owners.iter().map(|(org, team)| RoutingOwner {
        org: (*org).to_owned(),
        team: (*team).to_owned(),
    });
    let record = RoutingRecord {
        r#type: kind.name.to_owned(),
        value: kind.normalise(value),
        owners: owners.collect(),
    };
    (kind.key(value), record)
}

fn kind(name: &str) -> &'static IdentifierType {
    IdentifierType::named(name).expect("known")
}

#[test]
fn what_config_writes_is_found_however_it_is_spelt() {
    let index = Index::default();
    let repo = kind("github_repo");
    let (key, written) = record(repo, "Acme/Checkout", &[("acme", "pay")]);
    index.put_routing(&key, &written).expect("stored");
    let owner = Owner::new("acme", "pay").expect("tokens");
    assert_eq!(
        *index.owners(repo, " acme/CHECKOUT"),
        *std::slice::from_ref(&owner)
    );
    assert!(index.owners(kind("service"), "Acme/Checkout").is_empty());
    assert!(index.rules(&owner).is_none());
    let team = TeamRecord {
        org: "acme".to_owned(),
        team: "pay".to_owned(),
        effective_config: r#"{"entrance_agent": "triage"}"#.into(),
        ..TeamRecord::default()
    };
    index.put_team("acme.pay", &team).expect("stored");
    assert_eq!(index.rules(&owner).expect("known").agent(), "triage");
    index.remove_routing(&key);
    index.remove_team("acme.pay");
    assert!(index.owners(repo, "acme/checkout").is_empty() && index.rules(&owner).is_none());
}

#[test]
fn an_unusable_record_changes_nothing() {
    let index = Index::default();
    let channel = kind("slack_channel_id");
    let (key, good) = record(channel, "C1", &[("acme", "pay")]);
    index.put_routing(&key, &good).expect("stored");
    let (_, bad_owner) = record(channel, "C1", &[("Acme Inc.", "pay")]);
    let (_, other_key) = record(channel, "C2", &[("evil", "pay")]);
    let unknown = RoutingRecord {
        r#type: "email_domain".to_owned(),
        ..good
    };
    for (record, expected) in [
        (bad_owner, "rule for ids"),
        (other_key, "not about its key"),
        (unknown, "not about its key"),
    ] {
        let error = index.put_routing(&key, &record).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(index.owners(channel, "C1").len(), 1);
    let broken = TeamRecord {
        org: "acme".to_owned(),
        team: "pay".to_owned(),
        effective_config: "{".into(),
        ..TeamRecord::default()
    };
    assert!(matches!(
        index.put_team("acme.pay", &broken),
        Err(RecordError::Config(_))
    ));
    assert!(matches!(
        index.put_team("acme.ops", &broken),
        Err(RecordError::WrongKey { .. })
    ));
}

/// The promise is 50 µs with optimisation; without it and on a busy machine the bound is generous.
#[test]
fn lookups_take_microseconds_among_100_000_identifiers() {
    let index = Index::default();
    let channel = kind("slack_channel_id");
    for number in 0..IDENTIFIERS_LOADED {
        let team = format!("team-{}", number % TEAMS_LOADED);
        let (key, written) = record(channel, &format!("C{number:08}"), &[("acme", &team)]);
        index.put_routing(&key, &written).expect("stored");
    }
    assert_eq!(index.identifiers(), IDENTIFIERS_LOADED);
    let mut nanos: Vec<u128> = Vec::with_capacity(LOOKUPS);
    for number in 0..LOOKUPS {
        // Every other one is nobody's.
        let value = format!("C{:08}", (number * 7919) % (2 * IDENTIFIERS_LOADED));
        #[expect(clippy::disallowed_methods, reason = "measures real time")]
        let begin = Instant::now();
        let found = index.owners(channel, &value);
        nanos.push(begin.elapsed().as_nanos());
        assert!(found.len() <= 1);
    }
    nanos.sort_unstable();
    let at = |share: usize| nanos[LOOKUPS * share / 100];
    println!("lookup p50 {} ns, p99 {} ns", at(50), at(99));
    assert!(at(99) < 50_000, "p99 is {} ns", at(99));
}
