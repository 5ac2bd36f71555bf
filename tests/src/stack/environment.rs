//! What each process is started with.

use std::net::SocketAddr;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tocsin_bus::BusSettings;
use tocsin_testkit::{Program, ReservedPort};
use tocsin_wire::sealed::Audience;

use super::{Component, Options, Stack};

const MASTER_KEY: [u8; 32] = *b"master-key-of-the-tests-32-bytes";

/// Secrets of one stack; nothing outside it knows them.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// Slack's signing secret.
    pub slack: String,
    /// PagerDuty's.
    pub pagerduty: String,
    /// GitHub's.
    pub github: String,
    /// The global admin of config.
    pub admin: String,
    /// Under which config stores secrets: `id:base64 of 32 bytes`.
    pub master_key: String,
}

impl Default for Secrets {
    fn default() -> Self {
        let secret = |name: &str| format!("{name}-secret-of-the-tests");
        Self {
            slack: secret("slack"),
            pagerduty: secret("pagerduty"),
            github: secret("github"),
            admin: secret("admin"),
            master_key: format!("tests:{}", STANDARD.encode(MASTER_KEY)),
        }
    }
}

/// Where everything listens; reserved, so that a restarted process is found again.
#[derive(Debug)]
pub(super) struct Addresses {
    ingress: ReservedPort,
    config: ReservedPort,
    health: Vec<(Component, ReservedPort)>,
}

impl Addresses {
    pub(super) fn reserve(workers: usize) -> anyhow::Result<Self> {
        use Component::{Audit, Config, Ingress, Router, Worker};
        let components = [Ingress, Router, Config, Audit];
        let components = components.into_iter().chain((0..workers).map(Worker));
        let health = components.map(|component| Ok((component, ReservedPort::take()?)));
        let health = health.collect::<anyhow::Result<_>>()?;
        Ok(Self {
            ingress: ReservedPort::take()?,
            config: ReservedPort::take()?,
            health,
        })
    }

    pub(super) fn ingress(&self) -> SocketAddr {
        self.ingress.address()
    }

    pub(super) fn config(&self) -> SocketAddr {
        self.config.address()
    }

    pub(super) fn health(&self, component: Component) -> anyhow::Result<SocketAddr> {
        let mut found = self.health.iter().filter(|(known, _)| *known == component);
        let found = found.next().map(|(_, port)| port.address());
        found.with_context(|| format!("{component} has no health listener"))
    }
}

/// How a command reaches the broker, and as whom.
pub(super) fn identity(bus: &BusSettings) -> Vec<(String, String)> {
    let pair = |name: &str, value: String| (name.to_owned(), value);
    vec![
        pair("NATS_URL", bus.nats_url.clone()),
        pair(
            "NATS_NKEY_FILE",
            bus.nats_nkey_file.clone().unwrap_or_default(),
        ),
        pair("SIGNING_KEY_FILE", bus.signing_key_file.clone()),
        pair(
            "SIGNING_ROOT_FILE",
            bus.signing_root_file.display().to_string(),
        ),
    ]
}

/// The program of a service, with nothing of the developer's environment but `PATH`.
pub(super) fn program(
    stack: &Stack,
    options: &Options,
    component: Component,
) -> anyhow::Result<impl Fn() -> Program + Send + Sync + use<>> {
    let (verb, own) = match component {
        Component::Ingress => ("ingress", ingress(stack)),
        Component::Router => ("router", Vec::new()),
        Component::Config => ("config", config(stack)),
        Component::Audit => ("audit", database(stack)),
        Component::Worker(_) => ("agent-worker", worker(stack, options, component)),
        Component::NatsServer | Component::Postgres => {
            anyhow::bail!("{component} is no service of ours")
        }
    };
    let name = component.to_string();
    let mut environment = identity(&stack.bus);
    environment.extend(
        own.into_iter()
            .map(|(name, value)| (name.to_owned(), value)),
    );
    environment.extend([
        (
            "METRICS_LISTEN".to_owned(),
            stack.addresses.health(component)?.to_string(),
        ),
        ("INSTANCE".to_owned(), name.clone()),
        // The stand-ins are on the loopback address, which the guard refuses otherwise.
        ("OUTBOUND_ALLOW".to_owned(), "127.0.0.1/32".to_owned()),
        ("RUST_BACKTRACE".to_owned(), "1".to_owned()),
    ]);
    environment.extend(options.environment.iter().cloned());
    let log = stack.logs.join(format!("{name}.log"));
    let binary = stack.binary.clone();
    Ok(move || {
        let program = Program::new(&binary).args([verb]).clear_env();
        program.envs(environment.clone()).log(&log)
    })
}

fn ingress(stack: &Stack) -> Vec<(&'static str, String)> {
    let secrets = &stack.secrets;
    let mut environment = vec![
        ("INGRESS_LISTEN", stack.addresses.ingress().to_string()),
        ("SLACK_SIGNING_SECRET", secrets.slack.clone()),
        ("PAGERDUTY_WEBHOOK_SECRET", secrets.pagerduty.clone()),
        ("GITHUB_WEBHOOK_SECRET", secrets.github.clone()),
    ];
    environment.extend(sealing_key(stack, &Audience::Ingress));
    environment
}

/// What opens the secrets of an audience, in a stack that has secrets.
fn sealing_key(stack: &Stack, audience: &Audience) -> Option<(&'static str, String)> {
    let file = stack.sealing.as_ref()?.sealing_key_file(audience);
    Some(("SEALING_KEY_FILE", file.display().to_string()))
}

pub(super) fn config(stack: &Stack) -> Vec<(&'static str, String)> {
    let listen = stack.addresses.config();
    let mut environment = database(stack);
    environment.extend([
        ("CONFIG_LISTEN", listen.to_string()),
        ("ADMIN_TOKEN", stack.secrets.admin.clone()),
        ("TOKEN_PEPPER", "pepper-of-the-tests".to_owned()),
        (
            "INTERNAL_SERVICE_SECRET",
            "internal-secret-of-the-tests".to_owned(),
        ),
    ]);
    if stack.sealing.is_some() {
        environment.push(("MASTER_KEYS", stack.secrets.master_key.clone()));
    }
    environment
}

fn database(stack: &Stack) -> Vec<(&'static str, String)> {
    vec![
        ("DATABASE_URL", stack.servers.database_url().to_owned()),
        ("MIGRATE", "true".to_owned()),
    ]
}

fn worker(stack: &Stack, options: &Options, component: Component) -> Vec<(&'static str, String)> {
    let millis = |pace: std::time::Duration| format!("{}ms", pace.as_millis());
    let (post, update) = options.slack_pace;
    let mut environment = vec![
        ("WORKER_NAME", component.to_string()),
        ("WORKER_SLOTS", options.worker_slots.to_string()),
        ("OPENAI_API_KEY", "key-of-the-stand-in".to_owned()),
        ("OPENAI_BASE_URL", stack.model.base_url()),
        ("SLACK_BOT_TOKEN", "xoxb-stand-in".to_owned()),
        ("SLACK_API_URL", stack.slack.api_url()),
        ("SLACK_POST_INTERVAL", millis(post)),
        ("SLACK_UPDATE_INTERVAL", millis(update)),
        ("PROMETHEUS_URL", stack.prometheus.url()),
    ];
    environment.extend(sealing_key(stack, &Audience::default()));
    environment
}
