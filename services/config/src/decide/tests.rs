use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::change::What;
use crate::node::tests::node;
use crate::node::{Kind, Node, Tree};

fn object(value: Value) -> Config {
    match value {
        Value::Object(object) => object,
        other => panic!("not an object: {other}"),
    }
}

fn id(text: &str) -> NodeId {
    NodeId::new(text).expect("id")
}

fn known(nodes: Vec<Node>) -> Known {
    Known {
        org: OrgId::new("acme").expect("id"),
        tree: Tree::new(nodes),
        last_versions: Default::default(),
        past: Default::default(),
    }
}

/// acme → platform → (db, sre); acme → web
fn acme() -> Known {
    known(vec![
        node("acme", None, Kind::Org, json!({})),
        node("platform", Some("acme"), Kind::Unit, json!({})),
        node("db", Some("platform"), Kind::Unit, json!({})),
        node("sre", Some("platform"), Kind::Team, json!({"a":1})),
        node("web", Some("acme"), Kind::Team, json!({})),
    ])
}

fn author() -> Author {
    Author {
        by: "ada".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    }
}

fn create(node: &str, parent: Option<&str>, kind: Kind) -> WriteRequest {
    let action = Action::Create {
        parent: parent.map(id),
        kind,
        name: String::new(),
        config: Config::new(),
    };
    WriteRequest::new(id(node), action)
}

fn place(node: &str, parent: &str) -> WriteRequest {
    let action = Action::Place {
        parent: Some(id(parent)),
        name: None,
    };
    WriteRequest::new(id(node), action)
}

fn delete(node: &str, recursive: bool) -> WriteRequest {
    WriteRequest::new(id(node), Action::Delete { recursive })
}

fn patch(node: &str, config: Value) -> WriteRequest {
    WriteRequest::new(id(node), Action::Patch(object(config)))
}

fn rollback(node: &str, version: u64) -> WriteRequest {
    WriteRequest::new(id(node), Action::Rollback(version))
}

/// A line of units as long as it may be, and a unit with a team beside it.
fn deep() -> Known {
    let mut deep = vec![node("acme", None, Kind::Org, json!({}))];
    for level in 1..=MAX_DEPTH {
        let above = match level {
            1 => "acme".to_owned(),
            _ => format!("u{}", level - 1),
        };
        let name = format!("u{level}");
        deep.push(node(&name, Some(&above), Kind::Unit, json!({})));
    }
    deep.push(node("side", Some("acme"), Kind::Unit, json!({})));
    deep.push(node("low", Some("side"), Kind::Team, json!({})));
    known(deep)
}

type Case<'a> = (&'a Known, WriteRequest, Option<&'a str>);

fn are_judged(cases: Vec<Case<'_>>) {
    for (known, request, refused) in cases {
        match (write(known, &request, &author()), refused) {
            (Ok(_), None) => {}
            (Err(error), Some(text)) => assert!(error.to_string().contains(text), "{error}"),
            (result, _) => panic!("{request:?}: {result:?}"),
        }
    }
}

#[test]
fn a_new_node_needs_a_fitting_parent() {
    let (acme, deep, none) = (acme(), deep(), known(Vec::new()));
    are_judged(vec![
        (&none, create("acme", None, Kind::Org), None),
        (&acme, create("x", Some("acme"), Kind::Team), None),
        (
            &none,
            create("other", None, Kind::Org),
            Some("an org is a root"),
        ),
        (
            &acme,
            create("acme", Some("acme"), Kind::Org),
            Some("an org is a root"),
        ),
        (
            &acme,
            create("x", None, Kind::Team),
            Some("need a parent_id"),
        ),
        (
            &acme,
            create("x", Some("gone"), Kind::Team),
            Some("no node gone"),
        ),
        (
            &acme,
            create("x", Some("web"), Kind::Team),
            Some("web is a team"),
        ),
        (
            &acme,
            create("web", Some("acme"), Kind::Team),
            Some("already has"),
        ),
        (
            &none,
            create("x", Some("acme"), Kind::Team),
            Some("there is no org acme"),
        ),
        (&deep, create("x", Some("u63"), Kind::Team), None),
        (
            &deep,
            create("x", Some("u64"), Kind::Team),
            Some("at most 64"),
        ),
    ]);
}

#[test]
fn a_node_moves_or_goes_where_the_tree_keeps_its_shape() {
    let (acme, deep) = (acme(), deep());
    are_judged(vec![
        (&deep, place("side", "u62"), None),
        (&deep, place("side", "u63"), Some("would be 65 levels deep")),
        (&acme, place("sre", "db"), None),
        (&acme, place("platform", "db"), Some("itself or below it")),
        (
            &acme,
            place("platform", "platform"),
            Some("itself or below it"),
        ),
        (&acme, place("sre", "web"), Some("web is a team")),
        (&acme, place("acme", "platform"), Some("cannot be moved")),
        (&acme, place("gone", "acme"), Some("has no node gone")),
        (&acme, delete("web", false), None),
        (&acme, delete("platform", true), None),
        (
            &acme,
            delete("platform", false),
            Some("2 nodes right below it: db, sre"),
        ),
        (&acme, delete("gone", true), Some("has no node gone")),
    ]);
}

