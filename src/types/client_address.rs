//! A client, as limits and caches tell clients apart.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The part of an IPv6 address within which one host may take any number of addresses (RFC 7934, RFC 8981).
const IPV6_NETWORK: u128 = u128::MAX << 64;

/// One client: an IPv4 address, or an IPv6 network of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// The client of a peer's address. An IPv4 client is the same by an IPv6 listener. Loopback and
    /// link-local addresses are clients of their own: the hosts of a link share one network of 64 bits.
    #[must_use]
    pub fn of(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() && !address.is_unicast_link_local() => {
                Self(Ipv6Addr::from_bits(address.to_bits() & IPV6_NETWORK).into())
            }
            address => Self(address),
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V6(network) if !network.is_loopback() && !network.is_unicast_link_local() => {
                write!(f, "{network}/64")
            }
            address => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str) -> ClientAddress {
        ClientAddress::of(peer.parse().unwrap())
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_client() {
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1:2:3"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("2001:db8:0:1::1").to_string(), "2001:db8:0:1::/64");
    }

    #[test]
    fn other_addresses_are_clients_of_their_own() {
        assert_eq!(client("::ffff:10.0.0.1"), client("10.0.0.1"));
        assert_ne!(client("10.0.0.1"), client("10.0.0.2"));
        assert_ne!(client("fe80::1"), client("fe80::2"));
        assert_eq!(client("fe80::1").to_string(), "fe80::1");
        assert_eq!(client("::1").to_string(), "::1");
    }
}
