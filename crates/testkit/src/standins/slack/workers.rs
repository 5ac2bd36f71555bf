//! Finds the worker that has a run in progress, and kills it with SIGKILL.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::message::Message;
use crate::standins::Error;

/// Kills one of `workers` (name and pid file): the one that the newest message says it runs on,
/// else the first that is alive. Returns its name and pid.
pub(super) async fn kill(
    workers: &[(String, PathBuf)],
    messages: &[Message],
) -> Result<(String, u32), Error> {
    let names: Vec<&str> = workers.iter().map(|(name, _)| name.as_str()).collect();
    let busy = running_on(messages, &names);
    let (first, others): (Vec<_>, Vec<_>) = workers
        .iter()
        .partition(|(name, _)| Some(name.as_str()) == busy);
    for (name, pid_file) in first.into_iter().chain(others) {
        let Some(pid) = read_pid(pid_file).await else {
            continue;
        };
        if signal("-0", pid).await? {
            signal("-9", pid).await?;
            return Ok((name.clone(), pid));
        }
    }
    Err(Error::NoWorker(format!(
        "none of {names:?} has a pid file of a process that is alive"
    )))
}

/// The worker named last, as `… on <name>`, in the context of the newest message that names one.
fn running_on<'n>(messages: &[Message], names: &[&'n str]) -> Option<&'n str> {
    let mut newest: Vec<&Message> = messages.iter().filter(|message| message.is_bot).collect();
    newest
        .sort_by_key(|message| std::cmp::Reverse(message.updated_at.unwrap_or(message.posted_at)));
    newest.into_iter().find_map(|message| {
        let shown = message.shown();
        let place = |name: &&'n str| {
            let found = shown
                .rfind(&format!("on {name}"))
                .or_else(|| shown.rfind(&format!("on `{name}")));
            found.map(|place| (place, *name))
        };
        names.iter().filter_map(place).max().map(|(_, name)| name)
    })
}

async fn read_pid(path: &Path) -> Option<u32> {
    let text = tokio::fs::read_to_string(path).await.ok()?;
    // Pid 0 would be our own process group.
    text.trim().parse().ok().filter(|pid| *pid > 1)
}

/// Whether the signal reached a process.
async fn signal(signal: &str, pid: u32) -> Result<bool, Error> {
    let mut command = Command::new("kill");
    command
        .arg(signal)
        .arg(pid.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = command.status().await.map_err(Error::Kill)?;
    Ok(status.success())
}
