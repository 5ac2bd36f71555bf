//! A real nats-server with JetStream, private to one test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::directory::Directory;
use crate::environment;
use crate::ports::ReservedPort;
use crate::process::{Process, Program};

/// Usually ready in 20 ms; a loaded machine that replays a large store may need seconds.
const START_LIMIT: Duration = Duration::from_secs(20);
/// nats-server leaves lame-duck work to other signals: SIGTERM ends it within milliseconds.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How often a starting server is asked whether it is ready.
const PROBE_PAUSE: Duration = Duration::from_millis(3);

/// How a test's server differs from the default: JetStream on, ports of its own on 127.0.0.1, a store that goes with it.
#[derive(Debug, Clone, Default)]
pub struct NatsOptions {
    /// Appended to the server's configuration file: accounts, users, limits, cluster.
    pub config: Option<String>,
    /// Environment of the server, which its configuration can refer to as `$NAME`.
    pub env: Vec<(String, String)>,
    /// Keeps the streams here instead of in a folder that is removed with the server.
    pub store_dir: Option<PathBuf>,
    /// Largest message in bytes; the server's default of 1 MiB without it.
    pub max_payload: Option<u32>,
    /// The server's name; `test` without it.
    pub name: Option<String>,
}

/// A running nats-server. Dropping it kills it and removes its store.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    program: PathBuf,
    options: NatsOptions,
    client: ReservedPort,
    monitoring: ReservedPort,
    directory: Directory,
}

impl NatsServer {
    /// Starts a server with the default options and waits until JetStream is ready.
    ///
    /// # Errors
    /// When there is no nats-server or it does not become ready; the error shows its log.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(NatsOptions::default()).await
    }

    /// Starts a server and waits until JetStream is ready.
    ///
    /// # Errors
    /// When there is no nats-server, the configuration is refused or no port is free; the error shows its log.
    pub async fn start_with(options: NatsOptions) -> anyhow::Result<Self> {
        let program = environment::nats_server()?;
        let directory = Directory::create()?;
        let (client, monitoring) = (ReservedPort::take()?, ReservedPort::take()?);
        let ports = (client.address(), monitoring.address());
        let process = start(&program, &options, directory.path(), ports).await?;
        Ok(Self {
            process,
            program,
            options,
            client,
            monitoring,
            directory,
        })
    }

    /// `nats://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// The address for clients, stable over restarts.
    pub fn address(&self) -> SocketAddr {
        self.client.address()
    }

    /// `http://127.0.0.1:<port>` of `/varz`, `/jsz`, `/connz`, `/healthz`.
    pub fn monitoring_url(&self) -> String {
        format!("http://{}", self.monitoring.address())
    }

    /// The process, for its processor time, memory and log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGKILL, as a crash would; returns when it is gone.
    ///
    /// # Errors
    /// When the process does not go away.
    pub async fn kill(&self) -> anyhow::Result<()> {
        self.process.kill_9().await.map(drop)
    }

    /// SIGTERM, as a supervisor would; returns when it is gone.
    ///
    /// # Errors
    /// When the process does not go away.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.process.terminate()?;
        self.process.wait(STOP_LIMIT).await.map(drop)
    }

    /// Starts it again on the same ports and the same store; stops it first when it still runs.
    ///
    /// # Errors
    /// When it does not become ready; the error shows its log.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        if self.process.is_running() {
            self.stop().await?;
        }
        let ports = (self.client.address(), self.monitoring.address());
        self.process = start(&self.program, &self.options, self.directory.path(), ports).await?;
        Ok(())
    }
}

async fn start(
    program: &Path,
    options: &NatsOptions,
    directory: &Path,
    (client, monitoring): (SocketAddr, SocketAddr),
) -> anyhow::Result<Process> {
    let config = directory.join("nats.conf");
    std::fs::write(
        &config,
        configuration(options, directory, client, monitoring),
    )
    .with_context(|| format!("cannot write {}", config.display()))?;
    let process = Program::new(program)
        .args(["-c".as_ref(), config.as_os_str()])
        .envs(options.env.iter().map(|(name, value)| (name, value)))
        .log(directory.join("nats.log"))
        .start()?;
    let deadline = Instant::now() + START_LIMIT;
    let mut reason = anyhow::anyhow!("it was not asked");
    while process.is_running() && Instant::now() < deadline {
        match healthy(monitoring).await {
            Ok(()) => return Ok(process),
            Err(not_yet) => reason = not_yet,
        }
        tokio::time::sleep(PROBE_PAUSE).await;
    }
    // The last words of a server that refuses its configuration arrive with its end.
    let _ended = process.wait(STOP_LIMIT).await;
    bail!(
        "nats-server did not become ready ({reason:#}){}",
        process.shown()
    )
}

fn configuration(
    options: &NatsOptions,
    directory: &Path,
    client: SocketAddr,
    monitoring: SocketAddr,
) -> String {
    let own_store = directory.join("store");
    let store = options.store_dir.as_deref().unwrap_or(&own_store);
    let name = options.name.as_deref().unwrap_or("test");
    let max_payload = options
        .max_payload
        .map(|bytes| format!("max_payload: {bytes}\n"));
    format!(
        "server_name: {name:?}\nlisten: \"{client}\"\nhttp: \"{monitoring}\"\n\
         jetstream {{ store_dir: {store:?}, max_file_store: 1TB }}\n{}{}\n",
        max_payload.unwrap_or_default(),
        options.config.as_deref().unwrap_or_default(),
    )
}

/// `/healthz` says ok only when JetStream has recovered its streams and clients are let in.
async fn healthy(monitoring: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(monitoring)
        .await
        .context("monitoring refuses")?;
    stream
        .write_all(b"GET /healthz HTTP/1.0\r\n\r\n")
        .await
        .context("monitoring hangs up")?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .context("monitoring hangs up")?;
    let status = answer.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200 "), "/healthz says {status}");
    Ok(())
}
