//! A source as people use it: the command line prints a URL and a secret, config seals the secret, ingress
//! opens it, and the owner is told how it goes.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tocsin_testkit::bus::clock;
use tocsin_testkit::eventually;
use tocsin_testkit::standins::github::Delivery;
use tocsin_testkit::standins::signature;
use tocsin_tests::record::read_stream;
use tocsin_tests::{Options, Stack, Team};

use crate::sources::run;
use crate::support::stack_with;

/// Config tells of a change within milliseconds; a loaded machine needs patience.
const KNOWN: Duration = Duration::from_secs(10);
/// Ingress writes every five seconds what it saw.
const TOLD: Duration = Duration::from_secs(20);
/// How long the old secret holds: long enough to be used once more, on a loaded machine too.
const OLD_HOLDS: Duration = Duration::from_secs(8);

/// What the command line printed of a new source.
struct Source {
    team: Team,
    id: String,
    url: String,
    secret: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_signs_with_the_secret_that_the_command_line_printed() {
    let options = Options {
        name: "sealed-sources".to_owned(),
        workers: 1,
        sealing: true,
        // What is written at this level is all that anybody could turn on.
        environment: vec![("LOG_LEVEL".to_owned(), "debug".to_owned())],
        ..Options::default()
    };
    let (stack, teams) = stack_with(options, 1).await;
    let source = created(&stack, &teams[0]).await;
    first_push_is_stored(&stack, &source).await;
    wrong_signature_is_told_to_the_owner(&stack, &source).await;
    sample_is_judged(&stack, &source).await;
    let tokens = strangers_hear_nothing(&stack, &source).await;
    let rotation = clock()();
    let new = rotated(&stack, &source).await;
    last_uses_are_told(&stack, rotation).await;
    old_secret_ends(&stack, &source, &new).await;
    disabled_source_refuses(&stack, &source, &new).await;

    let mut secrets = vec![source.secret, new];
    secrets.extend(tokens);
    no_log_holds(&stack, &source.id, &secrets);
}

/// A push to a repository that no team has: only the source says whose it is.
fn push() -> Delivery {
    let payload = json!({
        "ref": "refs/heads/main", "after": "acb5820ced9479c074f688cc328bf03f341a511d",
        "repository": {"full_name": "acme/nobodys"},
        "sender": {"login": "octocat", "type": "User"},
    });
    Delivery::new("push", &payload)
}

/// Status and body of the answer to a delivery that is signed with `secret`.
async fn deliver(
    stack: &Stack,
    source: &Source,
    secret: &str,
    delivery: &Delivery,
) -> (StatusCode, Value) {
    let signed = signature::github(secret, &delivery.body).expect("a secret");
    let request = stack
        .http
        .post(&source.url)
        .header("content-type", "application/json")
        .header("x-github-event", &delivery.event)
        .header("x-github-delivery", &delivery.delivery_id)
        .header("x-hub-signature-256", signed)
        .body(delivery.body.clone());
    let answer = request.send().await.expect("ingress answers");
    let status = answer.status();
    (status, answer.json().await.unwrap_or_default())
}

/// What follows a word at the beginning of a line.
fn field<'a>(page: &'a str, name: &str) -> &'a str {
    let mut lines = page.lines().map(str::trim);
    let found = lines.find_map(|line| line.strip_prefix(name));
    found
        .unwrap_or_else(|| panic!("no {name} in {page}"))
        .trim()
}

async fn created(stack: &Stack, team: &Team) -> Source {
    let create = ["create", "github", "web", "--default-team", &team.name];
    let page = run(stack, &create, "").await;
    let source = Source {
        team: team.clone(),
        id: field(&page, "github/web of acme is ").to_owned(),
        url: field(&page, "URL ").to_owned(),
        secret: field(&page, "secret ").to_owned(),
    };
    let path = format!("/webhooks/github/{}", source.id);
    assert_eq!(source.url, format!("{}{path}", stack.ingress_url()));
    assert_eq!(source.secret.len(), 64, "{page}");
    source
}

