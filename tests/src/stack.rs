//! The whole of Tocsin on this machine: servers, stand-ins, and every service as a process of its own.

mod command;
mod component;
mod environment;
mod options;
mod seed;
mod servers;
mod supervised;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use tocsin_bus::{Bus, BusSettings, KeyDirectory};
use tocsin_testkit::standins::slack;
use tocsin_testkit::standins::{Model, Prometheus, Slack, http_client, model};
use tocsin_testkit::{Postgres, Process, TestBus, built_program};
use tocsin_wire::Service;

use crate::raw_nats::RawNats;
use environment::Addresses;
use servers::Servers;
use supervised::Supervised;

pub use command::Printed;
pub use component::{Component, UnknownComponent};
pub use environment::Secrets;
pub use options::Options;
pub use seed::Team;

/// A debug build on a loaded machine needs seconds; a healthy one is ready in a fraction of one.
const START_LIMIT: Duration = Duration::from_secs(40);
/// Between two looks at `/ready`.
const READY_PAUSE: Duration = Duration::from_millis(25);

/// A running Tocsin. Dropping it kills everything.
pub struct Stack {
    /// The stand-in.
    pub slack: Slack,
    /// The stand-in.
    pub model: Model,
    /// The stand-in.
    pub prometheus: Prometheus,
    /// Secrets that senders sign with.
    pub secrets: Secrets,
    /// For requests to ingress and config.
    pub http: reqwest::Client,
    services: Vec<(Component, Supervised)>,
    servers: Servers,
    addresses: Addresses,
    bus: BusSettings,
    /// Where the sealing keys are, for a stack that has them.
    sealing: Option<KeyDirectory>,
    nats_address: SocketAddr,
    binary: PathBuf,
    logs: PathBuf,
}

