//! Where a server listens.

use std::{fmt, net::IpAddr, str::FromStr};

/// An address to listen on, written `host:port`. The host is an IP address or `localhost`; port 0
/// takes a free port, which the log then names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpListen {
    pub host: IpAddr,
    pub port: u16,
}

/// The text is not an address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{value:?} is not an address to listen on, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080"
)]
pub struct InvalidListen {
    pub value: String,
}

impl HttpListen {
    #[must_use]
    pub const fn new(host: IpAddr, port: u16) -> Self {
        Self { host, port }
    }

    /// A free port on the loopback address, for tests.
    #[must_use]
    pub const fn loopback() -> Self {
        Self::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0)
    }
}

impl FromStr for HttpListen {
    type Err = InvalidListen;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        let numeric = match value.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => value.to_owned(),
        };
        let address: std::net::SocketAddr = numeric.parse().map_err(|_| InvalidListen {
            value: value.to_owned(),
        })?;
        Ok(Self::new(address.ip(), address.port()))
    }
}

impl fmt::Display for HttpListen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.host, self.port).fmt(formatter)
    }
}
