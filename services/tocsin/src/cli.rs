//! The command line. `--help` is its reference.

mod replay;

use std::path::PathBuf;

use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches, Parser, Subcommand, ValueEnum};
use tocsin_bus::BusSettings;
use tocsin_kit::{ProcessSettings, Secret, SecretList};
use tocsin_wire::sealed::Audience;
use tocsin_wire::{OrgId, Pool, SecretName, Service, TeamId};

pub use replay::{Replay, ReplayTo};

/// Tocsin: from alert to investigation, over NATS JetStream.
#[derive(Debug, Parser)]
#[command(
    name = "tocsin",
    version,
    propagate_version = true,
    max_term_width = 110
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run all services in this process.
    Up(Box<Up>),
    /// Take webhooks: verify, normalize, sign, publish.
    Ingress(Box<One<tocsin_ingress::Settings>>),
    /// Decide whose an event is, and why.
    Router(Box<One<tocsin_router::Settings>>),
    /// Own tenants and configuration.
    Config(Config),
    /// Run agents.
    AgentWorker(Box<One<tocsin_agent_worker::Settings>>),
    /// Keep the record.
    Audit(Box<One<tocsin_audit::Settings>>),
    /// Events: list them, show the whole life of one, print a large body, have some handled once more.
    #[command(subcommand)]
    Events(Events),
    /// Rules of teams for events: try them out over an event of old.
    #[command(subcommand)]
    Rules(crate::rules::Rules),
    /// Runs: a team's queue, and the place of one run in it.
    #[command(subcommand)]
    Runs(crate::runs::Runs),
    /// Send a real, signed webhook, as the provider would.
    #[command(subcommand)]
    Send(Send),
    /// Signing keys, sealing keys and NATS user keys.
    #[command(subcommand)]
    Keys(Keys),
    /// Secrets of orgs, units and teams: set, list, delete; replace the master key.
    #[command(subcommand)]
    Secrets(Secrets),
    /// Sources: senders of an org, each with a URL, secrets and limits of its own.
    #[command(subcommand)]
    Sources(Box<crate::sources::Sources>),
    /// Streams, consumers, buckets and permissions.
    #[command(subcommand)]
    Bus(BusCommand),
    /// A first organisation and team to try things with.
    #[command(subcommand)]
    Demo(Demo),
    /// Read a message on stdin and print it as JSON; for `nats sub --translate 'tocsin decode'`.
    Decode,
    /// Read JSON, as `decode` prints it, on stdin and write the message; for `tocsin sign` and `nats pub`.
    Encode,
    /// Print the headers for a message made by hand.
    Sign(Box<Sign>),
}

/// One service alone.
#[derive(Debug, Args)]
pub struct One<S: Args> {
    /// Logging, health, shutdown.
    #[command(flatten)]
    pub process: ProcessSettings,
    /// Its own settings.
    #[command(flatten)]
    pub settings: S,
}

/// `tocsin up`
#[derive(Debug, Args)]
pub struct Up {
    /// Only these services, comma-separated: ingress, router, config, agent-worker, audit.
    #[arg(long, value_delimiter = ',', value_name = "SERVICES")]
    pub only: Vec<Service>,
    /// Logging, health, shutdown. Each service takes its own settings from the environment; see
    /// `tocsin <service> --help`.
    #[command(flatten)]
    pub process: ProcessSettings,
}