#[test]
fn deleting_all_below_goes_from_the_leaves_up() {
    let effects = write(&acme(), &delete("acme", true), &author()).expect("allowed");
    let gone: Vec<&str> = effects
        .iter()
        .map(|effect| effect.after.id.as_str())
        .collect();
    assert_eq!(gone, ["sre", "db", "web", "platform", "acme"]);
    assert!(effects.iter().all(Effect::is_deletion));
}

#[test]
fn later_requests_see_earlier_ones() {
    let mut known = acme();
    for (request, what) in [
        (create("new", Some("acme"), Kind::Unit), What::Created),
        (place("sre", "new"), What::Moved),
        (patch("sre", json!({"b":2})), What::Updated),
        (delete("platform", true), What::Deleted),
        (create("platform", Some("new"), Kind::Team), What::Created),
    ] {
        let effects = write(&known, &request, &author()).expect("allowed");
        assert!(
            effects.iter().all(|effect| effect.what == what),
            "{effects:?}"
        );
        known.apply(&effects);
    }
    let line = known.tree.lineage(&id("sre")).expect("there");
    assert_eq!(line.version(), "acme@1/new@1/sre@3");
    assert_eq!(
        Value::Object(line.0[2].config.clone()),
        json!({"a":1,"b":2})
    );
    // Its namesake was deleted at version 2.
    let line = known.tree.lineage(&id("platform")).expect("there");
    assert_eq!(line.version(), "acme@1/new@1/platform@3");
}

#[test]
fn a_stale_version_is_refused_with_both_sides() {
    let request = patch("sre", json!({"b":2})).expecting(Some(7));
    match write(&acme(), &request, &author()) {
        Err(Refusal::VersionConflict {
            expected: 7,
            actual: 1,
            current,
            yours,
            ..
        }) => {
            assert_eq!(Value::Object(*current), json!({"a":1}));
            assert_eq!(Value::Object(*yours), json!({"a":1,"b":2}));
        }
        other => panic!("{other:?}"),
    }
    assert!(write(&acme(), &request.expecting(Some(1)), &author()).is_ok());
    for request in [delete("web", false), place("sre", "db")] {
        let refused = write(&acme(), &request.expecting(Some(3)), &author());
        assert!(matches!(refused, Err(Refusal::VersionConflict { .. })));
    }
}

#[test]
fn a_rollback_is_a_new_version_with_its_reason() {
    let mut known = acme();
    known
        .past
        .insert((id("sre"), 1), Some(object(json!({"old":true}))));
    known.past.insert((id("sre"), 2), None);
    for (request, reason) in [
        (rollback("sre", 1), "Rollback to version 1"),
        (
            rollback("sre", 1).because("bad prompt".to_owned()),
            "Rollback to version 1: bad prompt",
        ),
    ] {
        let effects = write(&known, &request, &author()).expect("allowed");
        let [effect] = effects.as_slice() else {
            panic!("{effects:?}")
        };
        assert_eq!((effect.reason.as_str(), effect.after.version), (reason, 2));
        assert_eq!(
            Value::Object(effect.after.config.clone()),
            json!({"old":true})
        );
        assert!(effect.diff.added.contains_key("old") && effect.diff.removed.contains_key("a"));
    }
    for version in [0, 2, 9] {
        let refused = write(&known, &rollback("sre", version), &author());
        assert!(
            matches!(refused, Err(Refusal::NoVersion { .. })),
            "{version}"
        );
    }
}

#[test]
fn time_never_goes_back_from_version_to_version() {
    let mut known = acme();
    let mut sre = known.tree.get(&id("sre")).expect("there").clone();
    sre.updated_at = Timestamp::from_second(100).expect("time");
    known.tree.put(sre);
    let effects = write(&known, &patch("sre", json!({})), &author()).expect("allowed");
    assert_eq!(effects[0].after.updated_at.as_second(), 100);
}

#[test]
fn what_cannot_be_stored_is_refused_by_name() {
    let big = || json!({"x":"x".repeat(MAX_CONFIG_BYTES - 10)});
    let heavy = known(vec![
        node("acme", None, Kind::Org, big()),
        node("one", Some("acme"), Kind::Unit, big()),
        node("two", Some("one"), Kind::Unit, big()),
        node("sre", Some("two"), Kind::Team, json!({})),
    ]);
    let acme = acme();
    for (known, change, text) in [
        (
            &acme,
            json!({"a":{"b":["x", "\u{0}"]}}),
            "\"a.b.1\" holds U+0000",
        ),
        (&acme, json!({"k\u{0}":1}), "holds U+0000"),
        (
            &acme,
            json!({"a":"x".repeat(MAX_CONFIG_BYTES)}),
            "at most 262144 are allowed",
        ),
        (
            &heavy,
            json!({"a":"x".repeat(100)}),
            "through sre to a team",
        ),
    ] {
        let error = write(known, &patch("sre", change), &author()).expect_err(text);
        assert!(error.to_string().contains(text), "{error}");
    }
    let long = WriteRequest::new(
        id("sre"),
        Action::Place {
            parent: None,
            name: Some("x".repeat(MAX_NAME_CHARS + 1)),
        },
    );
    assert!(write(&acme, &long, &author()).is_err());
}
