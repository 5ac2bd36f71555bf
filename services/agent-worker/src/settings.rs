//! Settings of the worker; `--help` prints them.

use std::time::Duration;

use tocsin_bus::BusSettings;
use tocsin_kit::settings::{Seconds, ServicePath};
use tocsin_kit::{Secret, SecretList};
use tocsin_wire::Pool;

/// Runs at a time: the window of one team, so one team alone can use a worker fully.
const SLOTS: u16 = 10;
/// A model that says nothing for so long has forgotten us.
const MODEL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest answers of reasoning models take minutes.
const MODEL_TIMEOUT: Duration = Duration::from_secs(300);
/// Slack allows one post a second in a channel.
const SLACK_POST_INTERVAL: Duration = Duration::from_secs(1);
/// Slack allows about 50 updates a minute; people do not read faster.
const SLACK_UPDATE_INTERVAL: Duration = Duration::from_secs(2);
const MAX_TURNS: u32 = 25;
const MAX_SECONDS: Duration = Duration::from_secs(600);
const MAX_TOKENS: u64 = 500_000;
const MAX_TOOL_CALLS: u32 = 60;

/// How the worker runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    #[command(flatten)]
    pub bus: BusSettings,

    /// Name in journals and messages [default: the process's instance name].
    #[arg(long, env = "WORKER_NAME")]
    pub worker_name: Option<String>,
    /// Pool of workers whose runs this one takes.
    #[arg(long, env = "WORKER_POOL", default_value = "default")]
    pub pool: Pool,
    /// Runs at a time.
    #[arg(long, env = "WORKER_SLOTS", default_value_t = SLOTS, value_parser = clap::value_parser!(u16).range(1..))]
    pub slots: u16,

    /// Private sealing keys of this pool (`tocsin keys generate` makes them): they open the secrets that
    /// teams' configs refer to. `{service}` is replaced by agent-worker.
    #[arg(long, env = "SEALING_KEY_FILE", value_name = "PATH")]
    pub sealing_key_file: Option<ServicePath>,

    /// Key of the model endpoint; an endpoint of your own may need none. The first of a list is used.
    #[arg(
        long,
        env = "OPENAI_API_KEY",
        hide_env_values = true,
        default_value = ""
    )]
    pub openai_api_key: SecretList,
    /// Any endpoint that speaks OpenAI Chat Completions.
    #[arg(
        long,
        env = "OPENAI_BASE_URL",
        default_value = "https://api.openai.com/v1"
    )]
    pub openai_base_url: String,
    /// Model of teams that name none.
    #[arg(long, env = "MODEL", default_value = "gpt-4o")]
    pub model: String,
    /// Longest silence within an answer of the model.
    #[arg(long, env = "MODEL_IDLE_TIMEOUT", default_value_t = Seconds::new(MODEL_IDLE_TIMEOUT))]
    pub model_idle_timeout: Seconds,
    /// Longest answer of the model.
    #[arg(long, env = "MODEL_TIMEOUT", default_value_t = Seconds::new(MODEL_TIMEOUT))]
    pub model_timeout: Seconds,

    /// Turns of the model in one run; a team may set its own.
    #[arg(long, env = "RUN_MAX_TURNS", default_value_t = MAX_TURNS)]
    pub run_max_turns: u32,
    /// Time of one run; then it summarises what it knows.
    #[arg(long, env = "RUN_MAX_TIME", default_value_t = Seconds::new(MAX_SECONDS))]
    pub run_max_time: Seconds,
    /// Tokens of one run, read and written.
    #[arg(long, env = "RUN_MAX_TOKENS", default_value_t = MAX_TOKENS)]
    pub run_max_tokens: u64,
    /// Calls of tools in one run.
    #[arg(long, env = "RUN_MAX_TOOL_CALLS", default_value_t = MAX_TOOL_CALLS)]
    pub run_max_tool_calls: u32,

    /// Bot token (xoxb-…); without one nothing is posted to Slack, and every run's record says so.
    #[arg(long, env = "SLACK_BOT_TOKEN", hide_env_values = true)]
    pub slack_bot_token: Option<Secret>,
    /// Slack's Web API.
    #[arg(long, env = "SLACK_API_URL", default_value = "https://slack.com/api")]
    pub slack_api_url: String,
    /// Between two posts in one channel.
    #[arg(long, env = "SLACK_POST_INTERVAL", default_value_t = Seconds::new(SLACK_POST_INTERVAL))]
    pub slack_post_interval: Seconds,
    /// Between two updates of one message.
    #[arg(long, env = "SLACK_UPDATE_INTERVAL", default_value_t = Seconds::new(SLACK_UPDATE_INTERVAL))]
    pub slack_update_interval: Seconds,

    /// Prometheus for teams that configured none of their own.
    #[arg(long, env = "PROMETHEUS_URL")]
    pub prometheus_url: Option<String>,
    /// Hosts that the tool http_get may reach for every team, comma-separated: status.example.com,
    /// *.example.com, localhost:9000. Private addresses also need OUTBOUND_ALLOW.
    #[arg(long, env = "HTTP_GET_ALLOW", value_delimiter = ',')]
    pub http_get_allow: Vec<String>,
}
