//! How a service reaches the broker and proves who it is.

use std::path::PathBuf;

use tocsin_wire::Service;

/// Connection and identity. `{service}` in a path stands for the service's name, so that one
/// setting serves all services of one process.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Bus")]
pub struct BusSettings {
    /// Servers, comma-separated.
    #[arg(long, env = "NATS_URL", default_value = "nats://127.0.0.1:4222")]
    pub nats_url: String,

    /// File with the seed of this service's NATS user key; `{service}` is replaced by its name.
    #[arg(long, env = "NATS_NKEY_FILE", value_name = "PATH")]
    pub nats_nkey_file: Option<String>,

    /// NATS credentials file (JWT), instead of a user key; `{service}` is replaced.
    #[arg(long, env = "NATS_CREDS", value_name = "PATH")]
    pub nats_creds: Option<String>,

    /// Certificate authority of the servers, PEM; turns TLS on.
    #[arg(long, env = "NATS_CA_FILE", value_name = "PATH")]
    pub nats_ca_file: Option<PathBuf>,

    /// Client certificate, PEM; needs NATS_CERT_KEY_FILE too.
    #[arg(
        long,
        env = "NATS_CERT_FILE",
        value_name = "PATH",
        requires = "nats_cert_key_file"
    )]
    pub nats_cert_file: Option<PathBuf>,

    /// Key of the client certificate, PEM.
    #[arg(
        long,
        env = "NATS_CERT_KEY_FILE",
        value_name = "PATH",
        requires = "nats_cert_file"
    )]
    pub nats_cert_key_file: Option<PathBuf>,

    /// This service's private signing key (`tocsin keys init` makes it); `{service}` is replaced.
    #[arg(long, env = "SIGNING_KEY_FILE", value_name = "PATH")]
    pub signing_key_file: String,

    /// The operator's public root key: only keys that it signed are trusted.
    #[arg(long, env = "SIGNING_ROOT_FILE", value_name = "PATH")]
    pub signing_root_file: PathBuf,

    /// Create missing streams, consumers and buckets with the operator's identity, instead of only
    /// verifying them. Existing ones are never changed.
    #[arg(long, env = "DECLARE_STREAMS")]
    pub declare_streams: bool,

    /// Copies of each stream when declaring; 3 in production, on three servers.
    #[arg(long, env = "NATS_REPLICAS", default_value_t = 1)]
    pub nats_replicas: usize,

    /// Multiplies the size of every stream when declaring; 1 reserves 10 GiB on each server.
    #[arg(long, env = "STREAM_SIZE_FACTOR", default_value_t = 1)]
    pub stream_size_factor: u32,
}

impl BusSettings {
    pub(crate) fn nkey_path(&self, service: Service) -> Option<PathBuf> {
        self.nats_nkey_file
            .as_deref()
            .map(|path| for_service(path, service))
    }

    pub(crate) fn creds_path(&self, service: Service) -> Option<PathBuf> {
        self.nats_creds
            .as_deref()
            .map(|path| for_service(path, service))
    }

    pub(crate) fn signing_key_path(&self, service: Service) -> PathBuf {
        for_service(&self.signing_key_file, service)
    }
}

fn for_service(path: &str, service: Service) -> PathBuf {
    PathBuf::from(path.replace("{service}", service.name()))
}
