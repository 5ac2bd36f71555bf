//! Ports that stay a test's own, for servers whose address is known before they start or outlives them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::ops::Range;

use anyhow::Context as _;

/// Below the ports that outgoing connections are given (Linux takes 32768 to 60999 by default, IANA says 49152 and up).
/// A port of theirs that a listener lets go, if only for its restart, goes to the next connection of anybody.
const RESERVED: Range<u16> = 20_000..32_768;

/// A TCP port of 127.0.0.1 that no other reservation has, in this process or another, until it is dropped.
///
/// Nothing listens on it: that is for the server which it is reserved for, as often as it starts. The mark that others
/// see is the UDP port of the same number, which ends with the process whatever ends that.
#[derive(Debug)]
pub struct ReservedPort {
    address: SocketAddr,
    _mark: UdpSocket,
}

impl ReservedPort {
    /// Reserves a port on which nobody listens.
    ///
    /// # Errors
    /// When not one of 12,768 is free.
    pub fn take() -> anyhow::Result<Self> {
        // Elsewhere each time, so that whoever still calls a server of an earlier test does not reach this one's.
        let [.., high, low] = uuid::Uuid::now_v7().into_bytes();
        let count = RESERVED.end - RESERVED.start;
        let first = RESERVED.start + u16::from_be_bytes([high, low]) % count;
        (first..RESERVED.end)
            .chain(RESERVED.start..first)
            .find_map(Self::reserve)
            .with_context(|| format!("every port of {RESERVED:?} is in use on 127.0.0.1"))
    }

    fn reserve(port: u16) -> Option<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mark = UdpSocket::bind(address).ok()?;
        // A stranger's server would answer in place of ours.
        TcpListener::bind(address).ok()?;
        Some(Self {
            address,
            _mark: mark,
        })
    }

    /// `127.0.0.1:<port>`
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn number(&self) -> u16 {
        self.address.port()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_reserved_once_and_free_for_a_listener() {
        let port = ReservedPort::take().unwrap();
        assert!(RESERVED.contains(&port.number()));
        assert!(ReservedPort::reserve(port.number()).is_none());
        let server = TcpListener::bind(port.address()).unwrap();
        // What listens without a reservation is seen as well.
        let number = port.number();
        drop(port);
        assert!(ReservedPort::reserve(number).is_none());
        drop(server);
    }

    #[test]
    fn reservations_differ_however_many_are_made() {
        let ports: Vec<_> = (0..200).map(|_| ReservedPort::take().unwrap()).collect();
        let mut numbers: Vec<_> = ports.iter().map(ReservedPort::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), ports.len());
    }
}
