use serde_json::json;

use super::*;

fn identifier(kind: &str, value: &str) -> Identifier {
    Identifier {
        kind: kind.to_owned(),
        value: value.to_owned(),
    }
}

fn owner(org: &str, team: &str) -> Owner {
    Owner {
        org: OrgId::new(org).expect("id"),
        team: TeamId::new(team).expect("id"),
    }
}

#[test]
fn a_config_claims_what_its_lists_hold() {
    let config = json!({"routing": {
        "slack_channel_ids": [" C1 ", "C1", "c1", ""],
        "github_repos": ["Acme/API", "acme/api"],
        "services": null,
        "auto": true,
        "other_ids": ["x"],
    }});
    let claims = claimed(Kind::Team, config.as_object().expect("object")).expect("valid");
    let expected = [
        identifier("github_repo", "acme/api"),
        identifier("slack_channel_id", "C1"),
        identifier("slack_channel_id", "c1"),
    ];
    assert_eq!(claims.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(expected[0].key(), "github_repo.acme=2Fapi");
}

#[test]
fn lists_that_are_none_are_refused_by_name() {
    for (routing, expected) in [
        (
            json!({"services": "api"}),
            "routing.services must be a list of strings",
        ),
        (
            json!({"services": [1]}),
            "routing.services must hold strings only",
        ),
        (
            json!({"services": ["x".repeat(513)]}),
            "routing.services holds a value of more than 512 characters",
        ),
    ] {
        let config = json!({"routing": routing});
        let error = claimed(Kind::Team, config.as_object().expect("object")).expect_err("invalid");
        assert_eq!(error.to_string(), expected);
    }
    let none = json!({"routing": []});
    assert_eq!(
        claimed(Kind::Team, none.as_object().expect("object")),
        Ok(BTreeSet::new())
    );
}

#[test]
fn the_lists_of_a_unit_lead_to_the_team_that_it_names() {
    let cases = [
        (json!({"services": ["api"], "default_team": "sre"}), Ok(1)),
        (json!({"services": [], "slack_channel_ids": [" "]}), Ok(0)),
        (json!({"default_team": "sre"}), Ok(0)),
        (
            json!({"services": ["api"]}),
            Err("routing.default_team must name a team below"),
        ),
        (
            json!({"services": ["api"], "default_team": null}),
            Err("routing.default_team must name a team below"),
        ),
        (
            json!({"services": ["api"], "default_team": "Not An Id"}),
            Err("routing.default_team must be the id"),
        ),
        (
            json!({"default_team": ["sre"]}),
            Err("routing.default_team must be the id"),
        ),
    ];
    for (routing, expected) in cases {
        let config = json!({"routing": routing});
        let config = config.as_object().expect("object");
        for kind in [Kind::Unit, Kind::Org] {
            match (claimed(kind, config), &expected) {
                (Ok(claims), Ok(count)) => assert_eq!(claims.len(), *count, "{routing}"),
                (Err(error), Err(start)) => {
                    assert!(error.to_string().starts_with(start), "{error}");
                }
                (got, _) => panic!("{routing}: {got:?}"),
            }
        }
    }
    // A team's lists are its own, whatever it inherits or says.
    let own = json!({"routing": {"services": ["api"]}});
    assert!(claimed(Kind::Team, own.as_object().expect("object")).is_ok());
}

fn owners() -> BTreeMap<Identifier, Vec<Owner>> {
    BTreeMap::from([
        (
            identifier("slack_channel_id", "C1"),
            vec![owner("acme", "pay")],
        ),
        (
            identifier("slack_channel_id", "C2"),
            vec![owner("acme", "pay"), owner("umbrella", "ops")],
        ),
        (
            identifier("slack_workspace_id", "T1"),
            vec![owner("acme", "default")],
        ),
        (
            identifier("slack_workspace_id", "T2"),
            vec![owner("acme", "default"), owner("umbrella", "default")],
        ),
        (
            identifier("github_repo", "acme/api"),
            vec![owner("acme", "api")],
        ),
    ])
}

#[test]
fn the_most_specific_identifier_decides() {
    let owners = owners();
    for (sent, expected, tried) in [
        (
            json!({"github_repo":"Acme/API","slack_channel_id":"C1"}),
            "acme/pay by slack_channel_id=C1",
            1,
        ),
        (
            json!({"github_repo":"Acme/API","slack_channel_id":"C9"}),
            "acme/api by github_repo=Acme/API",
            2,
        ),
        (
            json!({"slack_channel_id":"C9","slack_workspace_id":"T1"}),
            "acme/default by slack_workspace_id=T1",
            2,
        ),
        (
            json!({"slack_channel_id":"C2","slack_workspace_id":"T1"}),
            "acme/pay by slack_channel_id=C2",
            1,
        ),
        (
            json!({"slack_channel_id":"C2","slack_workspace_id":"T2"}),
            "ambiguous slack_channel_id",
            1,
        ),
        (
            json!({"slack_channel_id":"C2","github_repo":"acme/api"}),
            "ambiguous slack_channel_id",
            1,
        ),
        (
            json!({"slack_channel_id":"c1","email_domain":"acme.com","service":7,"github_repo":""}),
            "nobody",
            1,
        ),
        (json!({}), "nobody", 0),
    ] {
        let sent: BTreeMap<String, Value> = serde_json::from_value(sent).expect("map");
        let found = lookup(&asked(&sent), &owners);
        let verdict = match found.verdict {
            Verdict::Team { owner, matched } => format!(
                "{}/{} by {}={}",
                owner.org, owner.team, matched.identifier.kind, matched.sent
            ),
            Verdict::Ambiguous(asked) => format!("ambiguous {}", asked.identifier.kind),
            Verdict::Nobody => "nobody".to_owned(),
        };
        assert_eq!(
            (verdict.as_str(), found.tried.len()),
            (expected, tried),
            "{sent:?}"
        );
    }
}
