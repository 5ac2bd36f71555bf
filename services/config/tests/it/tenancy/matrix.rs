//! Every route with every kind of caller. What is expected comes from the written table and from
//! what kinds of callers are, not from the code.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use super::table::{For, TABLE};
use crate::issuer::Issuer;
use crate::stage::{ADMIN, Answer, INTERNAL, Request, Servers, Service};
use crate::{oidc, openapi};

/// A caller, seen from the org `acme` and its team `sre`, which all paths are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Nobody,
    /// With a text that is no token, or a token with another front.
    Impostor,
    GlobalAdmin,
    /// Of `acme`.
    OrgAdmin,
    /// Of `umbrella`.
    AdminOfOtherOrg,
    /// Of `acme`, with one narrow scope where all are asked for.
    NarrowAdmin,
    /// An admin who looks as `sre`.
    Impersonation,
    /// Of `sre`, by the identity provider, which lets teams read.
    PersonOfTeam,
    /// Signed in, and in no group that counts.
    PersonOfNothing,
    /// Of `sre`, with all permissions.
    Team,
    /// Of `sre`, with all permissions but one.
    TeamWithout(&'static str),
    /// Of `sre`, with one permission.
    TeamWithOnly(&'static str),
    /// Of `web`, in the same org.
    OtherTeam,
    /// Of `ops` in the org `umbrella`.
    TeamOfOtherOrg,
    Service,
    /// With the name of a service, and no secret or a wrong one.
    ServiceWithout,
    ServiceImpostor,
}

struct Caller {
    is: Is,
    headers: Vec<(&'static str, String)>,
    /// What its answers may show of the teams' configs.
    sees: &'static [&'static str],
}

const PERMISSIONS: [&str; 7] = [
    "config:read",
    "config:write",
    "tokens:issue",
    "tokens:revoke",
    "agent:invoke",
    "audit:read",
    "audit:export",
];

const MARKS: [&str; 3] = [
    "mark-of-acme-sre",
    "mark-of-acme-web",
    "mark-of-umbrella-ops",
];

/// `Ok`: the caller gets past the door; what happens behind it is for other tests.
fn expected(route: For, caller: Is) -> Result<(), (u16, &'static str)> {
    use For::{Admins, Everybody, GlobalAdmins, Known, Services, Team, TeamOrItsAdmins};
    match (route, caller) {
        (Everybody, _) => Ok(()),

        (Services, Is::Service) => Ok(()),
        (Services, Is::ServiceWithout) => Err((401, "missing_internal_secret")),
        (Services, Is::ServiceImpostor) => Err((403, "invalid_internal_secret")),
        (Services, _) => Err((401, "missing_internal_service")),
        // The headers of services open nothing else.
        (_, Is::Nobody | Is::Service | Is::ServiceWithout | Is::ServiceImpostor) => {
            Err((401, "missing_token"))
        }

        (_, Is::Impostor) => Err((401, "invalid_token")),
        (_, Is::PersonOfNothing) => Err((403, "no_org_or_team")),
        (Known, _) => Ok(()),

        (GlobalAdmins | Admins, Is::GlobalAdmin) => Ok(()),
        (Admins, Is::OrgAdmin) => Ok(()),
        (Admins, Is::AdminOfOtherOrg) => Err((403, "org_denied")),
        (Admins, Is::NarrowAdmin) => Err((403, "admin_star_required")),
        (GlobalAdmins, Is::OrgAdmin | Is::AdminOfOtherOrg | Is::NarrowAdmin) => {
            Err((403, "global_admin_required"))
        }
        (GlobalAdmins | Admins, _) => Err((403, "admin_required")),

        (Team(_) | TeamOrItsAdmins(_), Is::GlobalAdmin)
        | (Team(_), Is::OrgAdmin | Is::AdminOfOtherOrg | Is::NarrowAdmin) => {
            Err((403, "team_token_required"))
        }
        (TeamOrItsAdmins(_), Is::NarrowAdmin) => Err((403, "admin_star_required")),
        (Team(needed) | TeamOrItsAdmins(needed), Is::PersonOfTeam) => match needed {
            "config:read" => Ok(()),
            _ => Err((403, "permission_denied")),
        },
        (Team(needed) | TeamOrItsAdmins(needed), Is::Impersonation) => match needed {
            "config:read" => Ok(()),
            "audit:read" | "audit:export" => Err((403, "permission_denied")),
            _ => Err((403, "impersonation_is_read_only")),
        },
        (Team(needed) | TeamOrItsAdmins(needed), Is::TeamWithout(missing)) if needed == missing => {
            Err((403, "permission_denied"))
        }
        (Team(needed) | TeamOrItsAdmins(needed), Is::TeamWithOnly(only)) if needed != only => {
            Err((403, "permission_denied"))
        }
        (Team(_) | TeamOrItsAdmins(_), _) => Ok(()),
    }
}

fn caller(is: Is, headers: Vec<(&'static str, String)>, sees: &'static [&'static str]) -> Caller {
    Caller { is, headers, sees }
}

fn bearer(token: &str) -> Vec<(&'static str, String)> {
    vec![("authorization", format!("Bearer {token}"))]
}

/// Those whom the identity provider knows.
fn people(service: &Service, issuer: &Issuer) -> Vec<Caller> {
    let now = service.clock.now();
    let person = |is, claims: Value, sees| caller(is, bearer(&issuer.token(0, now, &claims)), sees);
    vec![
        person(Is::GlobalAdmin, json!({"groups": ["admins"]}), &MARKS),
        person(
            Is::OrgAdmin,
            json!({"groups": ["admins"], "org_id": "acme"}),
            &["mark-of-acme-sre", "mark-of-acme-web"],
        ),
        person(
            Is::AdminOfOtherOrg,
            json!({"groups": ["admins"], "org_id": "umbrella"}),
            &["mark-of-umbrella-ops"],
        ),
        person(
            Is::PersonOfTeam,
            json!({"org_id": "acme", "team_node_id": "sre"}),
            &["mark-of-acme-sre"],
        ),
        person(Is::PersonOfNothing, json!({"groups": ["others"]}), &[]),
    ]
}

#[expect(clippy::too_many_lines, reason = "one table, or one story")]
async fn callers(service: &Service) -> Vec<Caller> {
    let all = || Some(json!({"permissions": PERMISSIONS}));
    let own = service.token("acme", "sre", all()).await.token;
    let neighbour = service.token("acme", "web", all()).await.token;
    let foreign = service.token("umbrella", "ops", all()).await.token;
    let org_admin = async |org: &str, body: Option<Value>| {
        let path = format!("/api/v1/admin/orgs/{org}/admin-tokens");
        let issued = service.admin(Method::POST, &path, body).await;
        issued["token"].as_str().expect("token").to_owned()
    };
    let path = "/api/v1/admin/orgs/acme/teams/sre/impersonation-token";
    let impersonation = service.admin(Method::POST, path, None).await;
    let impersonation = impersonation["token"].as_str().expect("token").to_owned();
    let named = |name: &str| vec![("x-internal-service", name.to_owned())];
    let with_secret = |secret: &str| {
        let mut headers = named("agent");
        headers.push(("x-internal-secret", secret.to_owned()));
        headers
    };
    let mut callers = vec![
        caller(Is::Nobody, Vec::new(), &[]),
        caller(Is::Impostor, bearer("guess"), &[]),
        caller(Is::Impostor, bearer("a.b.c.d"), &[]),
        caller(
            Is::Impostor,
            bearer(&neighbour.replace("acme.web.", "acme.sre.")),
            &[],
        ),
        caller(Is::GlobalAdmin, bearer(ADMIN), &MARKS),
        caller(
            Is::GlobalAdmin,
            vec![("x-admin-token", ADMIN.to_owned())],
            &MARKS,
        ),
        caller(
            Is::OrgAdmin,
            bearer(&org_admin("acme", None).await),
            &["mark-of-acme-sre", "mark-of-acme-web"],
        ),
        caller(
            Is::AdminOfOtherOrg,
            bearer(&org_admin("umbrella", None).await),
            &["mark-of-umbrella-ops"],
        ),
        caller(
            Is::NarrowAdmin,
            bearer(&org_admin("acme", Some(json!({"permissions": ["admin:config:read"]}))).await),
            &["mark-of-acme-sre", "mark-of-acme-web"],
        ),
        caller(
            Is::Impersonation,
            bearer(&impersonation),
            &["mark-of-acme-sre"],
        ),
        caller(Is::Team, bearer(&own), &["mark-of-acme-sre"]),
        caller(Is::OtherTeam, bearer(&neighbour), &["mark-of-acme-web"]),
        caller(
            Is::TeamOfOtherOrg,
            bearer(&foreign),
            &["mark-of-umbrella-ops"],
        ),
        caller(Is::Service, with_secret(INTERNAL), &[]),
        caller(Is::ServiceWithout, named("agent"), &[]),
        caller(Is::ServiceImpostor, with_secret(ADMIN), &[]),
    ];
    for permission in PERMISSIONS {
        let without: Vec<&str> = PERMISSIONS
            .into_iter()
            .filter(|one| *one != permission)
            .collect();
        for (is, permissions) in [
            (Is::TeamWithout(permission), without),
            (Is::TeamWithOnly(permission), vec![permission]),
        ] {
            let body = json!({"permissions": permissions});
            let token = service.token("acme", "sre", Some(body)).await.token;
            callers.push(caller(is, bearer(&token), &["mark-of-acme-sre"]));
        }
    }
    callers
}

/// The path about `sre` of `acme`. Writes are about nodes and things that do not exist, and have a
/// body that fits nothing: whoever gets past the door changes nothing.
fn path_of(method: &Method, template: &str) -> String {
    let (node, other) = match *method {
        Method::GET => ("sre", "00000000-0000-0000-0000-000000000000"),
        _ => ("nobody", "00000000-0000-0000-0000-000000000000"),
    };
    let mut path = String::new();
    for (index, part) in template.split(['{', '}']).enumerate() {
        path += match part {
            part if index % 2 == 0 => part,
            "org" => "acme",
            "node" | "team" => node,
            "asset" => "style.css",
            _ => other,
        };
    }
    path
}

async fn called(service: &Service, method: &Method, path: &str, caller: &Caller) -> Answer {
    let mut request = Request::new(method.clone(), path)
        // What clients of the original may send: it counts for nothing.
        .header("x-org-id", "acme")
        .header("x-team-node-id", "sre");
    for (name, value) in &caller.headers {
        request = request.header(name, value);
    }
    if *method != Method::GET {
        request = request.json(json!(["fits nothing"]));
    }
    service.call(request).await
}

#[tokio::test]
async fn every_route_with_every_kind_of_caller() {
    let (servers, issuer) = (Servers::start().await, Issuer::start().await);
    let service = Service::ready(oidc::trusting(&servers, &issuer)).await;
    service.seed().await;
    for ((org, team), mark) in [("acme", "sre"), ("acme", "web"), ("umbrella", "ops")]
        .into_iter()
        .zip(MARKS)
    {
        service.patch(org, team, json!({"x_mark": mark})).await;
    }
    let document = openapi::document(&service).await;
    let routes: BTreeSet<(String, String)> = openapi::operations(&document)
        .into_iter()
        .map(|(method, path, _)| (method.to_string(), path))
        .collect();
    let written: BTreeSet<(String, String)> = TABLE
        .iter()
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(
        written.len(),
        TABLE.len(),
        "a route stands twice in tests/it/tenancy/table.rs"
    );
    assert_eq!(
        routes, written,
        "left: routes; right: tests/it/tenancy/table.rs, where each needs a row"
    );

    let mut callers = callers(&service).await;
    callers.extend(people(&service, &issuer));
    let mut wrong = Vec::new();
    for (method, template, route) in TABLE {
        let method: Method = method.parse().expect("method");
        let path = path_of(&method, template);
        for caller in &callers {
            let answer = called(&service, &method, &path, caller).await;
            if let Some(why) = fault(*route, caller, &answer) {
                wrong.push(format!("{method} {path} as {:?}: {why}", caller.is));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cells:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    service.stop().await;
}

/// What is wrong with an answer.
fn fault(route: For, caller: &Caller, answer: &Answer) -> Option<String> {
    let (status, code) = answer.problem();
    match expected(route, caller.is) {
        Err(expected) if expected != (status, code) => {
            return Some(format!("{status} {code}, not {expected:?}"));
        }
        Ok(()) if matches!(status, 401 | 403 | 405 | 500..) => {
            return Some(format!("{status} {code}, but it may call this"));
        }
        _ => {}
    }
    let shown = match &answer.body {
        Value::String(text) => text.clone(),
        body => body.to_string(),
    };
    let foreign = MARKS
        .iter()
        .find(|mark| shown.contains(**mark) && !caller.sees.contains(mark));
    foreign.map(|mark| format!("it sees {mark}"))
}
