//! A real child process: its output is kept, it can be killed as hard as a machine would, and it never outlives the test.

mod output;
mod program;
mod usage;

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::watch;

use crate::directory::Directory;
use output::Output;
pub use program::Program;

/// SIGKILL takes effect within milliseconds; a process that survives this long hangs in the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A running (or ended) child and its process group. Dropping it kills the whole group.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    exit: watch::Receiver<Option<ExitStatus>>,
    reaped: Mutex<std::sync::mpsc::Receiver<()>>,
    output: Arc<Output>,
    log: PathBuf,
    _own_directory: Option<Directory>,
}

impl Process {
    fn start(program: &Program) -> anyhow::Result<Self> {
        let name = program
            .path
            .file_name()
            .unwrap_or(OsStr::new("?"))
            .to_string_lossy()
            .into_owned();
        let own_directory = program.log.is_none().then(Directory::create).transpose()?;
        let log = match (&program.log, &own_directory) {
            (Some(log), _) => log.clone(),
            (None, Some(directory)) => directory.path().join("output.log"),
            (None, None) => bail!("{name} has no place for its output"),
        };
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open {} for the output of {name}", log.display()))?;
        let (reader, writer) = std::io::pipe().context("cannot make a pipe for the output")?;
        let mut command = program.command();
        command
            .stdout(writer.try_clone().context("cannot share the pipe")?)
            .stderr(writer);
        let output = Output::capture(reader, file).context("cannot start the output's thread")?;

        // The kernel's parent-death signal follows the thread that started the child, so one thread starts it and then
        // stays with it to its end.
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let (ended, exit) = watch::channel(None);
        let (reaping, reaped) = std::sync::mpsc::sync_channel(1);
        let reaper = std::thread::Builder::new()
            .name(format!("reap-{name}"))
            .spawn(move || {
                let _until_the_end: std::sync::mpsc::SyncSender<()> = reaping;
                let child = command.spawn();
                drop(command);
                match child {
                    Ok(mut child) => {
                        let _told = started.send(Ok(child.id()));
                        ended.send_replace(child.wait().ok());
                    }
                    Err(error) => {
                        let _told = started.send(Err(error));
                    }
                }
            });
        reaper.context("cannot start the thread that starts a process")?;
        let pid = start
            .recv()
            .context("the thread that starts a process died")?
            .with_context(|| format!("cannot execute {}", program.path.display()))?;
        let reaped = Mutex::new(reaped);
        Ok(Self {
            name,
            pid,
            exit,
            reaped,
            output,
            log,
            _own_directory: own_directory,
        })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file with everything the process has printed.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last 200 lines of standard output and standard error together.
    pub fn last_lines(&self) -> Vec<String> {
        self.output.last()
    }

    /// How it ended, or `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    pub fn is_running(&self) -> bool {
        // The reaper drops its end of the channel with the process, even when waiting for it failed.
        self.exit_status().is_none() && self.exit.has_changed().is_ok()
    }

    /// The first line that contains `text`, printed already or to come.
    ///
    /// # Errors
    /// After `limit`, or as soon as the process has ended without printing it; the error shows the last lines.
    pub async fn wait_for_line(&self, text: &str, limit: Duration) -> anyhow::Result<String> {
        let search = async {
            let mut count = self.output.watch();
            let mut exit = self.exit.clone();
            let mut next = 0;
            loop {
                count.mark_unchanged();
                match self.output.find(text, next) {
                    Ok(line) => return Ok(line),
                    Err(from) => next = from,
                }
                tokio::select! {
                    _ = count.changed() => {}
                    _ = exit.wait_for(Option::is_some) => {
                        // Its last words may still be on the way through the pipe.
                        if tokio::time::timeout(LAST_WORDS, count.changed()).await.is_err() {
                            bail!("{} ended without printing {text:?}{}", self.name, self.shown());
                        }
                    }
                }
            }
        };
        match tokio::time::timeout(limit, search).await {
            Ok(found) => found,
            Err(_elapsed) => {
                bail!(
                    "{} did not print {text:?} within {limit:?}{}",
                    self.name,
                    self.shown()
                )
            }
        }
    }

