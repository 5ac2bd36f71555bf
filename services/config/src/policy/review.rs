//! Who may decide on what somebody asked for. Pure.

use tocsin_wire::{OrgId, TeamId};

use super::refusal::PolicyRefusal;
use super::security::SecurityPolicy;
use crate::node::NodeId;

/// How the shared admin token shows in a subject: alone, or with a name that its holder said.
const SHARED: &str = "admin_token";

/// Who reviews.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reviewer {
    /// As it is recorded.
    pub(crate) subject: String,
    /// For a team's own credential: its team.
    pub(crate) team: Option<(OrgId, TeamId)>,
}

/// Whether two subjects are two people, as far as we can tell. The shared admin token is one person
/// unless both times a name came with it, and the names differ: that is a claim, recorded as such,
/// by somebody who could switch the approvals off as well.
pub(crate) fn is_someone_else(requester: &str, reviewer: &str) -> bool {
    let is_shared = |subject: &str| subject.split(':').next() == Some(SHARED);
    if requester == reviewer {
        return false;
    }
    let unnamed = requester == SHARED || reviewer == SHARED;
    !(unnamed && is_shared(requester) && is_shared(reviewer))
}

/// Whether the reviewer may decide on a change of these nodes of the org.
pub(crate) fn may_review(
    reviewer: &Reviewer,
    requester: &str,
    (org, nodes): (&OrgId, &[&NodeId]),
    policy: &SecurityPolicy,
) -> Result<(), PolicyRefusal> {
    if let Some((own_org, own)) = &reviewer.team {
        if !policy.team_may_review {
            return Err(PolicyRefusal::AdminsOnly);
        }
        if own_org != org || nodes.iter().any(|node| *node != own) {
            return Err(PolicyRefusal::NotOnlyYours);
        }
    }
    if is_someone_else(requester, &reviewer.subject) {
        return Ok(());
    }
    Err(PolicyRefusal::OwnRequest {
        requester: requester.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_approves_what_they_asked_for() {
        for (requester, reviewer, other) in [
            ("admin_token", "admin_token", false),
            ("admin_token:ada", "admin_token:ada", false),
            ("admin_token:ada", "admin_token", false),
            ("admin_token", "admin_token:ada", false),
            ("admin_token:ada", "admin_token:bob", true),
            ("team_token:1", "team_token:1", false),
            ("team_token:1", "team_token:2", true),
            ("team_token:1", "admin_token", true),
            ("ai_pipeline", "admin_token", true),
            ("oidc:ada@x", "oidc:ada@x", false),
        ] {
            assert_eq!(
                is_someone_else(requester, reviewer),
                other,
                "{requester} {reviewer}"
            );
        }
    }

    #[test]
    fn a_team_reviews_what_concerns_it_alone_where_the_org_lets_it() {
        let org = OrgId::new("acme").expect("id");
        let (sre, web) = (
            NodeId::new("sre").expect("id"),
            NodeId::new("web").expect("id"),
        );
        let team = |org: &str| Reviewer {
            subject: "team_token:2".to_owned(),
            team: Some((OrgId::new(org).expect("id"), sre.clone())),
        };
        let admins_only = SecurityPolicy {
            team_may_review: false,
            ..SecurityPolicy::default()
        };
        let open = SecurityPolicy::default();
        for (reviewer, nodes, policy, allowed) in [
            (team("acme"), vec![&sre], &open, true),
            (team("acme"), vec![&sre, &web], &open, false),
            (team("umbrella"), vec![&sre], &open, false),
            (team("acme"), vec![&sre], &admins_only, false),
            (
                Reviewer {
                    subject: "admin_token".to_owned(),
                    team: None,
                },
                vec![&sre, &web],
                &admins_only,
                true,
            ),
        ] {
            let verdict = may_review(&reviewer, "team_token:1", (&org, &nodes), policy);
            assert_eq!(verdict.is_ok(), allowed, "{reviewer:?} {nodes:?}");
        }
    }
}
