//! schemathesis reads the description and tries to catch the service breaking it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;

use crate::sources::ingress::StandIn;
use crate::stage::{ADMIN, INTERNAL, Servers, Service};

/// How long it may look in CI; at home it is a sample.
const CI_SECONDS: u64 = 240;
const HOME_SECONDS: u64 = 45;

/// The report of its last minutes and the shrinking of what it found come on top.
const GRACE: Duration = Duration::from_secs(60);

/// Our own checks.
const CHECKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fuzz_checks.py");

/// The program: `TOCSIN_SCHEMATHESIS`.
#[expect(
    clippy::disallowed_methods,
    reason = "which program, and how long, is the environment's choice"
)]
fn program() -> Option<(PathBuf, u64)> {
    let is_ci = std::env::var_os("CI").is_some();
    let given = std::env::var_os("TOCSIN_SCHEMATHESIS").filter(|path| !path.is_empty());
    assert!(
        given.is_some() || !is_ci,
        "TOCSIN_SCHEMATHESIS is not set: `./dev test` provides it"
    );
    let seconds = std::env::var("TOCSIN_FUZZ_SECONDS").ok();
    let seconds = seconds.map(|text| text.parse().expect("TOCSIN_FUZZ_SECONDS is a number"));
    let usual = if is_ci { CI_SECONDS } else { HOME_SECONDS };
    Some((given?.into(), seconds.unwrap_or(usual)))
}

/// Each route with the credential that its description asks for; ids mostly of what is there.
fn settings(team_token: &str) -> String {
    format!(
        r#"
warnings = false
hooks = "{CHECKS}"

[checks.positive_data_acceptance]
# Rules that no schema can say refuse with these; our own check sees to it that parsers do not.
expected-statuses = ["2xx", 400, 401, 403, 404, 409, 413, 422]

[auth.openapi]
admin_token = {{ bearer = "{ADMIN}" }}
admin_header = {{ api_key = "{ADMIN}" }}
team_token = {{ bearer = "{team_token}" }}
internal_service = {{ api_key = "fuzz" }}
internal_secret = {{ api_key = "{INTERNAL}" }}

[dictionaries.orgs]
values = ["acme", "umbrella"]
[dictionaries.nodes]
values = ["acme", "sre", "web"]
[dictionaries.teams]
values = ["sre", "web"]

[parameters]
"path.org" = {{ dictionary = "orgs", probability = 0.8 }}
"path.node" = {{ dictionary = "nodes", probability = 0.8 }}
"path.team" = {{ dictionary = "teams", probability = 0.8 }}
"#
    )
}

async fn fuzz(program: &Path, seconds: u64, folder: &Path, base: &str) -> (bool, String) {
    let mut command = Command::new(program);
    command
        .arg("--config-file")
        .arg(folder.join("schemathesis.toml"))
        .args(["--no-color", "run", &format!("{base}/openapi.json")])
        .args([
            "--checks",
            "all",
            "--phases",
            "examples,coverage,fuzzing,stateful",
        ])
        .args(["--max-time", &seconds.to_string(), "--continue-on-failure"])
        // It says of the generator, not of the API, that it threw away much of what it made.
        .args(["--suppress-health-check", "filter_too_much"])
        .args([
            "--generation-database",
            ":memory:",
            "--request-timeout",
            "20",
        ])
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let limit = Duration::from_secs(seconds) + GRACE;
    let done = tokio::time::timeout(limit, command.output());
    let output = done.await.expect("it ends in time").expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout) + &text(&output.stderr),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() {
    let Some((program, seconds)) = program() else {
        println!("SKIPPED: no schemathesis; set TOCSIN_SCHEMATHESIS, or run `./dev test`");
        return;
    };
    let servers = Servers::start().await;
    let service = Service::ready(servers.settings()).await;
    service.seed().await;
    // Without one, questions that only ingress can answer get 503, as they should.
    let _ingress = StandIn::start(&servers).await;
    let all = json!({"permissions": [
        "config:read", "config:write", "tokens:issue", "tokens:revoke",
        "agent:invoke", "audit:read", "audit:export",
    ]});
    // Of a team that no path above names, so that it lives on.
    let token = service.token("umbrella", "ops", Some(all)).await.token;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemathesis");
    std::fs::create_dir_all(&folder).expect("folder");
    let file = folder.join("schemathesis.toml");
    std::fs::write(file, settings(&token)).expect("writes");
    let (is_clean, report) = fuzz(&program, seconds, &folder, service.base()).await;
    println!("{report}");
    assert!(
        is_clean,
        "schemathesis found something; its report is above"
    );
    service.stop().await;
}
