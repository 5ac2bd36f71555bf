//! The operator's commands, run as a person would run them.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{Stack, environment};

/// Longest a command may take; `--wait` has its own limit below it.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// What a command printed.
#[derive(Debug)]
pub struct Printed {
    /// Whether it exited with 0.
    pub success: bool,
    /// What it exited with; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Stack {
    /// Runs `tocsin <arguments>` with the operator's identity.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub async fn tocsin(&self, arguments: &[&str], stdin: &[u8]) -> anyhow::Result<Printed> {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .env_clear()
            .envs(environment::identity(&self.bus))
            .env("INGRESS_URL", self.ingress_url())
            .env("CONFIG_URL", self.config_url())
            .env("PAGERDUTY_WEBHOOK_SECRET", &self.secrets.pagerduty)
            .env("SLACK_SIGNING_SECRET", &self.secrets.slack)
            .env("GITHUB_WEBHOOK_SECRET", &self.secrets.github)
            // Commands that take config's place need what config has.
            .envs(environment::config(self))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().context("starting tocsin")?;
        let mut input = child.stdin.take().context("no pipe to tocsin")?;
        let told = async {
            // A command that does not read its input may be gone before it is written.
            let _written = input.write_all(stdin).await;
            drop(input);
        };
        let both = futures::future::join(told, child.wait_with_output());
        let ended = tokio::time::timeout(COMMAND_LIMIT, both).await;
        let ((), output) = ended.with_context(|| format!("tocsin {arguments:?} does not end"))?;
        let output = output?;
        Ok(Printed {
            success: output.status.success(),
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// As [`Stack::tocsin`], for a command that prints JSON.
    ///
    /// # Errors
    /// When it fails or prints something else.
    pub async fn tocsin_json(&self, arguments: &[&str]) -> anyhow::Result<serde_json::Value> {
        let printed = self.tocsin(arguments, &[]).await?;
        ensure!(
            printed.success,
            "tocsin {arguments:?}: {}{}",
            printed.stderr,
            printed.stdout
        );
        serde_json::from_str(&printed.stdout)
            .with_context(|| format!("tocsin {arguments:?} printed {}", printed.stdout))
    }
}