/// `tocsin events …`
#[derive(Debug, Subcommand)]
pub enum Events {
    /// The newest events, one line each.
    Ls {
        /// At most so many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
        /// Only this provider's.
        #[arg(long)]
        provider: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Connection.
        #[command(flatten)]
        bus: Box<BusSettings>,
    },
    /// Print the raw body of one event, checked against the hash in it. Only for bodies over 512 KiB, which
    /// lie in the object store for 8 days; what is smaller is in the event itself.
    Body {
        /// Event id, run id, or the provider's delivery id.
        id: String,
        /// Connection.
        #[command(flatten)]
        bus: Box<BusSettings>,
    },
    /// Everything that followed from one event, with milliseconds per hop.
    Show {
        /// Event id, run id, or the provider's delivery id.
        id: String,
        /// Wait until its run has finished.
        #[arg(long)]
        wait: bool,
        /// Longest wait.
        #[arg(long, default_value = "120s", value_name = "TIME")]
        timeout: tocsin_kit::settings::Seconds,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Connection.
        #[command(flatten)]
        bus: Box<BusSettings>,
    },
    /// Have events handled once more, with today's config: in a sandbox that posts nowhere and compares,
    /// or to work. Shows first what would happen.
    Replay(Box<Replay>),
}

/// Where webhooks are sent.
#[derive(Debug, Args)]
pub struct Target {
    /// Ingress to send to.
    #[arg(long, env = "INGRESS_URL", default_value = "http://127.0.0.1:8080")]
    pub ingress_url: String,
}

/// `tocsin send …`
#[derive(Debug, Subcommand)]
pub enum Send {
    /// A PagerDuty V3 `incident.triggered`.
    Pagerduty {
        /// Title of the incident.
        #[arg(long)]
        title: String,
        /// Service of the incident: what routes it.
        #[arg(long, default_value = crate::demo::PAGERDUTY_SERVICE)]
        service_id: String,
        /// `high` or `low`.
        #[arg(long, default_value = "high")]
        urgency: String,
        /// Send an earlier event id again, as a retry would.
        #[arg(long)]
        event_id: Option<String>,
        /// Where to.
        #[command(flatten)]
        target: Target,
        /// Secret of the subscription; the first of a list is used.
        #[arg(long, env = "PAGERDUTY_WEBHOOK_SECRET", hide_env_values = true)]
        secret: SecretList,
    },
    /// A Slack `app_mention`.
    Slack {
        /// What is said to the bot.
        #[arg(long)]
        text: String,
        /// Channel: what routes it.
        #[arg(long, default_value = crate::demo::SLACK_CHANNEL)]
        channel: String,
        /// Workspace.
        #[arg(long, default_value = crate::demo::SLACK_WORKSPACE)]
        workspace: String,
        /// Where to.
        #[command(flatten)]
        target: Target,
        /// Signing secret of the app; the first of a list is used.
        #[arg(long, env = "SLACK_SIGNING_SECRET", hide_env_values = true)]
        secret: SecretList,
    },
    /// A GitHub `workflow_run` that failed.
    Github {
        /// Repository: what routes it.
        #[arg(long, default_value = crate::demo::GITHUB_REPOSITORY)]
        repository: String,
        /// Name of the workflow.
        #[arg(long, default_value = "deploy")]
        workflow: String,
        /// Where to.
        #[command(flatten)]
        target: Target,
        /// Secret of the hook; the first of a list is used.
        #[arg(long, env = "GITHUB_WEBHOOK_SECRET", hide_env_values = true)]
        secret: SecretList,
    },
}

