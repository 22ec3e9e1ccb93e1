//! Whether an address is this machine's: addresses move between servers.

use std::io;
use std::net::{IpAddr, UdpSocket};

/// Whether calls may leave from an address. Where that cannot be told, they may.
#[must_use]
pub(crate) fn is_own_address(address: IpAddr) -> bool {
    let bound = UdpSocket::bind((address, 0));
    !bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_documentation_is_nobodys() {
        assert!(is_own_address([127, 0, 0, 1].into()));
        assert!(is_own_address("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!is_own_address([192, 0, 2, 1].into()));
        assert!(!is_own_address("2001:db8::1".parse().unwrap()));
    }
}
