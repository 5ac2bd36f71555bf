//! Settings of ingress.

mod secrets;

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tocsin_bus::BusSettings;
use tocsin_kit::{
    SecretList,
    http_server::{Limits, TlsFiles},
    settings::{Bytes, HttpListen, Seconds, ServicePath},
};
use tocsin_wire::rate::{self, RateTier};
use tocsin_wire::source::MAX_BODY_BYTES;

pub use secrets::ProviderSecrets;

/// What Slack's and the Standard Webhooks libraries allow between a request's timestamp and our clock.
const TOLERANCE: Duration = Duration::from_secs(300);
/// The largest of any sender, which are GitHub's and GitLab's; what has more than 512 KiB goes through the
/// object store.
const MAX_BODY: u64 = MAX_BODY_BYTES as u64;
/// A sender that needs longer for its headers is broken or hostile.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Slack, the most impatient sender, gives up after 3 s; PagerDuty's longest wait is 16 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(16);
/// For senders that connect without anything in between.
const CLOSE_DELAY: Duration = Duration::from_millis(100);

/// Flags and environment of ingress.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    #[command(flatten)]
    pub bus: BusSettings,

    /// Where webhooks are received.
    #[arg(long, env = "INGRESS_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: HttpListen,

    /// Certificate of the listener, PEM, with those between it and its root: webhooks come over TLS then.
    /// Read again when the file changes.
    #[arg(
        long,
        env = "INGRESS_TLS_CERT",
        requires = "tls_key",
        value_name = "FILE"
    )]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate, PEM, without a password.
    #[arg(
        long,
        env = "INGRESS_TLS_KEY",
        requires = "tls_cert",
        value_name = "FILE"
    )]
    pub tls_key: Option<PathBuf>,

    #[command(flatten)]
    pub secrets: ProviderSecrets,

    /// App-level tokens (xapp-…) of Slack apps in Socket Mode, comma-separated, one per app: what Slack would
    /// post comes over a connection that is opened to Slack, and needs no public URL.
    #[arg(
        long,
        env = "SLACK_APP_TOKEN",
        hide_env_values = true,
        value_name = "TOKENS",
        default_value = ""
    )]
    pub slack_app_token: SecretList,

    /// Slack's Web API; Socket Mode connects only to its host and those below it.
    #[arg(long, env = "SLACK_API_URL", default_value = "https://slack.com/api")]
    pub slack_api_url: String,

    /// Private sealing keys of this room, with which the secrets of sources are opened; without them only
    /// the shared secrets above work. `{service}` in it is replaced by `ingress`.
    #[arg(long, env = "SEALING_KEY_FILE", value_name = "PATH")]
    pub sealing_key_file: Option<ServicePath>,

    /// Proxies, as ranges of addresses, comma-separated, whose `X-Forwarded-For` names the sender; it
    /// matters for allow-lists and rate limits by address.
    #[arg(long, env = "INGRESS_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<IpNet>,

    /// Rate tier of all that the sources of one org send together: small (100 in any 10 s), medium (5,000) or
    /// large (250,000).
    #[arg(long, env = "INGRESS_ORG_RATE_TIER", default_value = rate::DEFAULT.name, value_parser = tier)]
    pub org_rate_tier: &'static RateTier,

    /// Rate tier of all genuine deliveries from one address, whoever they are for; as of orgs. Senders that
    /// share an address, or come through a proxy that is not trusted, share it.
    #[arg(long, env = "INGRESS_ADDRESS_RATE_TIER", default_value = rate::DEFAULT.name, value_parser = tier)]
    pub address_rate_tier: &'static RateTier,

    /// Folder with signing certificates of Amazon SNS, named as AWS names them
    /// (`SimpleNotificationService-….pem`), for networks that do not reach AWS; what is not in it is fetched.
    #[arg(long, env = "SNS_CERTIFICATES_DIR")]
    pub sns_certificates_dir: Option<PathBuf>,

    /// How far a signed timestamp (Slack, Standard Webhooks) may be from our clock, in both directions.
    #[arg(long, env = "WEBHOOK_TOLERANCE", default_value_t = Seconds::new(TOLERANCE))]
    pub tolerance: Seconds,

    /// Largest body that the shared secrets sign (413 over it), where a sender's own limit is not less: 25 MiB
    /// for GitHub and GitLab, 1 MiB for all others.
    #[arg(long, env = "INGRESS_MAX_BODY", default_value_t = Bytes::new(MAX_BODY))]
    pub max_body_bytes: Bytes,

    /// Time for a sender to send the headers of a request; also how long an idle connection is kept.
    #[arg(long, env = "INGRESS_HEADER_TIMEOUT", default_value_t = Seconds::new(HEADER_TIMEOUT))]
    pub header_timeout: Seconds,

    /// Time to receive and answer a request (503 after it).
    #[arg(long, env = "INGRESS_REQUEST_TIMEOUT", default_value_t = Seconds::new(REQUEST_TIMEOUT))]
    pub request_timeout: Seconds,

    /// How long deliveries are still taken after SIGTERM, while /ready says no: as long as the load balancer
    /// in front needs to notice.
    #[arg(long, env = "INGRESS_CLOSE_DELAY", default_value_t = Seconds::new(CLOSE_DELAY))]
    pub close_delay: Seconds,
}

impl Settings {
    /// Where the certificate and its key are, when webhooks come over TLS.
    pub(crate) fn tls(&self) -> Option<TlsFiles> {
        let (certificate, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(TlsFiles { certificate, key })
    }

    /// Limits of the listener; the body, the time and the number of requests are limited by what takes them,
    /// which also counts the refusals.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            header_timeout: self.header_timeout.duration(),
            request_timeout: None,
            max_in_flight: None,
            max_body: None,
            close_delay: self.close_delay.duration(),
            ..Limits::default()
        }
    }
}

/// The limits themselves are the broker's, of which each tier has a stream.
fn tier(name: &str) -> Result<&'static RateTier, String> {
    RateTier::named(name).ok_or_else(|| {
        let names: Vec<_> = rate::TIERS.iter().map(|tier| tier.name).collect();
        format!("there is no such rate tier; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::normalize::{github, slack};

    #[test]
    fn flags_become_what_they_name_and_secrets_never_print() {
        let flags = "--signing-key-file k --signing-root-file r --listen 127.0.0.1:1 \
                     --max-body-bytes 2MiB --slack-signing-secret new,old \
                     --slack-app-token xapp-1,xapp-2 --address-rate-tier small";
        let flags = flags.split_whitespace().map(OsString::from);
        let settings: Settings =
            tocsin_kit::settings::parse_service("ingress", flags).expect("settings");
        assert_eq!(settings.secrets.of(&slack::PROVIDER).len(), 2);
        assert!(settings.secrets.of(&github::PROVIDER).is_empty());
        assert_eq!(settings.max_body_bytes.get(), 2 << 20);
        assert_eq!(settings.tolerance.duration(), TOLERANCE);
        assert_eq!(settings.slack_app_token.len(), 2);
        assert_eq!(settings.org_rate_tier, rate::DEFAULT);
        assert_eq!(settings.address_rate_tier, rate::SMALL);
        assert!(
            tier("tiny")
                .expect_err("no tier")
                .ends_with("small, medium, large")
        );
        let printed = format!("{settings:?}");
        assert!(!printed.contains("old") && !printed.contains("xapp"));
    }
}
