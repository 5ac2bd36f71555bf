//! A private PostgreSQL server in a folder of its own.

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;

use crate::directory::Directory;
use crate::environment;
use crate::ports::ReservedPort;
use crate::process::{Process, Program};

/// Usually ready in 100 ms; recovery after a kill on a loaded machine takes longer.
const START_LIMIT: Duration = Duration::from_secs(30);
/// An immediate shutdown ends all backends within milliseconds.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How often a starting server is asked whether it answers.
const PROBE_PAUSE: Duration = Duration::from_millis(10);
/// The database superuser; there is no password, the server listens on 127.0.0.1 only.
const ROLE: &str = "tocsin";
/// Tests throw their data away, so nothing is synced to disk. A killed server still recovers all that was committed:
/// the kernel has its writes (with `synchronous_commit=off` it would not).
const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=100",
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=32MB",
    "log_min_messages=warning",
];

/// Whom the server runs as, when that is not the test's own user.
#[derive(Debug, Clone)]
pub(crate) struct ServerUser {
    uid: u32,
    gid: u32,
}

impl ServerUser {
    /// PostgreSQL refuses to run as root; then it runs as `nobody`. `own` is a folder that this process has created.
    fn for_server(own: &Path) -> anyhow::Result<Option<Self>> {
        let us = std::fs::metadata(own)
            .with_context(|| format!("no {}", own.display()))?
            .uid();
        if us != 0 {
            return Ok(None);
        }
        environment::on_path("setpriv").context(
            "PostgreSQL does not run as root and there is no setpriv (util-linux) to run it as nobody: run the tests \
             as another user or set DATABASE_URL",
        )?;
        let users = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        users
            .lines()
            .find_map(nobody)
            .context("/etc/passwd has no user nobody")
            .map(Some)
    }

    pub(crate) fn setpriv_options(&self) -> Vec<OsString> {
        let (uid, gid) = (self.uid, self.gid);
        vec![
            format!("--reuid={uid}").into(),
            format!("--regid={gid}").into(),
            "--clear-groups".into(),
        ]
    }
}

fn nobody(line: &str) -> Option<ServerUser> {
    let mut fields = line.strip_prefix("nobody:")?.split(':').skip(1);
    Some(ServerUser {
        uid: fields.next()?.parse().ok()?,
        gid: fields.next()?.parse().ok()?,
    })
}

#[derive(Debug)]
pub(super) struct Cluster {
    process: Process,
    server: Installed,
    port: ReservedPort,
}

/// Data and programs, ready to start.
#[derive(Debug)]
struct Installed {
    directory: Directory,
    programs: PathBuf,
    user: Option<ServerUser>,
}