async fn first_push_is_stored(stack: &Stack, source: &Source) {
    let delivery = push();
    eventually("the source is known to ingress", KNOWN, || async {
        let (status, body) = deliver(stack, source, &source.secret, &delivery).await;
        // Before it is known; a good signature is never called a bad one.
        let is_early = [StatusCode::NOT_FOUND, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
        assert!(status == StatusCode::OK || is_early, "{status}: {body}");
        ensure!(!is_early, "{status}: {body}");
        anyhow::Ok(())
    })
    .await;
    assert_eq!(secrets_of_stored(stack, source).await, ["1"]);
}

/// By which secret each stored event of the source was verified; each names the source and its tenant.
async fn secrets_of_stored(stack: &Stack, source: &Source) -> Vec<String> {
    let mut nats = stack.raw_nats().await.expect("nats");
    let filter = format!("events.github.{}.>", source.id);
    let stored = read_stream(&mut nats, "EVENTS", &filter, 1).await;
    let envelopes = stored.expect("EVENTS").into_iter();
    envelopes
        .map(|stored| {
            let envelope = stored.envelope().expect("an envelope");
            let event = envelope.event().expect("an event");
            assert_eq!(event.source_id, source.id);
            let tenant = (&event.org, &event.default_team);
            assert_eq!(tenant, (&source.team.org, &source.team.name));
            event.secret_id.clone()
        })
        .collect()
}

async fn wrong_signature_is_told_to_the_owner(stack: &Stack, source: &Source) {
    let (status, body) = deliver(stack, source, "not the secret", &push()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{body}");
    assert_eq!(body["code"], "signature_bad_signature");
    assert!(
        !body.to_string().contains("No secret"),
        "no hints to senders: {body}"
    );

    eventually("what was taken and refused is told", TOLD, || async {
        let health = ["sources", "health", "--org", "acme", "--json"];
        let health = stack.tocsin_json(&health).await?;
        let figures = &health[0]["figures"];
        let is_told = figures["accepted"] == 1
            && figures["refused"] == json!({"bad_signature": 1})
            && figures["last_findings"][0]["code"] == "wrong_secret";
        ensure!(is_told, "{health}");
        anyhow::Ok(())
    })
    .await;
    let health = run(stack, &["health"], "").await;
    // One forgery does not make a source that works the sender's trouble.
    for told in [
        "ok      github/web: last delivery taken ",
        "refused since: 1 bad_signature",
        "1 taken",
        "refused: 1 bad_signature",
    ] {
        assert!(health.contains(told), "{told}: {health}");
    }
    let last = run(stack, &["test", "web"], "").await;
    let told = "the last delivery that was refused: bad_signature";
    assert!(
        last.starts_with(told) && last.contains("wrong_secret"),
        "{last}"
    );
}

/// What `tocsin sources test` says of a push that is signed with `secret`.
async fn judged(stack: &Stack, secret: &str) -> String {
    let body = push().body;
    let signed = signature::github(secret, &body).expect("a secret");
    let header = format!("X-Hub-Signature-256: {signed}");
    let body = String::from_utf8(body).expect("text");
    let kind = "X-GitHub-Event: push";
    let command = ["test", "web", "--body=-", "-H", &header, "-H", kind];
    run(stack, &command, &body).await
}

async fn sample_is_judged(stack: &Stack, source: &Source) {
    let good = judged(stack, &source.secret).await;
    assert_eq!(good, "this delivery would be taken as push\n");
    let wrong = judged(stack, "not the secret").await;
    let told =
        "this delivery would be refused: bad_signature\n  wrong_secret: No secret of this source";
    assert!(wrong.starts_with(told), "{wrong}");
}

/// Whoever is no admin of the org is refused and told nothing of what ingress saw. Gives the tokens that it
/// made.
async fn strangers_hear_nothing(stack: &Stack, source: &Source) -> [String; 2] {
    let org = json!({"org_id": "other", "name": "Other"});
    stack.admin("POST", "orgs", &org).await.expect("an org");
    let other = issued(stack, "orgs/other/admin-tokens").await;
    let teams = format!("orgs/acme/teams/{}/tokens", source.team.name);
    let team = issued(stack, &teams).await;
    for (org, token, expected) in [
        ("acme", "", (401, "missing_token")),
        ("acme", "nobodys", (401, "invalid_token")),
        ("acme", &team, (403, "admin_required")),
        ("acme", &other, (403, "org_denied")),
        ("other", &other, (404, "source_not_found")),
    ] {
        for (method, verb) in [(Method::POST, "test"), (Method::GET, "health")] {
            let path = format!("api/v1/admin/orgs/{org}/sources/{}/{verb}", source.id);
            let url = format!("{}/{path}", stack.config_url());
            let mut request = stack.http.request(method, url);
            if !token.is_empty() {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await.expect("config answers");
            let status = answer.status().as_u16();
            let text = answer.text().await.expect("a body");
            let body: Value = serde_json::from_str(&text).expect("JSON");
            let code = body["code"].as_str().unwrap_or_default();
            assert_eq!((status, code), expected, "{path}: {text}");
            assert!(!text.contains("bad_signature"), "{path}: {text}");
        }
    }
    [other, team]
}

async fn issued(stack: &Stack, path: &str) -> String {
    let issued = stack
        .admin("POST", path, &json!({}))
        .await
        .expect("a token");
    issued["token"].as_str().expect("its text").to_owned()
}

/// Both secrets hold from the answer of the rotation on; gives the new one.
async fn rotated(stack: &Stack, source: &Source) -> String {
    let holds = format!("--old-expires-in={}s", OLD_HOLDS.as_secs());
    let page = run(stack, &["rotate", "github/web", &holds], "").await;
    let (_, shown) = page
        .split_once("new secret, shown this once")
        .expect("a new secret");
    let new = shown.lines().last().expect("a line").trim().to_owned();
    assert!(new.len() == 64 && new != source.secret, "{page}");
    for secret in [&new, &source.secret] {
        let (status, body) = deliver(stack, source, secret, &push()).await;
        assert_eq!(status, StatusCode::OK, "at the first try: {body}");
    }
    assert_eq!(secrets_of_stored(stack, source).await, ["1", "2", "1"]);
    new
}

/// Both were used since `rotation`, and the list says so of each.
async fn last_uses_are_told(stack: &Stack, rotation: Timestamp) {
    let rotation = rotation.as_second();
    eventually("the last use of both secrets is told", TOLD, || async {
        let list = ["sources", "list", "--org", "acme", "--json"];
        let list = stack.tocsin_json(&list).await?;
        let secrets = list[0]["secrets"].as_array().context("no secrets")?;
        ensure!(secrets.len() == 2, "{list}");
        for secret in secrets {
            let used = secret["last_used"].as_str().context("not used yet")?;
            let used: Timestamp = used.parse()?;
            ensure!(used.as_second() >= rotation, "{list}");
        }
        anyhow::Ok(())
    })
    .await;
    let list = run(stack, &["list"], "").await;
    assert!(list.contains("last used"), "{list}");
}

/// It holds until the time that config says, and the owner is told what is wrong afterwards.
async fn old_secret_ends(stack: &Stack, source: &Source, new: &str) {
    let shown = ["sources", "show", "web", "--org", "acme", "--json"];
    let shown = stack.tocsin_json(&shown).await.expect("a source");
    let ends = shown["secrets"][0]["expires"].as_str().expect("an end");
    let ends: Timestamp = ends.parse().expect("a time");
    let delivery = push();
    let now = clock();
    eventually("the old secret is refused", OLD_HOLDS * 3, || async {
        let (status, body) = deliver(stack, source, &source.secret, &delivery).await;
        ensure!(status != StatusCode::OK, "it is taken");
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{body}");
        assert!(now() >= ends, "refused before its end at {ends}");
        anyhow::Ok(())
    })
    .await;
    let (status, body) = deliver(stack, source, new, &push()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let judged = judged(stack, &source.secret).await;
    let told = "expired_secret: It is signed with secret 1, which did not count when this came";
    assert!(judged.contains(told), "{judged}");
}

async fn disabled_source_refuses(stack: &Stack, source: &Source, new: &str) {
    run(stack, &["disable", "web"], "").await;
    let delivery = push();
    let refused = eventually("the source is disabled", KNOWN, || async {
        let (status, body) = deliver(stack, source, new, &delivery).await;
        ensure!(status != StatusCode::OK, "it is taken");
        anyhow::Ok((status, body))
    });
    let (status, body) = refused.await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
    assert_eq!(body["code"], "source_disabled");
    let health = run(stack, &["health"], "").await;
    assert!(
        health.starts_with("off     github/web: disabled here"),
        "{health}"
    );
    let judged = judged(stack, new).await;
    let told = "this delivery would be refused: source_disabled\n";
    assert!(judged.starts_with(told), "{judged}");
}

/// At the level `debug`, after all of the above.
fn no_log_holds(stack: &Stack, source: &str, secrets: &[String]) {
    let own = &stack.secrets;
    let own = [
        &own.slack,
        &own.pagerduty,
        &own.github,
        &own.admin,
        &own.master_key,
    ];
    let files = std::fs::read_dir(stack.logs()).expect("a folder");
    let mut names = Vec::new();
    for file in files {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("a log");
        for secret in secrets.iter().chain(own) {
            assert!(!text.contains(secret), "{} holds {secret}", path.display());
        }
        if text.contains(source) {
            names.extend(
                path.file_name()
                    .map(|name| name.to_string_lossy().into_owned()),
            );
        }
    }
    assert!(
        names.contains(&"ingress.log".to_owned()),
        "it tells of refusals: {names:?}"
    );
}
