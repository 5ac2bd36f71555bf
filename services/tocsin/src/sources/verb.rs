//! The command line of `tocsin sources`. `--help` is its reference.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use tocsin_kit::settings::Seconds;
use tocsin_wire::OrgId;
use tocsin_wire::source::PROVIDERS;

use super::settings::{SettingsGiven, Unset};
use crate::cli::ConfigAccess;

/// `tocsin sources …`
#[derive(Debug, Subcommand)]
pub enum Sources {
    /// Make a source, and print what to paste where at the sender. A secret that Tocsin makes is shown
    /// this once.
    Create(Create),
    /// Every source of an org with its URL path, its state, and how its secrets stand.
    List(Filter),
    /// One source with its settings and secrets; values are shown nowhere.
    Show(One),
    /// Change the name or settings; what is not named stays.
    Update(Update),
    /// Add a secret; those that count now end after a while. One that Tocsin makes is shown this once.
    Rotate(Rotate),
    /// Refuse everything that it sends.
    Disable(One),
    /// Take what it sends again.
    Enable(One),
    /// Remove one secret at once; the only one that counts stays, unless the source is disabled.
    RemoveSecret {
        /// Which source.
        #[command(flatten)]
        one: One,
        /// Id of the secret, as `show` prints it.
        secret: u32,
    },
    /// Delete a source with its secrets.
    Delete(One),
    /// Say what a captured delivery becomes or what is wrong with it, or with the last one that was refused.
    Test(Test),
    /// Is the sender broken, or are we? One verdict per source.
    Health(Filter),
}

/// Sources of an org.
#[derive(Debug, Args)]
pub struct Filter {
    /// Org.
    #[arg(long)]
    pub(super) org: OrgId,
    /// Only of this provider.
    #[arg(long, value_parser = providers())]
    pub(super) provider: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Where to.
    #[command(flatten)]
    pub(super) config: ConfigAccess,
}

/// One source of an org.
#[derive(Debug, Args)]
pub struct One {
    /// Its id, its name, or PROVIDER/NAME.
    pub(super) source: String,
    /// Org.
    #[arg(long)]
    pub(super) org: OrgId,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Where to.
    #[command(flatten)]
    pub(super) config: ConfigAccess,
}

/// `tocsin sources create`
#[derive(Debug, Args)]
pub struct Create {
    /// Who sends.
    #[arg(value_parser = providers())]
    pub(super) provider: String,
    /// For people; unique per provider in its org.
    pub(super) name: String,
    /// Org.
    #[arg(long)]
    pub(super) org: OrgId,
    /// Read the secret from stdin, where the sender chooses it. It is never an argument.
    #[arg(long)]
    pub(super) secret_stdin: bool,
    /// What it may do.
    #[command(flatten)]
    pub(super) settings: SettingsGiven,
    /// Address of ingress, as the sender reaches it.
    #[arg(long, env = "INGRESS_URL", default_value = "http://127.0.0.1:8080")]
    pub(super) ingress_url: String,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Where to.
    #[command(flatten)]
    pub(super) config: ConfigAccess,
}

/// `tocsin sources update`
#[derive(Debug, Args)]
pub struct Update {
    /// Which.
    #[command(flatten)]
    pub(super) one: One,
    /// Another name.
    #[arg(long)]
    pub(super) name: Option<String>,
    /// What it may do.
    #[command(flatten)]
    pub(super) settings: SettingsGiven,
    /// Back to what the provider has; may be repeated.
    #[arg(long, value_enum, value_name = "SETTING")]
    pub(super) unset: Vec<Unset>,
}

/// `tocsin sources rotate`
#[derive(Debug, Args)]
pub struct Rotate {
    /// Which.
    #[command(flatten)]
    pub(super) one: One,
    /// Read the new secret from stdin, where the sender chooses it. It is never an argument.
    #[arg(long)]
    pub(super) secret_stdin: bool,
    /// How long the secrets that count now live on; 0s ends them at once.
    #[arg(long, default_value = "1d", value_name = "TIME")]
    pub(super) old_expires_in: Seconds,
    /// From when the new one counts, as 2026-01-31T12:00:00Z [default: now].
    #[arg(long, value_name = "TIME")]
    pub(super) not_before: Option<Timestamp>,
    /// Until when the new one counts [default: until it is rotated].
    #[arg(long, value_name = "TIME")]
    pub(super) expires: Option<Timestamp>,
}

/// `tocsin sources test`
#[derive(Debug, Args)]
pub struct Test {
    /// Which.
    #[command(flatten)]
    pub(super) one: One,
    /// Body of a captured delivery, byte for byte; `-` for stdin. Without it, the last refused delivery
    /// is told of.
    #[arg(long, value_name = "FILE")]
    pub(super) body: Option<PathBuf>,
    /// A header of that delivery, as `X-Signature: sha256=…`; may be repeated.
    #[arg(long = "header", short = 'H', value_name = "HEADER", value_parser = header, requires = "body")]
    pub(super) headers: Vec<(String, String)>,
    /// When that delivery came, as 2026-01-31T12:00:00Z; else only its signature is judged, not the sender's
    /// clock.
    #[arg(long, value_name = "TIME", requires = "body")]
    pub(super) received_at: Option<Timestamp>,
}

fn providers() -> PossibleValuesParser {
    PossibleValuesParser::new(PROVIDERS.iter().map(|provider| provider.name))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("write it as NAME: VALUE".to_owned())?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