impl Cluster {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let programs = environment::postgres_programs()?;
        let directory = Directory::create()?;
        let user = ServerUser::for_server(directory.path())?;
        if let Some(user) = &user {
            chown(directory.path(), Some(user.uid), Some(user.gid))
                .with_context(|| format!("cannot give {} away", directory.path().display()))?;
        }
        let server = Installed {
            directory,
            programs,
            user,
        };
        server.fill()?;
        let port = ReservedPort::take()?;
        let process = server.start(&port).await?;
        Ok(Self {
            process,
            server,
            port,
        })
    }

    pub(super) fn url(&self) -> String {
        url(&self.port)
    }

    pub(super) async fn kill(&self) -> anyhow::Result<()> {
        self.process.kill_9().await.map(drop)
    }

    pub(super) async fn stop(&self) -> anyhow::Result<()> {
        self.process.signal("QUIT")?;
        self.process.wait(STOP_LIMIT).await.map(drop)
    }

    pub(super) async fn restart(&mut self) -> anyhow::Result<()> {
        if self.process.is_running() {
            self.stop().await?;
        }
        let deadline = Instant::now() + START_LIMIT;
        loop {
            match self.server.start(&self.port).await {
                Ok(process) => {
                    self.process = process;
                    return Ok(());
                }
                // The backends of a killed server notice its death only when they next wait for something.
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(error) if format!("{error:#}").contains("shared memory") => {
                    tokio::time::sleep(PROBE_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // In order when possible, so that no segment of shared memory stays behind; the process's own drop kills.
        if self.process.signal("QUIT").is_ok() {
            self.process.wait_blocking(STOP_LIMIT);
        }
    }
}

impl Installed {
    /// A copy of the data folder that the first test of this machine made: copying is quicker than `initdb`.
    fn fill(&self) -> anyhow::Result<()> {
        let template = self.template()?;
        self.run(Command::new("cp").arg("-a").arg(template).arg(self.data()))
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// `<temp>/tocsin-postgres-<uid>-<version>`, which only that user can write.
    fn template(&self) -> anyhow::Result<PathBuf> {
        let owner = std::fs::metadata(self.directory.path())
            .context("the test's folder is gone")?
            .uid();
        let postgres = self.programs.join("postgres");
        let version = Command::new(&postgres)
            .arg("--version")
            .output()
            .with_context(|| format!("cannot execute {}", postgres.display()))?;
        let version = String::from_utf8_lossy(&version.stdout);
        let version = version
            .split_whitespace()
            .nth(2)
            .context("postgres tells no version")?;
        let template = std::env::temp_dir().join(format!("tocsin-postgres-{owner}-{version}"));
        match std::fs::metadata(&template) {
            Ok(metadata) if metadata.uid() == owner => return Ok(template),
            Ok(_) => bail!("{} belongs to somebody else: remove it", template.display()),
            Err(_missing) => {}
        }
        let fresh = self.directory.path().join("template");
        self.run(
            Command::new(self.programs.join("initdb"))
                .arg("-D")
                .arg(&fresh)
                .args([
                    "--username",
                    ROLE,
                    "--auth=trust",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--no-sync",
                    "--no-instructions",
                    "--wal-segsize=1",
                ]),
        )?;
        // Atomic. When another test was quicker its folder is as good, and the move fails because it is not empty.
        match std::fs::rename(&fresh, &template) {
            Ok(()) => Ok(template),
            Err(_) if template.is_dir() => Ok(template),
            // Not the same file system: use it once.
            Err(_) => Ok(fresh),
        }
    }

    /// Runs a program as the server's user and waits for it.
    fn run(&self, command: &Command) -> anyhow::Result<()> {
        let mut own = match &self.user {
            None => Command::new(command.get_program()),
            Some(user) => {
                let mut setpriv = Command::new("setpriv");
                setpriv
                    .args(user.setpriv_options())
                    .arg("--")
                    .arg(command.get_program());
                setpriv
            }
        };
        own.args(command.get_args())
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        let program = command.get_program().to_string_lossy();
        let output = own
            .output()
            .with_context(|| format!("cannot execute {program}"))?;
        if output.status.success() {
            return Ok(());
        }
        bail!(
            "{program} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim().to_owned()
        )
    }

    async fn start(&self, port: &ReservedPort) -> anyhow::Result<Process> {
        let settings = SETTINGS.iter().flat_map(|setting| ["-c", setting]);
        let process = Program::new(self.programs.join("postgres"))
            .args(["-D".as_ref(), self.data().as_os_str()])
            .args(["-p", &port.number().to_string()])
            .args(settings)
            .directory(self.directory.path())
            .log(self.directory.path().join("postgres.log"))
            .user(self.user.clone())
            .start()?;
        let deadline = Instant::now() + START_LIMIT;
        let mut reason = None;
        while process.is_running() && Instant::now() < deadline {
            match PgConnection::connect(&url(port)).await {
                Ok(connection) => {
                    connection.close().await.context("PostgreSQL hangs up")?;
                    return Ok(process);
                }
                Err(error) => reason = Some(error),
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
        // The last words of a server that cannot bind arrive with its end.
        let _ended = process.wait(STOP_LIMIT).await;
        bail!(
            "PostgreSQL did not become ready ({reason:?}){}",
            process.shown()
        )
    }
}

fn url(port: &ReservedPort) -> String {
    format!("postgres://{ROLE}@{}/postgres", port.address())
}
