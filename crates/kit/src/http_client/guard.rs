//! Which addresses a request on a tenant's behalf may go to: public ones, and those the operator
//! allows.
//!
//! A name is resolved once, and the connection is made to the addresses that passed, so an answer
//! that changes between check and use (DNS rebinding) gains nothing.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::BuildError;
use crate::BoxError;

/// A request was not made. Sending it again does not help; the URL, the allow-list or the machine must change.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    #[error("{url:?} is not a URL; write it in full, such as https://example.com/path")]
    Invalid {
        url: String,
        #[source]
        source: url::ParseError,
    },
    #[error("the scheme {scheme:?} is not supported; use https or http")]
    Scheme { scheme: String },
    #[error("a URL must not hold a user name or password; send them as a header")]
    Credentials,
    #[error("{address} is not a public address; the operator can allow it with OUTBOUND_ALLOW")]
    Address { address: IpAddr },
    #[error("{host} names a private host; the operator can allow it with OUTBOUND_ALLOW")]
    Host { host: String },
    #[error("{host} has no public address; the operator can allow it with OUTBOUND_ALLOW")]
    Resolved { host: String },
    #[error(transparent)]
    Client(#[from] BuildError),
}

/// The refusal behind a failed request, if it was the guard that stopped it.
#[must_use]
pub fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a GuardError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refusal) = error.downcast_ref() {
            return Some(refusal);
        }
        next = error.source();
    }
    None
}

/// Hosts and networks that may be reached although they are private.
///
/// Entries: an address (`10.0.0.7`), a network (`10.0.0.0/8`), a host (`prometheus.monitoring.svc`), or
/// all hosts below a domain (`*.internal.example.com`). An allowed host may resolve to any address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    networks: Vec<IpNet>,
    hosts: Vec<String>,
    /// With the leading dot.
    suffixes: Vec<String>,
}

/// An entry of an allow-list is neither a network nor a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{entry:?} is neither a network such as 10.0.0.0/8, nor a host such as prometheus.monitoring.svc or *.example.com"
)]
pub struct InvalidAllowEntry {
    pub entry: String,
}

impl AllowList {
    /// This machine.
    #[must_use]
    pub fn loopback() -> Self {
        Self {
            networks: vec![
                IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
                IpNet::new_assert(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
            ],
            hosts: vec!["localhost".to_owned()],
            suffixes: Vec::new(),
        }
    }

    fn has_address(&self, address: IpAddr) -> bool {
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }

    /// `host` in lower case and without a final dot.
    fn has_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|allowed| allowed == host)
            || self
                .suffixes
                .iter()
                .any(|suffix| host.ends_with(suffix.as_str()))
    }

    fn add(&mut self, entry: &str) -> Result<(), InvalidAllowEntry> {
        let entry = entry.to_ascii_lowercase();
        if let Ok(network) = entry.parse::<IpNet>() {
            self.networks.push(network);
        } else if let Ok(address) = entry.parse::<IpAddr>() {
            self.networks.push(address.into());
        } else if let Some(suffix) = entry.strip_prefix('*')
            && suffix.strip_prefix('.').is_some_and(is_host_name)
        {
            self.suffixes.push(suffix.to_owned());
        } else if is_host_name(&entry) {
            self.hosts.push(entry);
        } else {
            return Err(InvalidAllowEntry { entry });
        }
        Ok(())
    }
}

fn is_host_name(text: &str) -> bool {
    // A name whose last part is a number would be read as an address.
    let numeric_end = text
        .rsplit('.')
        .next()
        .is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    !numeric_end
        && text.split('.').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        })
}

impl FromStr for AllowList {
    type Err = InvalidAllowEntry;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        let mut parsed = Self::default();
        for entry in list
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
        {
            parsed.add(entry)?;
        }
        Ok(parsed)
    }
}

impl fmt::Display for AllowList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks = self.networks.iter().map(ToString::to_string);
        let suffixes = self.suffixes.iter().map(|suffix| format!("*{suffix}"));
        let entries: Vec<_> = networks
            .chain(self.hosts.iter().cloned())
            .chain(suffixes)
            .collect();
        formatter.write_str(&entries.join(","))
    }
}

/// Decides about hosts and addresses.
#[derive(Debug)]
pub(super) struct Guard {
    allow: AllowList,
}

pub(super) fn parse(url: &str) -> Result<Url, GuardError> {
    Url::parse(url).map_err(|source| GuardError::Invalid {
        url: url.to_owned(),
        source,
    })
}

/// What holds for every client, guarded or not.
pub(super) fn check_form(url: &Url) -> Result<(), GuardError> {
    if !matches!(url.scheme(), "http" | "https") {
        let scheme = url.scheme().to_owned();
        return Err(GuardError::Scheme { scheme });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(GuardError::Credentials);
    }
    Ok(())
}

impl Guard {
    pub(super) fn new(allow: AllowList) -> Self {
        Self { allow }
    }

    /// The URL parser has already turned `0x7f.1`, `2130706433` and the like into addresses.
    pub(super) fn check_host(&self, url: &Url) -> Result<(), GuardError> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(domain)) => return self.check_name(domain),
            None => {
                return Err(GuardError::Host {
                    host: String::new(),
                });
            }
        };
        if self.permits(address) {
            Ok(())
        } else {
            Err(GuardError::Address { address })
        }
    }

    /// Names that mean this machine or a private network whatever they resolve to.
    fn check_name(&self, name: &str) -> Result<(), GuardError> {
        let host = canonical(name);
        let last = host.rsplit('.').next().unwrap_or_default();
        let private = matches!(last, "localhost" | "internal" | "local");
        if private && !self.allow.has_host(&host) && self.allow.networks.is_empty() {
            return Err(GuardError::Host { host });
        }
        Ok(())
    }

    fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.allow.has_address(address)
    }

    /// The addresses of `host` that may be connected to.
    fn permitted(&self, host: &str, resolved: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        let any = self.allow.has_host(&canonical(host));
        resolved
            .filter(|address| any || self.permits(address.ip()))
            .collect()
    }
}

fn canonical(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// Whether the address belongs to the public internet, judged by IANA's special-purpose registries.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127, ..]             // this network, private, loopback
            | [100, 64..=127, ..]      // carrier-grade NAT
            | [169, 254, ..]           // link-local, cloud metadata
            | [172, 16..=31, ..]       // private
            | [192, 0, 0 | 2, _]       // protocol assignments, documentation
            | [192, 88, 99, _]         // 6to4 relays
            | [192, 168, ..]           // private
            | [198, 18 | 19, ..]       // benchmarks
            | [198, 51, 100, _]        // documentation
            | [203, 0, 113, _]         // documentation
            | [224..=255, ..] // multicast, reserved, broadcast
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, .., g, h] = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        // Addresses that carry a v4 one are as public as that: mapped, NAT64, 6to4.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_v4(v4(g, h)),
        [0x2002, ..] => is_public_v4(v4(b, c)),
        [0x2001, 0..=0x1ff, ..] // protocol assignments, Teredo, ORCHID
        | [0x2001, 0xdb8, ..]   // documentation
        | [0x3fff, 0..=0xfff, ..] => false, // documentation
        // Global unicast; loopback, unique local, link-local and multicast lie outside of it.
        _ => a & 0xe000 == 0x2000,
    }
}

/// Resolves names, and keeps only what the guard permits.
pub(super) struct GuardedResolver(pub(super) Arc<Guard>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let resolved = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let permitted = guard.permitted(&host, resolved);
            if permitted.is_empty() {
                return Err(BoxError::from(GuardError::Resolved { host }));
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}