    /// SIGKILL to the whole group, and waits until the process is gone.
    ///
    /// # Errors
    /// When the signal cannot be sent or the process stays.
    pub async fn kill_9(&self) -> anyhow::Result<ExitStatus> {
        self.signal("KILL")?;
        self.wait(KILL_LIMIT).await
    }

    /// SIGTERM to the process alone, as a supervisor would; does not wait.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.signal_to("TERM", &self.pid.to_string())
    }

    /// A signal by name (`KILL`, `INT`, `STOP`, `CONT`…) to the whole group; nothing happens when the process has ended.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn signal(&self, signal: &str) -> anyhow::Result<()> {
        self.signal_to(signal, &format!("-{}", self.pid))
    }

    fn signal_to(&self, signal: &str, target: &str) -> anyhow::Result<()> {
        if self.is_running() {
            send_signal(signal, target).with_context(|| {
                format!("cannot send SIG{signal} to {} ({})", self.name, self.pid)
            })?;
        }
        Ok(())
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// After `limit`; the error shows the last lines.
    pub async fn wait(&self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let mut exit = self.exit.clone();
        match tokio::time::timeout(limit, exit.wait_for(Option::is_some)).await {
            Ok(Ok(status)) => (*status).context("the process ended without a status"),
            Ok(Err(_gone)) => bail!("nobody knows how {} ended", self.name),
            Err(_elapsed) => bail!("{} did not end within {limit:?}{}", self.name, self.shown()),
        }
    }

    /// For drops, which cannot await: returns at the end or after `limit`.
    pub(crate) fn wait_blocking(&self, limit: Duration) {
        // Nothing is ever sent: the reaper drops its end when the process is gone.
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        let _disconnected = reaped.recv_timeout(limit);
    }

    /// User and system time so far, in steps of 10 ms (Linux).
    ///
    /// # Errors
    /// When the process has ended or there is no `/proc`.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        usage::cpu_time(self.pid)
    }

    /// Resident memory now, in bytes (Linux).
    ///
    /// # Errors
    /// When the process has ended or there is no `/proc`.
    pub fn rss_bytes(&self) -> anyhow::Result<u64> {
        usage::memory(self.pid, "VmRSS")
    }

    /// Resident memory that is the process's own, in bytes (Linux): without the program's text, which
    /// processes of one program share and the kernel may take back.
    ///
    /// # Errors
    /// When the process has ended or there is no `/proc`.
    pub fn anonymous_bytes(&self) -> anyhow::Result<u64> {
        usage::memory(self.pid, "RssAnon")
    }

    /// Resident memory where what several processes share, such as their program's text, is divided
    /// among them, in bytes (Linux).
    ///
    /// # Errors
    /// When the process has ended or there is no `/proc`.
    pub fn proportional_bytes(&self) -> anyhow::Result<u64> {
        usage::proportional_memory(self.pid)
    }

    /// The highest resident memory so far, in bytes (Linux).
    ///
    /// # Errors
    /// When the process has ended or there is no `/proc`.
    pub fn peak_rss_bytes(&self) -> anyhow::Result<u64> {
        usage::memory(self.pid, "VmHWM")
    }

    /// The last lines, for the message of a failing test.
    pub(crate) fn shown(&self) -> String {
        let lines = self.last_lines();
        if lines.is_empty() {
            "; it printed nothing".to_owned()
        } else {
            format!("; its last lines:\n{}", lines.join("\n"))
        }
    }
}

/// A process that has ended may have printed its last line into the pipe just before.
const LAST_WORDS: Duration = Duration::from_millis(100);

impl Drop for Process {
    fn drop(&mut self) {
        // Also after its end: it may have left children in its group.
        let killed = send_signal("KILL", &format!("-{}", self.pid));
        if killed.is_ok() {
            self.wait_blocking(KILL_LIMIT);
        }
    }
}

/// Through the shell, because the standard library has no signals but SIGKILL to the child itself.
fn send_signal(signal: &str, target: &str) -> anyhow::Result<()> {
    let sent = Command::new("sh")
        .args(["-c", r#"kill -s "$1" -- "$2""#, "sh", signal, target])
        .stdin(Stdio::null())
        .output()
        .context("cannot run sh")?;
    if sent.status.success() {
        Ok(())
    } else {
        bail!(
            "{}",
            String::from_utf8_lossy(&sent.stderr).trim().to_owned()
        )
    }
}
