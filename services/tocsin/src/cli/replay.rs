//! The arguments of `tocsin events replay`.

use clap::{Args, ValueEnum};
use tocsin_bus::BusSettings;
use tocsin_wire::{OrgId, TeamId, Token};

/// `tocsin events replay`
#[derive(Debug, Args)]
pub struct Replay {
    /// Event ids, run ids or the provider's delivery ids; none: what the filter finds.
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Only this provider's.
    #[arg(long)]
    pub provider: Option<Token>,
    /// Only of this kind: app_mention, incident_triggered …
    #[arg(long)]
    pub kind: Option<Token>,
    /// Only through this source: its id, or `shared`.
    #[arg(long)]
    pub source: Option<Token>,
    /// Stored then or later: a time (2026-01-31T12:00:00Z) or an age (15m, 2h). Ids that the record cannot find
    /// are looked for from here.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Stored then or before; a time or an age [default: now].
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// At most so many, the oldest first [default and most: 500 to work, 50 to sandbox].
    #[arg(long, value_name = "COUNT")]
    pub max: Option<u32>,
    /// Only events that are this org's today.
    #[arg(long)]
    pub org: Option<OrgId>,
    /// Only events that are this team's today.
    #[arg(long, requires = "org")]
    pub team: Option<TeamId>,
    /// Where to.
    #[arg(long, value_enum, default_value_t)]
    pub to: ReplayTo,
    /// Ask nothing. Only `--to work` asks: its runs post, and count toward the limits of their teams.
    #[arg(long)]
    pub yes: bool,
    /// Why; stands in every decision.
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Who asks; stands in every decision.
    #[arg(long, env = "USER", default_value = "operator")]
    pub by: String,
    /// Longest wait for the runs; they go on without anybody waiting.
    #[arg(long, default_value = "600s", value_name = "TIME")]
    pub timeout: tocsin_kit::settings::Seconds,
    /// Connection.
    #[command(flatten)]
    pub bus: BusSettings,
}

/// What a replay leads to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ReplayTo {
    /// Runs that post nowhere; what they find is compared with what the first run found.
    #[default]
    Sandbox,
    /// Runs as ever.
    Work,
}
