//! Settings of config.

use tocsin_bus::BusSettings;
use tocsin_kit::SecretList;
use tocsin_kit::http_server::HttpLimitSettings;
use tocsin_kit::settings::HttpListen;
use tocsin_store::StoreSettings;

use crate::cache::CacheSettings;
use crate::http::AccessSettings;
use crate::identity::IdentitySettings;
use crate::secrets::SecretSettings;

/// Flags and environment of config.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    #[command(flatten)]
    pub bus: BusSettings,

    #[command(flatten)]
    pub store: StoreSettings,

    /// Create or update the schema at start. Without it, a schema that is not this program's stops
    /// the service.
    #[arg(long, env = "MIGRATE")]
    pub migrate: bool,

    /// Where the API listens; port 0 takes a free one, which the log names.
    #[arg(
        long = "listen",
        env = "CONFIG_LISTEN",
        default_value = "127.0.0.1:8082"
    )]
    pub listen: HttpListen,

    #[command(flatten)]
    pub limits: HttpLimitSettings,

    #[command(flatten)]
    pub access: AccessSettings,

    #[command(flatten)]
    pub identity: IdentitySettings,

    #[command(flatten)]
    pub secrets: SecretSettings,

    #[command(flatten)]
    pub cache: CacheSettings,

    /// Token of the global admin; several, comma-separated, while one is replaced. Without it the
    /// admin API refuses everybody.
    #[arg(
        long,
        env = "ADMIN_TOKEN",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub admin_token: SecretList,

    /// Key of the hash under which team tokens are stored; the first one for new tokens, all for
    /// old ones. Without it there are no team tokens.
    #[arg(
        long,
        env = "TOKEN_PEPPER",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub token_pepper: SecretList,

    /// Shared with services that look routes up over HTTP (X-Internal-Secret). Without it the
    /// lookup refuses everybody.
    #[arg(
        long,
        env = "INTERNAL_SERVICE_SECRET",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub internal_service_secret: SecretList,
}
