//! The senders that Tocsin knows: one file each in [`crate::normalize`], one row each in the table of
//! [`tocsin_wire::providers`], one folder of fixtures each.
//!
//! What is in neither is the same for all: docs/adding-a-provider.md.

use http::{HeaderMap, HeaderName, header};
use tocsin_wire::scheme::Scheme;
use tocsin_wire::source::{SourceProvider, USUAL_BODY_BYTES};

use crate::normalize::{self, Delivery, Malformed, Normalized};
use crate::verify::Verifier;

macro_rules! all {
    ($($form:ident $name:ident $title:literal,)*) => {
        /// Every provider, as the README lists them.
        pub const ALL: &[&Provider] = &[$(&normalize::$name::PROVIDER),*];
    };
}

tocsin_wire::providers!(all);

/// A sender of webhooks.
#[derive(Debug)]
pub struct Provider {
    /// As URLs, events and subjects name it: `/webhooks/<name>`; also that of its row and its module.
    pub name: &'static str,
    /// Where its shared secrets are set.
    pub secret: SecretSetting,
    /// Its URLs; the first one's reader is that of sources.
    pub endpoints: &'static [Endpoint],
    /// How it can prove itself, the usual way first. A secret that starts with `whsec_` or `whpk_` takes
    /// Standard Webhooks, where that is among them.
    pub schemes: &'static [Scheme],
    /// Headers, in lower case, of which two would let a proxy and us read different deliveries.
    pub single_headers: &'static [&'static str],
    /// Headers, in lower case, that an event keeps besides those of its signature. Never one that holds a
    /// secret.
    pub kept_headers: &'static [&'static str],
    /// What it hears when it sends more than it may.
    pub throttled: Throttled,
}

/// Flag and environment variable of a provider's shared secrets.
#[derive(Debug)]
pub struct SecretSetting {
    /// Without the dashes: `github-webhook-secret`.
    pub flag: &'static str,
    /// `GITHUB_WEBHOOK_SECRET`
    pub variable: &'static str,
    /// One sentence for `--help`.
    pub help: &'static str,
}

/// One URL of a provider.
#[derive(Debug)]
pub struct Endpoint {
    /// Below `/webhooks/<provider>`; empty for that URL itself.
    pub path: &'static str,
    /// Reads what was verified.
    pub read: fn(Delivery<'_>) -> Result<Normalized, Malformed>,
    /// What the sender reads after an event of a kind was stored.
    pub answer: fn(&str) -> Answer,
    /// The headers with which `OPTIONS` is answered, from those of the question, where senders ask before
    /// they send.
    pub grant: Option<fn(&HeaderMap) -> HeaderMap>,
}

/// What a sender reads when all is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `{"ok":true}`
    Ok,
    /// Slack shows any text in an answer to an interaction or a command to the user.
    Empty,
    /// Slack shows a menu without entries.
    NoOptions,
    /// `{"challenge":"…"}`
    Challenge(String),
}

/// By what a sender tries again (webhooks of docs/adding-a-provider.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttled {
    /// 429 with `Retry-After`.
    TooManyRequests,
    /// 503 with `Retry-After`: it drops what gets a 4xx.
    Unavailable,
    /// It never tries again: the event is stored as deferred, and routed when there is room.
    Deferred,
}

impl Endpoint {
    /// The one URL of a provider whose answers nobody reads.
    pub const fn only(read: fn(Delivery<'_>) -> Result<Normalized, Malformed>) -> Self {
        Self {
            path: "",
            read,
            answer: |_kind| Answer::Ok,
            grant: None,
        }
    }
}

impl Provider {
    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|provider| provider.name == name).copied()
    }

    /// As it writes itself.
    #[must_use]
    pub fn title(&self) -> &'static str {
        SourceProvider::named(self.name).map_or(self.name, |row| row.title)
    }

    /// Bytes of the largest body, where a source says nothing.
    #[must_use]
    pub fn max_body(&self) -> usize {
        let row = SourceProvider::named(self.name);
        row.map_or(USUAL_BODY_BYTES, |row| row.max_body_bytes) as usize
    }

    /// The endpoint with this path.
    #[must_use]
    pub fn endpoint(&self, path: &str) -> Option<&'static Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.path == path)
    }

    /// What an event keeps of a delivery's headers: all with which it can be verified again, whatever the
    /// scheme, and what finds it at the sender.
    #[must_use]
    pub fn kept_headers(&self) -> Vec<HeaderName> {
        let signed = self.schemes.iter().flat_map(|scheme| {
            let verifier = Verifier::new(scheme, &[]);
            verifier.map_or_else(|_invalid| Vec::new(), |verifier| verifier.kept_headers())
        });
        let named = self
            .kept_headers
            .iter()
            .map(|name| HeaderName::from_static(name));
        signed.chain(named).chain([header::USER_AGENT]).collect()
    }

    /// The scheme that these secrets are meant for.
    #[must_use]
    pub fn scheme<'a>(
        &self,
        secrets: impl IntoIterator<Item = &'a str>,
    ) -> Option<&'static Scheme> {
        let standard = secrets
            .into_iter()
            .any(|secret| secret.starts_with("whsec_") || secret.starts_with("whpk_"));
        let mut schemes = self.schemes.iter();
        let meant = schemes.find(|scheme| standard && **scheme == Scheme::StandardWebhooks);
        meant.or(self.schemes.first())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tocsin_wire::Token;
    use tocsin_wire::source::PROVIDERS;

    use super::*;

    #[test]
    fn a_module_has_the_name_of_its_row() {
        let ours: Vec<_> = ALL.iter().map(|provider| provider.name).collect();
        let rows: Vec<_> = PROVIDERS.iter().map(|row| row.name).collect();
        assert_eq!(ours, rows);
    }

    #[test]
    fn rows_are_complete_and_distinct() {
        let mut names = BTreeSet::new();
        let mut settings = BTreeSet::new();
        for provider in ALL {
            let name = provider.name;
            assert!(names.insert(name), "{name} twice");
            assert!(
                settings.insert(provider.secret.variable),
                "{name}: its variable twice"
            );
            assert!(
                settings.insert(provider.secret.flag),
                "{name}: its flag twice"
            );
            Token::new(name).expect("names are subject tokens");
            assert!(!provider.endpoints.is_empty(), "{name}: no endpoint");
            assert!(!provider.schemes.is_empty(), "{name}: no scheme");
            for scheme in provider.schemes {
                Verifier::new(scheme, &[]).expect("headers are headers");
            }
            let kept = provider.kept_headers();
            let distinct: BTreeSet<_> = kept.iter().map(HeaderName::as_str).collect();
            assert_eq!(distinct.len(), kept.len(), "{name}: a header is kept twice");
            for header in provider.single_headers.iter().chain(provider.kept_headers) {
                HeaderName::from_lowercase(header.as_bytes()).expect("in lower case");
                assert!(
                    !matches!(*header, "authorization" | "cookie"),
                    "{name}: {header}"
                );
            }
        }
    }
}