/// `tocsin keys …`
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make whatever key is missing: the root, a master key for secrets, and per service a signing
    /// key, a NATS user key and, where it opens secrets, a sealing key.
    #[command(visible_alias = "init")]
    Generate {
        /// Also a sealing key for this pool of workers; may be repeated.
        #[arg(long = "pool", value_name = "POOL")]
        pools: Vec<Pool>,
        /// Folder for the keys; made with mode 0600 files.
        #[arg(long, env = "KEY_DIRECTORY", value_name = "PATH")]
        dir: PathBuf,
    },
    /// Write the public halves, signed by the root, into the bucket `keys`.
    Publish {
        /// Folder of the keys.
        #[arg(long, env = "KEY_DIRECTORY", value_name = "PATH")]
        dir: PathBuf,
        /// Connection.
        #[command(flatten)]
        bus: Box<BusSettings>,
    },
    /// Every key that services may know, with validity and revocation.
    List {
        /// Connection.
        #[command(flatten)]
        bus: Box<BusSettings>,
    },
    /// Make and publish a new signing or sealing key for one service. An old signing key stays valid
    /// for what it signed; restart the service to use the new one, then revoke the old. Secrets are
    /// sealed to the old and the new sealing key until the old one is revoked.
    Rotate {
        /// Whose key.
        service: Service,
        /// The sealing key instead of the signing key.
        #[arg(long)]
        sealing: bool,
        /// Of this pool of workers, with --sealing.
        #[arg(long, value_name = "POOL", requires = "sealing")]
        pool: Option<Pool>,
        /// Folder of the keys.
        #[arg(long, env = "KEY_DIRECTORY", value_name = "PATH")]
        dir: PathBuf,
        /// Connection.
        #[command(flatten)]
        bus: Box<BusSettings>,
    },
    /// Refuse everything that this key signs from now on; seal nothing to it any more.
    Revoke {
        /// Key id, as `tocsin keys list` shows it.
        key_id: String,
        /// Folder of the keys: the root signs the revocation.
        #[arg(long, env = "KEY_DIRECTORY", value_name = "PATH")]
        dir: PathBuf,
        /// Connection.
        #[command(flatten)]
        bus: Box<BusSettings>,
    },
}

/// `tocsin config`: the service, or a question to it.
#[derive(Debug)]
pub enum Config {
    /// Run it.
    Serve(Box<One<tocsin_config::Settings>>),
    /// Ask it.
    Ask(ConfigCommand),
}

