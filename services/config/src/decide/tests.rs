use serde_json::json;

use super::*;
use crate::node::tests::node;

fn object(value: Value) -> Config {
    match value {
        Value::Object(object) => object,
        other => panic!("not an object: {other}"),
    }
}

fn new_node(id: &str, parent: Option<&str>, kind: Kind) -> NewNode {
    NewNode {
        org: OrgId::new("acme").expect("id"),
        id: NodeId::new(id).expect("id"),
        parent: parent.map(|parent| NodeId::new(parent).expect("id")),
        kind,
        name: String::new(),
        config: Config::new(),
    }
}

#[test]
fn a_node_needs_a_fitting_parent() {
    let root = Lineage(vec![node("acme", None, Kind::Org, json!({}))]);
    let team = Lineage(vec![node("web", Some("acme"), Kind::Team, json!({}))]);
    let deep = Lineage(vec![
        node("unit", Some("acme"), Kind::Unit, json!({}));
        MAX_LEVELS
    ]);
    for (new, parent, refused) in [
        (new_node("acme", None, Kind::Org), None, None),
        (new_node("sre", Some("acme"), Kind::Team), Some(&root), None),
        (
            new_node("other", None, Kind::Org),
            None,
            Some("an org is a root"),
        ),
        (
            new_node("acme", Some("acme"), Kind::Org),
            Some(&root),
            Some("an org is a root"),
        ),
        (
            new_node("sre", None, Kind::Team),
            None,
            Some("need a parent_id"),
        ),
        (
            new_node("sre", Some("gone"), Kind::Team),
            None,
            Some("has no node gone"),
        ),
        (
            new_node("sre", Some("web"), Kind::Team),
            Some(&team),
            Some("web is a team"),
        ),
        (
            new_node("sre", Some("unit"), Kind::Team),
            Some(&deep),
            Some("at most 8 levels"),
        ),
    ] {
        match (create(&new, parent), refused) {
            (Ok(_), None) => {}
            (Err(error), Some(text)) => assert!(error.to_string().contains(text), "{error}"),
            (result, _) => panic!("{new:?}: {result:?}"),
        }
    }
}

#[test]
fn a_patch_says_what_changes_and_what_the_team_claims() {
    let team = node(
        "sre",
        Some("acme"),
        Kind::Team,
        json!({"a":1,"routing":{"services":["api"]}}),
    );
    let change = object(json!({"a":2,"routing":{"services":["API","web"]}}));
    let outcome = patch(&team, &change, Some(1)).expect("allowed");
    assert_eq!(
        Value::Object(outcome.config),
        json!({"a":2,"routing":{"services":["API","web"]}})
    );
    assert_eq!(outcome.diff.changed.len(), 2);
    let values: Vec<&str> = outcome
        .claims
        .iter()
        .map(|claim| claim.value.as_str())
        .collect();
    assert_eq!(values, ["api", "web"]);

    let unit = node("platform", Some("acme"), Kind::Unit, json!({}));
    assert!(matches!(
        patch(&unit, &change, None),
        Err(Refusal::Routing(_))
    ));
}

#[test]
fn a_stale_version_is_refused_before_anything_else() {
    let team = node("sre", Some("acme"), Kind::Team, json!({}));
    let error =
        patch(&team, &object(json!({"routing":{"services":1}})), Some(7)).expect_err("stale");
    assert_eq!(
        error.to_string(),
        "sre is at version 1, not 7; read it again and repeat the change"
    );
}

#[test]
fn what_cannot_be_stored_is_refused_by_name() {
    let team = node("sre", Some("acme"), Kind::Team, json!({}));
    for (change, text) in [
        (json!({"a":{"b":["x", "\u{0}"]}}), "\"a.b.1\" holds U+0000"),
        (json!({"k\u{0}":1}), "holds U+0000"),
        (
            json!({"a":"x".repeat(MAX_CONFIG_BYTES)}),
            "at most 98304 are allowed",
        ),
        (
            json!({"routing":{"services":"x"}}),
            "must be a list of strings",
        ),
    ] {
        let error = patch(&team, &object(change), None).expect_err(text);
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn only_an_empty_team_is_deleted() {
    let team = node("sre", Some("acme"), Kind::Team, json!({}));
    let unit = node("platform", Some("acme"), Kind::Unit, json!({}));
    assert_eq!(delete_team(&team, 0, None), Ok(()));
    assert!(matches!(
        delete_team(&team, 2, None),
        Err(Refusal::HasChildren { .. })
    ));
    assert!(matches!(
        delete_team(&team, 0, Some(3)),
        Err(Refusal::VersionConflict { .. })
    ));
    assert!(matches!(
        delete_team(&unit, 0, None),
        Err(Refusal::NotATeam { .. })
    ));
}
