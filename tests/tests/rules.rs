//! The rules of ARCHITECTURE.md and STYLE.md as tests: no broker, no database, a few seconds.
//!
//! Each rule is a function from text or metadata to a list of violations, so that a planted one can
//! show that the rule sees it.
#![cfg(test)]

#[path = "rules/containers.rs"]
mod containers;
#[path = "rules/documents.rs"]
mod documents;
#[path = "rules/layers.rs"]
mod layers;
#[path = "rules/manifests.rs"]
mod manifests;
#[path = "rules/profile.rs"]
mod profile;
#[path = "rules/sources.rs"]
mod sources;
#[path = "rules/workspace.rs"]
mod workspace;

/// Fails with every violation, not only the first.
fn assert_none(rule: &str, violations: &[String]) {
    assert!(
        violations.is_empty(),
        "{rule}:\n  {}",
        violations.join("\n  ")
    );
}
