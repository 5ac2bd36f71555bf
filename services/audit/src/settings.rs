//! Settings of audit.

use tocsin_bus::BusSettings;
use tocsin_store::StoreSettings;

/// Flags and environment of audit.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    #[command(flatten)]
    pub bus: BusSettings,

    #[command(flatten)]
    pub store: StoreSettings,

    /// Create the schema or bring it up to date before starting; otherwise it is only checked.
    #[arg(long, env = "MIGRATE")]
    pub migrate: bool,
}
