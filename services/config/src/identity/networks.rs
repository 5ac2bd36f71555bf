//! Networks by their prefixes. Pure.

use std::net::IpAddr;
use std::str::FromStr;

/// Networks, comma-separated: `10.1.0.0/16,127.0.0.1,fd00::/8`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u32,
}

/// An entry is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network; write an address or a prefix, such as 10.1.0.0/16")]
pub struct InvalidNetwork(String);

impl FromStr for Networks {
    type Err = InvalidNetwork;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        let entries = list.split(',').map(str::trim);
        let named = entries.filter(|entry| !entry.is_empty());
        let parse = |entry: &str| network(entry).ok_or_else(|| InvalidNetwork(entry.to_owned()));
        named.map(parse).collect::<Result<_, _>>().map(Self)
    }
}

impl Networks {
    /// Whether one of them holds the address. An IPv4 address in IPv6 clothes counts as IPv4.
    pub(crate) fn hold(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.holds(address))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Network {
    fn holds(&self, address: IpAddr) -> bool {
        let differs = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                u128::from(own.to_bits() ^ other.to_bits()) << 96
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => own.to_bits() ^ other.to_bits(),
            _ => return false,
        };
        differs.leading_zeros() >= self.prefix
    }
}

fn network(entry: &str) -> Option<Network> {
    let (address, prefix) = match entry.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (entry, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        Some(text) => text.parse().ok().filter(|prefix| *prefix <= longest)?,
        None => longest,
    };
    Some(Network { address, prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_network_or_not() {
        let networks: Networks = "10.1.0.0/16, 127.0.0.1,fd00::/8".parse().expect("list");
        for (address, expected) in [
            ("10.1.2.3", true),
            ("10.2.0.0", false),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("::ffff:10.1.2.3", true),
            ("fd12::1", true),
            ("fe80::1", false),
            ("a01::", false),
        ] {
            assert_eq!(
                networks.hold(address.parse().expect("address")),
                expected,
                "{address}"
            );
        }
        let everything: Networks = "0.0.0.0/0".parse().expect("list");
        assert!(everything.hold("1.2.3.4".parse().expect("address")));
        for bad in ["10.0.0.0/33", "x", "10.0.0.0/-1", "::/129", "10.0.0.0/"] {
            assert!(bad.parse::<Networks>().is_err(), "{bad}");
        }
        assert!("".parse::<Networks>().expect("empty").is_empty());
    }
}