impl Stack {
    /// Starts everything and waits until every service is ready.
    ///
    /// # Errors
    /// When a server or the binary is missing, or a service does not become ready; the error shows
    /// the last lines of its log.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        ensure!(options.workers > 0, "a stack needs a worker");
        let binary = built_program("tocsin")?;
        let logs = logs_folder(&options.name)?;
        let (bus, postgres) = futures::try_join!(TestBus::start(), Postgres::start_private())?;
        let slack = Slack::start_with(slack::Settings {
            limits: options.slack_limits,
            ..slack::Settings::default()
        });
        let mut model = model::Settings::new()?;
        model.delay = options.model_delay;
        let (slack, prometheus) = (slack.await?, Prometheus::start().await?);
        let model = Model::start_with(model).await?;
        let mut stack = Self {
            http: http_client()?,
            secrets: Secrets::default(),
            addresses: Addresses::reserve(options.workers)?,
            bus: bus.settings(),
            sealing: options.sealing.then(|| bus.keys().clone()),
            nats_address: bus.server.address(),
            servers: Servers::new(bus, postgres, options.restart_pause),
            services: Vec::new(),
            slack,
            model,
            prometheus,
            binary,
            logs,
        };
        stack.start_services(&options).await?;
        Ok(stack)
    }

    async fn start_services(&mut self, options: &Options) -> anyhow::Result<()> {
        let mut components = vec![
            Component::Ingress,
            Component::Router,
            Component::Config,
            Component::Audit,
        ];
        components.extend((0..options.workers).map(Component::Worker));
        for component in components {
            let program = environment::program(self, options, component)?;
            let supervised =
                Supervised::start(component.to_string(), program, options.restart_pause)
                    .with_context(|| format!("starting {component}"))?;
            self.services.push((component, supervised));
        }
        let waiting = self
            .services
            .iter()
            .map(|(component, _)| self.ready(*component));
        futures::future::try_join_all(waiting).await.map(drop)
    }

    /// Base URL of ingress.
    pub fn ingress_url(&self) -> String {
        format!("http://{}", self.addresses.ingress())
    }

    /// Address of ingress, for senders that write to the socket themselves.
    pub fn ingress_address(&self) -> SocketAddr {
        self.addresses.ingress()
    }

    /// Base URL of config.
    pub fn config_url(&self) -> String {
        format!("http://{}", self.addresses.config())
    }

    /// Folder with the log of each service; emptied by the next stack of that name.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// Settings that reach the broker with any identity.
    pub fn bus_settings(&self) -> &BusSettings {
        &self.bus
    }

    /// The `tocsin` binary.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// A connection of the operator.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn operator(&self) -> anyhow::Result<Bus> {
        let clock = tocsin_testkit::bus::clock();
        Ok(Bus::connect(&self.bus, Service::Operator, "tests", clock).await?)
    }

    /// A connection with the operator's user key and none of our code.
    ///
    /// # Errors
    /// When the broker is not there.
    pub async fn raw_nats(&self) -> anyhow::Result<RawNats> {
        let seed = std::fs::read_to_string(self.operator_seed())?;
        RawNats::connect(self.nats_address, &seed).await
    }

    /// File with the seed of the operator's NATS user key.
    pub fn operator_seed(&self) -> PathBuf {
        let file = self.bus.nats_nkey_file.clone().unwrap_or_default();
        PathBuf::from(file.replace("{service}", Service::Operator.name()))
    }

    /// `nats://…`
    pub fn nats_url(&self) -> &str {
        &self.bus.nats_url
    }

    /// The current process of a service, for its log and memory.
    ///
    /// # Errors
    /// For a server, or a worker that was never started.
    pub fn process(&self, component: Component) -> anyhow::Result<Arc<Process>> {
        Ok(self.supervised(component)?.process())
    }

    /// SIGKILL; the supervisor starts it again after its pause. Returns the time of death.
    ///
    /// # Errors
    /// When it does not die.
    pub async fn kill(&self, component: Component) -> anyhow::Result<Timestamp> {
        let now = tocsin_testkit::bus::clock();
        match component {
            Component::NatsServer => self.servers.kill_nats().await?,
            Component::Postgres => self.servers.kill_postgres().await?,
            service => self
                .supervised(service)?
                .process()
                .kill_9()
                .await
                .map(drop)?,
        }
        Ok(now())
    }

    /// SIGKILL to a service, and no restart until [`Stack::restart`]. Returns the time of death.
    ///
    /// # Errors
    /// When it does not die.
    pub async fn kill_for_good(&self, service: Component) -> anyhow::Result<Timestamp> {
        self.supervised(service)?.restart_automatically(false);
        self.kill(service).await
    }

    /// SIGTERM, and no restart; how the process ended.
    ///
    /// # Errors
    /// When it does not end within `limit`.
    pub async fn terminate(
        &self,
        component: Component,
        limit: Duration,
    ) -> anyhow::Result<ExitStatus> {
        let supervised = self.supervised(component)?;
        supervised.restart_automatically(false);
        let process = supervised.process();
        process.terminate()?;
        process.wait(limit).await
    }

    /// Starts what was terminated.
    ///
    /// # Errors
    /// As [`Stack::start`].
    pub async fn restart(&self, component: Component) -> anyhow::Result<()> {
        self.supervised(component)?.restart_automatically(true);
        self.ready(component).await
    }

    /// SIGKILL to the broker, which stays away until [`Stack::start_nats`].
    ///
    /// # Errors
    /// When it does not die.
    pub async fn stop_nats(&self) -> anyhow::Result<()> {
        self.servers.stop_nats().await
    }

    /// Starts the broker again, on the same port and store.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_nats(&self) -> anyhow::Result<()> {
        self.servers.start_nats().await
    }

    /// Waits until the part answers that it is ready.
    ///
    /// # Errors
    /// After a generous limit; the error shows the last lines of its log.
    pub async fn ready(&self, component: Component) -> anyhow::Result<()> {
        if matches!(component, Component::NatsServer | Component::Postgres) {
            return self.servers.ready(component).await;
        }
        let supervised = self.supervised(component)?;
        let url = format!("http://{}/ready", self.addresses.health(component)?);
        let looking = async {
            loop {
                if is_ready(&self.http, &url).await {
                    return;
                }
                tokio::time::sleep(READY_PAUSE).await;
            }
        };
        tokio::time::timeout(START_LIMIT, looking)
            .await
            .with_context(|| {
                let process = supervised.process();
                let lines = process.last_lines().join("\n");
                format!("{component} is not ready after {START_LIMIT:?}; its last lines:\n{lines}")
            })
    }

    /// Whether a killed part has a new process; `None` while it has none. Waits for a server.
    pub async fn is_running_anew(&self, component: Component) -> Option<()> {
        match self.supervised(component) {
            Ok(supervised) => supervised.process().is_running().then_some(()),
            Err(_server) => self.servers.ready(component).await.ok(),
        }
    }

    /// Whether the part says now that it is ready.
    pub async fn is_ready(&self, component: Component) -> bool {
        match self.addresses.health(component) {
            Ok(address) => is_ready(&self.http, &format!("http://{address}/ready")).await,
            Err(_server) => self.servers.ready(component).await.is_ok(),
        }
    }

    /// The metrics of a service as it prints them.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self, component: Component) -> anyhow::Result<String> {
        let url = format!("http://{}/metrics", self.addresses.health(component)?);
        Ok(self.http.get(url).send().await?.text().await?)
    }

    /// How often the supervisor has started it again.
    ///
    /// # Errors
    /// For a server.
    pub fn restarts(&self, component: Component) -> anyhow::Result<usize> {
        Ok(self.supervised(component)?.restarts())
    }

    fn supervised(&self, component: Component) -> anyhow::Result<&Supervised> {
        let mut found = self
            .services
            .iter()
            .filter(|(known, _)| *known == component);
        let (_, supervised) = found
            .next()
            .with_context(|| format!("there is no {component}"))?;
        Ok(supervised)
    }
}

async fn is_ready(http: &reqwest::Client, url: &str) -> bool {
    let answer = http.get(url).timeout(Duration::from_secs(2)).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// `<target>/<profile>/tocsin-tests/<name>`, empty.
fn logs_folder(name: &str) -> anyhow::Result<PathBuf> {
    let logs = built_program("tocsin")?
        .with_file_name("tocsin-tests")
        .join(name);
    if logs.exists() {
        std::fs::remove_dir_all(&logs)?;
    }
    std::fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
    Ok(logs)
}
