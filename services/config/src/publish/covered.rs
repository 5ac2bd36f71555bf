//! What has been refreshed already, from a state that holds rows which are still to come. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use tocsin_wire::OrgId;

use super::keys::Target;
use crate::node::NodeId;

/// By what was refreshed: the last row of the outbox that the state then held. Ids rise in the order
/// of the commits, so it held all rows before that one, too.
#[derive(Debug, Default)]
pub(super) struct Covered(Mutex<Horizons>);

#[derive(Debug, Default)]
struct Horizons {
    nodes: BTreeMap<(OrgId, NodeId), i64>,
    targets: BTreeMap<Target, i64>,
    last: i64,
}

impl Covered {
    /// Whether everything at and below a node was refreshed after that row was committed.
    pub(super) fn holds(&self, node: &(OrgId, NodeId), row: i64) -> bool {
        let horizons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        horizons.nodes.get(node).is_some_and(|last| *last >= row)
    }

    /// The same for one key.
    pub(super) fn holds_target(&self, target: &Target, row: i64) -> bool {
        let horizons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        horizons
            .targets
            .get(target)
            .is_some_and(|last| *last >= row)
    }

    /// `row` was published after a node and some keys were refreshed from a state up to `horizon`.
    pub(super) fn note(
        &self,
        node: (OrgId, NodeId),
        targets: BTreeSet<Target>,
        horizon: i64,
        row: i64,
    ) {
        let mut horizons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Rows come in order: once all that was noted is behind, none of it is of use.
        if row >= horizons.last {
            *horizons = Horizons::default();
        }
        if horizon <= row {
            return;
        }
        horizons.last = horizons.last.max(horizon);
        for target in &targets {
            // A team is a node with nothing below it.
            if let Target::Team(org, team) = target {
                let team = (org.clone(), team.clone());
                horizons.nodes.insert(team, horizon);
            }
        }
        horizons.nodes.insert(node, horizon);
        let targets = targets.into_iter().map(|target| (target, horizon));
        horizons.targets.extend(targets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_covered_by_a_refresh_that_began_after_it_was_committed() {
        let covered = Covered::default();
        let node = |id: &str| {
            let org = OrgId::new("acme").expect("id");
            (org, NodeId::new(id).expect("id"))
        };
        let target = |id: &str| {
            let (org, team) = node(id);
            Target::Team(org, team)
        };
        assert!(!covered.holds(&node("acme"), 1));
        covered.note(node("acme"), BTreeSet::from([target("sre")]), 5, 1);
        for (id, row, expected) in [
            ("acme", 5, true),
            ("acme", 6, false),
            ("sre", 5, true),
            ("web", 2, false),
        ] {
            assert_eq!(covered.holds(&node(id), row), expected, "{id} {row}");
        }
        assert!(covered.holds_target(&target("sre"), 5));
        covered.note(node("web"), BTreeSet::new(), 5, 5);
        assert!(
            !covered.holds(&node("acme"), 5),
            "forgotten: nothing more can use it"
        );
    }
}
