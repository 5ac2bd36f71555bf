use super::*;

fn caller(kind: CallerKind) -> Caller {
    let is_team = matches!(kind, CallerKind::Team | CallerKind::Impersonation);
    let org = OrgId::new("acme").expect("id");
    let is_admin = matches!(kind, CallerKind::GlobalAdmin | CallerKind::OrgAdmin);
    Caller {
        kind,
        proof: Proof::TeamToken,
        subject: "test".to_owned(),
        email: None,
        org: (is_team || kind == CallerKind::OrgAdmin).then_some(org),
        team: is_team.then(|| TeamId::new("sre").expect("id")),
        scopes: is_admin.then_some(Scope::All).into_iter().collect(),
        permissions: if is_team {
            Permission::ALL.into_iter().collect()
        } else {
            BTreeSet::new()
        },
        token: None,
    }
}

#[test]
fn each_kind_passes_where_it_belongs() {
    use CallerKind::{GlobalAdmin, Impersonation, Internal, OrgAdmin, Team};
    let read = Permission::ConfigRead;
    let write = Permission::ConfigWrite;
    let scope = Scope::ConfigRead;
    let rows = [
        (
            Access::Internal,
            "internal_service_required",
            vec![Internal],
        ),
        (
            Access::GlobalAdmin(scope),
            "admin_required",
            vec![GlobalAdmin],
        ),
        (
            Access::Admin(scope),
            "admin_required",
            vec![GlobalAdmin, OrgAdmin],
        ),
        (
            Access::Team(read),
            "team_token_required",
            vec![Team, Impersonation],
        ),
        (Access::Team(write), "team_token_required", vec![Team]),
        (
            Access::TeamOrOrgAdmin(write, scope),
            "team_token_required",
            vec![Team, OrgAdmin],
        ),
    ];
    for (access, otherwise, allowed) in rows {
        for kind in [GlobalAdmin, OrgAdmin, Team, Impersonation, Internal] {
            let judged = judge(access, &caller(kind), Some("acme"), true);
            let expected = match kind {
                kind if allowed.contains(&kind) => None,
                OrgAdmin if matches!(access, Access::GlobalAdmin(_)) => {
                    Some("global_admin_required")
                }
                Impersonation if otherwise == "team_token_required" => {
                    Some("impersonation_is_read_only")
                }
                _ => Some(otherwise),
            };
            let code = judged.err().map(|problem| problem.code.into_owned());
            assert_eq!(code.as_deref(), expected, "{access:?} {kind:?}");
        }
    }
}

#[test]
fn an_admin_of_one_org_stays_in_it() {
    let admin = caller(CallerKind::OrgAdmin);
    for (org, passes) in [
        (Some("acme"), true),
        (Some("umbrella"), false),
        (None, false),
    ] {
        let judged = judge(Access::Admin(Scope::ConfigRead), &admin, org, true);
        assert_eq!(judged.is_ok(), passes, "{org:?}");
        if let Err(problem) = judged {
            assert_eq!(
                problem.detail,
                "Access denied: you can only access org 'acme'"
            );
        }
    }
}

#[test]
fn narrow_scopes_count_only_when_the_star_is_not_required() {
    let mut admin = caller(CallerKind::GlobalAdmin);
    admin.scopes = [Scope::ConfigRead].into();
    let judged = |scope, require_star| {
        let judged = judge(Access::Admin(scope), &admin, Some("acme"), require_star);
        judged.map_err(|problem| problem.code.into_owned())
    };
    assert_eq!(judged(Scope::ConfigRead, false), Ok(()));
    assert_eq!(judged(Scope::Tokens, false), Err("scope_denied".to_owned()));
    for scope in Scope::ALL {
        assert_eq!(judged(scope, true), Err("admin_star_required".to_owned()));
        assert_eq!(Scope::parse(scope.as_str()), Some(scope));
    }
}

#[test]
fn a_permission_that_a_token_lacks_is_named() {
    let mut team = caller(CallerKind::Team);
    team.permissions.remove(&Permission::ConfigWrite);
    let problem = judge(Access::Team(Permission::ConfigWrite), &team, None, true)
        .expect_err("it may not write");
    assert_eq!(problem.code, "permission_denied");
    assert!(
        problem.detail.contains("config:write"),
        "{}",
        problem.detail
    );
}
