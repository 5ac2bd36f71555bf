//! A source from the command line: made, rotated, switched off and on, and deleted.

use serde_json::Value;
use tocsin_tests::{Options, Stack};

use crate::support::stack_with;

/// What it printed; it must succeed.
pub(crate) async fn run(stack: &Stack, arguments: &[&str], stdin: &str) -> String {
    let mut whole = vec!["sources"];
    whole.extend_from_slice(arguments);
    whole.extend(["--org", "acme"]);
    let printed = stack.tocsin(&whole, stdin.as_bytes()).await;
    let printed = printed.expect("it runs");
    assert!(printed.success, "{whole:?}: {printed:?}");
    printed.stdout
}

/// State and id of each secret.
async fn secrets(stack: &Stack, source: &str) -> Vec<(String, String)> {
    let shown = run(stack, &["show", source, "--json"], "").await;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let text = |secret: &Value, name: &str| secret[name].as_str().expect(name).to_owned();
    let secrets = shown["secrets"].as_array().expect("a list").iter();
    secrets
        .map(|secret| (text(secret, "id"), text(secret, "state")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_kept_from_the_command_line() {
    let options = Options {
        name: "sources".to_owned(),
        sealing: true,
        ..Options::default()
    };
    let (stack, teams) = stack_with(options, 1).await;
    let team = teams[0].name.as_str();
    let create = [
        "create",
        "github",
        "web",
        "--rate-tier=small",
        "--default-team",
        team,
    ];
    let created = run(&stack, &create, "").await;
    let url = format!("{}/webhooks/github/src_", stack.ingress_url());
    assert!(created.contains(&url), "{created}");
    assert!(
        created.contains("into Secret; it is shown this once"),
        "{created}"
    );
    let given = ["create", "pagerduty", "prod", "--secret-stdin"];
    let given = run(&stack, &given, "canary-2f\n").await;
    assert!(
        given.contains("the one that you gave") && !given.contains("canary"),
        "{given}"
    );

    let listed = run(&stack, &["list"], "").await;
    assert_eq!(listed.matches("1 live").count(), 2, "{listed}");
    let only = run(&stack, &["list", "--provider=github"], "").await;
    assert!(only.contains("web") && !only.contains("prod"), "{only}");

    let rotated = run(&stack, &["rotate", "github/web"], "").await;
    assert!(rotated.contains("new secret, shown this once"), "{rotated}");
    assert!(
        rotated.contains("expires in 23 h") || rotated.contains("expires in 24 h"),
        "{rotated}"
    );
    let live = |id: &str| (id.to_owned(), "live".to_owned());
    assert_eq!(secrets(&stack, "web").await, [live("1"), live("2")]);
    run(&stack, &["remove-secret", "web", "1"], "").await;
    assert_eq!(secrets(&stack, "web").await, [live("2")]);

    let update = [
        "update",
        "web",
        "--name=site",
        "--unset=rate-tier",
        "--allow=192.0.2.0/24",
    ];
    let updated = run(&stack, &update, "").await;
    assert!(
        updated.contains("github/site") && updated.contains("192.0.2.0/24"),
        "{updated}"
    );
    assert!(
        updated.contains(team) && !updated.contains("rate_tier"),
        "{updated}"
    );
    let off = run(&stack, &["disable", "site"], "").await;
    assert!(off.starts_with("github/site of acme, off"), "{off}");
    let on = run(&stack, &["enable", "site"], "").await;
    assert!(on.starts_with("github/site of acme, on"), "{on}");

    run(&stack, &["delete", "site"], "").await;
    let gone = ["sources", "show", "site", "--org", "acme"];
    let gone = stack.tocsin(&gone, &[]).await.expect("it runs");
    assert!(
        !gone.success && gone.stderr.contains("no source \"site\""),
        "{gone:?}"
    );
}
