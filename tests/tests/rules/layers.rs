//! Who may depend on whom, from `cargo metadata`.

use std::collections::BTreeSet;

use cargo_metadata::{CargoOpt, DependencyKind, MetadataCommand};

use crate::assert_none;
use crate::workspace::root;

/// Each line may use only lines above it.
const LAYERS: [&[&str]; 6] = [
    &["tocsin-wire", "tocsin-expr"],
    &["tocsin-bus", "tocsin-store", "tocsin-kit"],
    &["tocsin-testkit"],
    &[
        "tocsin-ingress",
        "tocsin-router",
        "tocsin-config",
        "tocsin-agent-worker",
        "tocsin-audit",
    ],
    &["tocsin"],
    &["tocsin-tests"],
];

/// What lies on the other side of a wall, and who may reach through it.
const RESERVED: [(&str, &[&str]); 6] = [
    ("async-nats", &["tocsin-bus"]),
    (
        "sqlx",
        &[
            "tocsin-store",
            "tocsin-config",
            "tocsin-audit",
            "tocsin-testkit",
            "tocsin-tests",
        ],
    ),
    (
        "axum",
        &[
            "tocsin-kit",
            "tocsin-ingress",
            "tocsin-config",
            "tocsin-testkit",
        ],
    ),
    (
        "tocsin-store",
        &["tocsin-config", "tocsin-audit", "tocsin-tests"],
    ),
    ("minijinja", &["tocsin-expr"]),
    // One language for all who let tenants write expressions; flow joins them with its room.
    (
        "tocsin-expr",
        &[
            "tocsin-ingress",
            "tocsin-config",
            "tocsin-router",
            "tocsin-agent-worker",
        ],
    ),
];

/// One line of a manifest.
#[derive(Clone, Debug)]
struct Edge {
    from: String,
    to: String,
    is_development: bool,
}

impl Edge {
    fn new(from: &str, to: &str, is_development: bool) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            is_development,
        }
    }
}

#[test]
fn a_crate_uses_only_the_layers_below_it() {
    assert_none("layers (ARCHITECTURE.md, Direction)", &upward(&edges()));
}

#[test]
fn only_their_rooms_use_the_broker_the_database_and_http() {
    assert_none(
        "reserved dependencies (ARCHITECTURE.md, Invariants)",
        &trespasses(&edges()),
    );
}

#[test]
fn every_package_has_a_layer() {
    let placed: BTreeSet<&str> = LAYERS
        .iter()
        .flat_map(|line| line.iter().copied())
        .collect();
    let metadata = MetadataCommand::new()
        .current_dir(root())
        .no_deps()
        .exec()
        .expect("metadata");
    let missing: Vec<String> = metadata
        .packages
        .iter()
        .map(|package| package.name.to_string())
        .filter(|name| !placed.contains(name.as_str()))
        .collect();
    assert_none("packages without a layer", &missing);
}

#[test]
fn no_banned_crate_is_in_the_tree() {
    let banned: Vec<String> = crate::workspace::read("deny.toml")
        .lines()
        .filter_map(|line| {
            Some(
                line.split_once("crate = \"")?
                    .1
                    .split_once('"')?
                    .0
                    .to_owned(),
            )
        })
        .collect();
    assert!(!banned.is_empty(), "deny.toml bans nothing");
    let metadata = MetadataCommand::new()
        .current_dir(root())
        .features(CargoOpt::AllFeatures)
        .exec()
        .expect("metadata");
    let resolve = metadata.resolve.expect("the graph");
    let present: Vec<String> = resolve
        .nodes
        .iter()
        .filter_map(|node| {
            metadata
                .packages
                .iter()
                .find(|package| package.id == node.id)
        })
        .map(|package| package.name.to_string())
        .filter(|name| banned.contains(name))
        .collect();
    assert_none("crates that deny.toml bans", &present);
}

#[test]
fn planted_edges_are_seen() {
    for (edge, broken) in [
        (Edge::new("tocsin-wire", "tocsin-kit", false), true),
        (Edge::new("tocsin-expr", "tocsin-wire", false), true),
        (Edge::new("tocsin-ingress", "tocsin-router", false), true),
        (Edge::new("tocsin-ingress", "tocsin-testkit", false), true),
        (Edge::new("tocsin-kit", "tocsin-bus", false), true),
        (Edge::new("tocsin-bus", "tocsin-kit", true), true),
        (Edge::new("tocsin-bus", "tocsin-testkit", true), false),
        (Edge::new("tocsin-ingress", "tocsin-bus", false), false),
        (Edge::new("tocsin-ingress", "serde", false), false),
    ] {
        assert_eq!(
            !upward(std::slice::from_ref(&edge)).is_empty(),
            broken,
            "{edge:?}"
        );
    }
    assert_eq!(
        trespasses(&[Edge::new("tocsin-router", "async-nats", false)]).len(),
        1
    );
    assert_eq!(
        trespasses(&[Edge::new("tocsin-bus", "async-nats", false)]).len(),
        0
    );
}

fn edges() -> Vec<Edge> {
    let metadata = MetadataCommand::new()
        .current_dir(root())
        .no_deps()
        .exec()
        .expect("metadata");
    metadata
        .packages
        .iter()
        .flat_map(|package| {
            package.dependencies.iter().map(|dependency| {
                let is_development = dependency.kind == DependencyKind::Development;
                Edge::new(&package.name, &dependency.name, is_development)
            })
        })
        .collect()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|line| line.contains(&name))
}

fn upward(edges: &[Edge]) -> Vec<String> {
    let is_wrong = |edge: &&Edge| {
        let (Some(from), Some(to)) = (layer(&edge.from), layer(&edge.to)) else {
            return false;
        };
        let to_testkit = edge.to == "tocsin-testkit";
        match (edge.is_development, edge.from.as_str()) {
            // The top may use everything; all others take the testkit for their tests, and nothing else above.
            (_, "tocsin-tests") => to >= from,
            (true, _) => !to_testkit && to >= from,
            (false, _) => to_testkit || to >= from,
        }
    };
    let wrong = edges.iter().filter(is_wrong);
    wrong
        .map(|edge| format!("{} must not depend on {}", edge.from, edge.to))
        .collect()
}

fn trespasses(edges: &[Edge]) -> Vec<String> {
    let allowed = |edge: &Edge| {
        let wall = RESERVED
            .iter()
            .find(|(crate_name, _)| *crate_name == edge.to);
        wall.is_none_or(|(_, users)| users.contains(&edge.from.as_str()))
    };
    let wrong = edges.iter().filter(|edge| !allowed(edge));
    wrong
        .map(|edge| format!("{} must not use {}", edge.from, edge.to))
        .collect()
}