impl FromArgMatches for Config {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand_name() {
            Some(_) => ConfigCommand::from_arg_matches(matches).map(Self::Ask),
            None => One::from_arg_matches(matches).map(|one| Self::Serve(Box::new(one))),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Config {
    fn augment_args(command: clap::Command) -> clap::Command {
        let service = One::<tocsin_config::Settings>::augment_args(command);
        ConfigCommand::augment_subcommands(service)
            .subcommand_required(false)
            .arg_required_else_help(false)
            .subcommand_negates_reqs(true)
            .args_conflicts_with_subcommands(true)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// `tocsin config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Write an org's tree as YAML: units and teams with what each sets. Secrets are references.
    Export {
        /// Org.
        #[arg(long)]
        org: OrgId,
        /// Into this file [default: stdout].
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Config.
        #[command(flatten)]
        config: ConfigAccess,
    },
    /// Show what `apply` would change; the status is 2 when there is something.
    Plan {
        /// What is wanted.
        #[command(flatten)]
        file: ConfigFile,
        /// Colour the difference.
        #[arg(long, value_enum, default_value_t)]
        colour: Colour,
    },
    /// Make an org as a file says: as a whole, or not at all when somebody wrote meanwhile.
    Apply {
        /// What is wanted.
        #[command(flatten)]
        file: ConfigFile,
        /// For the history of each node.
        #[arg(long, default_value = "tocsin config apply")]
        reason: String,
        /// Colour the difference.
        #[arg(long, value_enum, default_value_t)]
        colour: Colour,
    },
    /// Write all snapshots on the bus afresh from the database; with the settings of the service.
    Rebuild(Box<tocsin_config::Settings>),
}

/// What an org should be.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// As `export` writes it; `-` for stdin.
    pub file: PathBuf,
    /// Delete the nodes that are not in the file.
    #[arg(long)]
    pub prune: bool,
    /// Config.
    #[command(flatten)]
    pub config: ConfigAccess,
}

/// When to colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Config's HTTP API.
#[derive(Debug, Args)]
pub struct ConfigAccess {
    /// The config service.
    #[arg(long, env = "CONFIG_URL", default_value = "http://127.0.0.1:8082")]
    pub config_url: String,
    /// Token of an admin.
    #[arg(long, env = "ADMIN_TOKEN", hide_env_values = true)]
    pub admin_token: Secret,
}

/// Whose secrets.
#[derive(Debug, Args)]
pub struct SecretOwner {
    /// Org.
    #[arg(long)]
    pub org: OrgId,
    /// Unit or team of it [default: the org itself].
    #[arg(long)]
    pub node: Option<TeamId>,
}

/// `tocsin secrets …`
#[derive(Debug, Subcommand)]
pub enum Secrets {
    /// Set a secret. Its value is read from stdin, or asked for; it is never an argument.
    Set {
        /// What configs call it: `${secret:NAME}`.
        name: SecretName,
        /// Whose.
        #[command(flatten)]
        owner: SecretOwner,
        /// Who may open it: ingress, or worker.<pool> [default: what it has been, else worker.default].
        #[arg(long)]
        audience: Option<Audience>,
        /// Refuse when it is at another version; 0: it must be new.
        #[arg(long, value_name = "VERSION")]
        expected_version: Option<u64>,
        /// Where to.
        #[command(flatten)]
        config: ConfigAccess,
    },
    /// Names, versions and audiences; values are shown nowhere.
    List {
        /// Whose.
        #[command(flatten)]
        owner: SecretOwner,
        /// Also what it gets from above.
        #[arg(long)]
        inherited: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Where to.
        #[command(flatten)]
        config: ConfigAccess,
    },
    /// Delete a secret.
    Delete {
        /// Which.
        name: SecretName,
        /// Whose.
        #[command(flatten)]
        owner: SecretOwner,
        /// Even when configs refer to it.
        #[arg(long)]
        force: bool,
        /// Where to.
        #[command(flatten)]
        config: ConfigAccess,
    },
    /// Move every secret under the current master key, in batches; may be interrupted and repeated.
    RotateMaster {
        /// First put a new key before the others in this file, which must be config's MASTER_KEY_FILE.
        #[arg(long, value_name = "PATH")]
        new_key_in: Option<PathBuf>,
        /// Where to.
        #[command(flatten)]
        config: ConfigAccess,
    },
}

/// `tocsin bus …`
#[derive(Debug, Subcommand)]
pub enum BusCommand {
    /// Create missing streams, consumers and buckets; existing ones are compared, never changed.
    Declare {
        /// Connection.
        #[command(flatten)]
        bus: Box<BusSettings>,
    },
    /// Print the accounts and permissions for nats-server, as in deploy/nats/accounts.conf.
    Permissions,
    /// Print the tables of streams, consumers and buckets.
    Table,
}

/// `tocsin demo …`
#[derive(Debug, Subcommand)]
pub enum Demo {
    /// Create the organisation `demo` with the team `checkout`, and wait until it can be routed.
    Seed(Box<DemoSeed>),
}

/// `tocsin demo seed`
#[derive(Debug, Args)]
pub struct DemoSeed {
    /// The config service.
    #[arg(long, env = "CONFIG_URL", default_value = "http://127.0.0.1:8082")]
    pub config_url: String,
    /// Global admin token.
    #[arg(long, env = "ADMIN_TOKEN", hide_env_values = true)]
    pub admin_token: Secret,
    /// Connection, to see when the router knows the team.
    #[command(flatten)]
    pub bus: BusSettings,
}

/// `tocsin sign`
#[derive(Debug, Args)]
pub struct Sign {
    /// Subject on which the message will be consumed.
    #[arg(long)]
    pub subject: String,
    /// Service whose key signs; it must be a writer of the subject.
    #[arg(long = "as", value_name = "SERVICE", default_value = "operator")]
    pub service: Service,
    /// File with the payload, an encoded tocsin.v1.Envelope; `-` reads stdin.
    #[arg(long, default_value = "-", value_name = "PATH")]
    pub payload: PathBuf,
    /// Keys.
    #[command(flatten)]
    pub bus: BusSettings,
}

/// The whole command line, for tests and documentation.
pub fn command() -> clap::Command {
    Cli::command()
}
