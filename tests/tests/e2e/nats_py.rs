//! What an operator sees with a client that is not ours: nats-py.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tocsin_tests::Stack;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::support::{RUN_LIMIT, accepted, any_alert, final_message, stack};

/// A Python that can `import nats`: `TOCSIN_PYTHON`, else the one on `PATH`.
#[expect(
    clippy::disallowed_methods,
    reason = "which Python is the environment's choice"
)]
async fn python() -> Option<PathBuf> {
    let given = std::env::var_os("TOCSIN_PYTHON").filter(|path| !path.is_empty());
    let python = given
        .clone()
        .map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let probe = Command::new(&python)
        .args(["-c", "import nats, nkeys"])
        .stderr(Stdio::null())
        .status();
    let is_there = probe.await.is_ok_and(|status| status.success());
    let is_needed = given.is_some() || std::env::var_os("CI").is_some();
    assert!(
        is_there || !is_needed,
        "{} cannot import nats: `./dev test` provides it",
        python.display()
    );
    is_there.then_some(python)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_client_sees_readable_things() {
    let Some(python) = python().await else {
        println!("SKIPPED: no Python with nats-py; set TOCSIN_PYTHON, or run `./dev test`");
        return;
    };
    let (stack, teams) = stack("nats-py", 1).await;
    let seen = look(&stack, &python, async {
        accepted(&stack, &any_alert(&teams[0], "seen from outside")).await;
        final_message(&stack, &teams[0].channel, "seen from outside").await;
    });
    let seen = tokio::time::timeout(RUN_LIMIT, seen)
        .await
        .expect("in time")
        .expect("the script");

    let event = &seen["event"];
    assert_eq!(event["headers"]["ce-specversion"], "1.0");
    assert_eq!(
        event["headers"]["ce-type"],
        "tocsin.pagerduty.incident_triggered.v1"
    );
    assert!(
        event["headers"]["Tocsin-Signature"]
            .as_str()
            .is_some_and(|text| text.starts_with("v1;"))
    );
    assert_eq!(event["decoded"]["event"]["title"], "seen from outside");
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().cloned().unwrap_or_default();
        list.iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    };
    let streams = names(&seen["streams"]);
    for stream in tocsin_wire::streams::STREAMS {
        assert!(
            streams.contains(&stream.name.to_owned()),
            "{} of {streams:?}",
            stream.name
        );
    }
    let consumers = names(&seen["consumers"]);
    for consumer in tocsin_wire::streams::CONSUMERS {
        let name = format!("{}/{}", consumer.stream, consumer.name);
        assert!(consumers.contains(&name), "{name} of {consumers:?}");
    }
    let services = names(&seen["services"]);
    for service in ["audit", "config", "router"] {
        assert!(
            services.iter().any(|name| name.contains(service)),
            "{service} of {services:?}"
        );
    }
}

/// Runs the script; `then` happens once it has subscribed.
async fn look(
    stack: &Stack,
    python: &std::path::Path,
    then: impl Future<Output = ()>,
) -> anyhow::Result<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/look.py");
    let mut child = Command::new(python)
        .arg(script)
        .arg(stack.nats_url())
        .arg(stack.operator_seed())
        .arg(stack.binary())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let ready = tokio::time::timeout(Duration::from_secs(15), lines.next_line()).await??;
    anyhow::ensure!(ready.as_deref() == Some("subscribed"), "{ready:?}");
    then.await;
    let seen = lines
        .next_line()
        .await?
        .context("the script printed nothing")?;
    anyhow::ensure!(child.wait().await?.success(), "the script failed: {seen}");
    Ok(serde_json::from_str(&seen)?)
}
