//! Who sends: the peer of the connection, or whom a proxy that we trust names.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Entries of the header looked at; a chain of proxies is a handful long.
const MAX_HOPS: usize = 16;

/// The address that a delivery comes from. What stands in `X-Forwarded-For` counts only as far as every
/// hop behind it is one of `proxies`: anybody can write the rest.
pub(crate) fn sender(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let is_proxy = |address: IpAddr| proxies.iter().any(|range| range.contains(&address));
    let mut sender = peer.to_canonical();
    if !is_proxy(sender) {
        return sender;
    }
    let values = headers.get_all(FORWARDED_FOR).iter();
    let hops: Vec<&[u8]> = values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .collect();
    for hop in hops.into_iter().rev().take(MAX_HOPS) {
        let text = std::str::from_utf8(hop.trim_ascii());
        let Some(address) = text.ok().and_then(|text| text.parse::<IpAddr>().ok()) else {
            return sender;
        };
        sender = address.to_canonical();
        if !is_proxy(sender) {
            return sender;
        }
    }
    sender
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_name_another() {
        let proxies: Vec<IpNet> = ["10.0.0.0/8", "192.0.2.1/32"]
            .map(|range| range.parse().expect("a range"))
            .into();
        for (peer, header, expected) in [
            ("203.0.113.9", None, "203.0.113.9"),
            ("203.0.113.9", Some("198.51.100.7"), "203.0.113.9"),
            ("10.0.0.1", None, "10.0.0.1"),
            ("10.0.0.1", Some("198.51.100.7"), "198.51.100.7"),
            ("10.0.0.1", Some("1.2.3.4, 198.51.100.7"), "198.51.100.7"),
            (
                "10.0.0.1",
                Some("198.51.100.7, 10.1.1.1, 192.0.2.1"),
                "198.51.100.7",
            ),
            ("10.0.0.1", Some("198.51.100.7, unknown"), "10.0.0.1"),
            ("10.0.0.1", Some("2001:db8::5"), "2001:db8::5"),
            (
                "::ffff:10.0.0.1",
                Some("::ffff:198.51.100.7"),
                "198.51.100.7",
            ),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(FORWARDED_FOR, header.parse().expect("a value"));
            }
            let sender = sender(peer.parse().expect("an address"), &headers, &proxies);
            assert_eq!(sender.to_string(), expected, "{peer} {header:?}");
        }
    }
}
