//! Which addresses may connect.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The addresses that may connect: clients that a share's rules admit, and probes of the port. Loopback, and
/// the address that a connection is made to, may always connect, as the machine asks its own server whether
/// it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    clients: Vec<IpNet>,
    probes: Vec<IpNet>,
    own: bool,
}

impl Admission {
    /// Admits the networks of clients, and those of probes.
    #[must_use]
    pub fn new(clients: &[IpNet], probes: &[IpNet]) -> Self {
        Self { clients: IpNet::aggregate(&clients.to_vec()), probes: probes.to_vec(), own: true }
    }

    /// Admits the networks of clients, and not the machine itself: tests have no other addresses.
    #[cfg(test)]
    pub(super) fn without_own(clients: &[IpNet]) -> Self {
        Self { own: false, ..Self::new(clients, &[]) }
    }

    /// Admits every address.
    #[must_use]
    pub fn everyone() -> Self {
        Self::new(&[Ipv4Net::default().into(), Ipv6Net::default().into()], &[])
    }

    /// Whether `peer` may connect to the address `local`.
    pub(super) fn admits(&self, peer: IpAddr, local: IpAddr) -> bool {
        let peer = peer.to_canonical();
        let own = peer.is_loopback() || peer == local.to_canonical();
        (own && self.own)
            || self.is_client(peer)
            || self.probes.iter().any(|network| network.contains(&peer))
    }

    /// Whether the rules of a share admit `peer`.
    pub(super) fn is_client(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.clients.iter().any(|network| network.contains(&peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn admits(admission: &Admission, peer: &str) -> bool {
        admission.admits(peer.parse().unwrap(), "10.9.9.9".parse().unwrap())
    }

    #[test]
    fn clients_probes_and_the_machine_itself_may_connect() {
        let clients = networks(&["10.0.0.0/24", "10.0.1.0/24", "2001:db8::/48"]);
        let admission = Admission::new(&clients, &networks(&["192.0.2.7/32"]));
        let admitted =
            ["10.0.0.1", "10.0.1.255", "::ffff:10.0.0.1", "2001:db8:0:7::1", "192.0.2.7"];
        let own = ["127.0.0.1", "127.8.8.8", "::1", "10.9.9.9", "::ffff:10.9.9.9"];
        for peer in admitted.into_iter().chain(own) {
            assert!(admits(&admission, peer), "{peer}");
        }
        for peer in ["10.0.2.0", "192.0.2.8", "2001:db8:1::1", "9.255.255.255"] {
            assert!(!admits(&admission, peer), "{peer}");
        }
        assert!(!admission.is_client("192.0.2.7".parse().unwrap()), "a probe is no client");
    }

    #[test]
    fn everyone_may_connect_where_no_network_is_named() {
        let everyone = Admission::everyone();
        assert!(admits(&everyone, "203.0.113.1") && admits(&everyone, "2001:db8::1"));
    }
}
