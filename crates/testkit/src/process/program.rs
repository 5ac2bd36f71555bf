//! What a child process is started with.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Process;
use crate::environment;
use crate::postgres::ServerUser;

/// What to start: a program, its arguments and what differs from the test's own environment.
#[derive(Debug)]
pub struct Program {
    pub(super) path: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    clear_environment: bool,
    directory: Option<PathBuf>,
    pub(super) log: Option<PathBuf>,
    user: Option<ServerUser>,
}

impl Program {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            clear_environment: false,
            directory: None,
            log: None,
            user: None,
        }
    }

    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn envs<N, V>(self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        variables
            .into_iter()
            .fold(self, |program, (name, value)| program.env(name, value))
    }

    /// Starts with nothing but `PATH` and what [`Program::env`] adds, so that a developer's shell cannot change a test.
    #[must_use]
    pub fn clear_env(mut self) -> Self {
        self.clear_environment = true;
        self
    }

    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Appends all output to this file; without it to a file that is removed with the process.
    #[must_use]
    pub fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self
    }

    /// Runs as another user, for a server that refuses to be root.
    #[must_use]
    pub(crate) fn user(mut self, user: Option<ServerUser>) -> Self {
        self.user = user;
        self
    }

    /// Starts the program in a process group of its own.
    ///
    /// # Errors
    /// When the program cannot be executed or the machine has no resources for it.
    pub fn start(self) -> anyhow::Result<Process> {
        Process::start(&self)
    }

    pub(super) fn command(&self) -> Command {
        let mut command = self.wrapped();
        if self.clear_environment {
            command.env_clear();
            if let Some(path) = environment::search_path() {
                command.env("PATH", path);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    /// Behind `setpriv`, where there is one: it sets the user and asks the kernel to kill the program with its parent,
    /// then becomes the program, so the process id is the program's.
    fn wrapped(&self) -> Command {
        let mut options: Vec<OsString> = Vec::new();
        if let Some(user) = &self.user {
            options.extend(user.setpriv_options());
        }
        let wrapper = environment::on_path("setpriv");
        if wrapper.as_deref().is_some_and(knows_parent_death_signal) {
            options.extend(["--pdeathsig".into(), "KILL".into()]);
        }
        match wrapper {
            Some(setpriv) if !options.is_empty() => {
                let mut command = Command::new(setpriv);
                command
                    .args(options)
                    .arg("--")
                    .arg(&self.path)
                    .args(&self.arguments);
                command
            }
            _ => {
                let mut command = Command::new(&self.path);
                command.args(&self.arguments);
                command
            }
        }
    }
}

/// util-linux has the option, busybox has a `setpriv` without it.
fn knows_parent_death_signal(setpriv: &Path) -> bool {
    let mut probe = Command::new(setpriv);
    probe
        .args(["--pdeathsig", "KILL", "true"])
        .stderr(Stdio::null())
        .stdout(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}
