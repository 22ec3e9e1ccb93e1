//! Export rules: which clients a share admits, for what, and as whom. Checked on every call.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Error;
use crate::types::{Caller, Credentials};

/// The lowest port that a process without privileges may use.
const FIRST_FREE_PORT: u16 = 1024;

/// Whom the server takes a caller for (`exports(5)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Squash {
    /// Everybody is who they say they are.
    None,
    /// uid 0 and gid 0 become the anonymous user and group.
    Root,
    /// Everybody becomes the anonymous user.
    All,
}

/// What clients of one network may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRule {
    /// The clients.
    pub network: IpNet,
    /// Whether they may only read.
    pub read_only: bool,
    /// Whom they are taken for.
    pub squash: Squash,
    /// The anonymous user's uid and gid.
    pub anonymous: (u32, u32),
    /// Whether they must call from a port below 1024.
    pub reserved_port: bool,
}

impl ClientRule {
    /// The rule that admits a client: the one with the longest prefix, the first of equals.
    pub(crate) fn find(rules: &[Self], address: IpAddr) -> Option<&Self> {
        let address = address.to_canonical();
        let admitting = rules.iter().filter(|rule| rule.network.contains(&address));
        admitting.rev().max_by_key(|rule| rule.network.prefix_len())
    }

    /// Checks what needs no credentials.
    pub(crate) fn check_port(&self, caller: &Caller) -> Result<(), Error> {
        if self.reserved_port && caller.address.port() >= FIRST_FREE_PORT {
            return Err(Error::PortRefused);
        }
        Ok(())
    }

    /// The credentials that the caller's count as. A caller without any is the anonymous user where
    /// the rule has one to offer.
    pub(crate) fn squashed(&self, caller: &Caller) -> Result<Credentials, Error> {
        let (uid, gid) = self.anonymous;
        let anonymous = Credentials { uid, gid, gids: Vec::new() };
        let Some(sent) = &caller.credentials else {
            return match self.squash {
                Squash::None => Err(Error::TooWeak),
                Squash::Root | Squash::All => Ok(anonymous),
            };
        };
        Ok(match self.squash {
            Squash::None => sent.clone(),
            Squash::All => anonymous,
            Squash::Root => Credentials {
                uid: if sent.uid == 0 { uid } else { sent.uid },
                gid: if sent.gid == 0 { gid } else { sent.gid },
                gids: sent.gids.iter().map(|&id| if id == 0 { gid } else { id }).collect(),
            },
        })
    }

    /// The anonymous user, for calls that mounting needs before it has credentials.
    pub(crate) fn anonymous(&self) -> Credentials {
        let (uid, gid) = self.anonymous;
        Credentials { uid, gid, gids: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(network: &str, squash: Squash) -> ClientRule {
        ClientRule {
            network: network.parse().unwrap(),
            read_only: false,
            squash,
            anonymous: (65_534, 65_533),
            reserved_port: false,
        }
    }

    fn caller(identity: Option<Credentials>) -> Caller {
        Caller::new("10.1.2.3:2000".parse().unwrap(), identity, std::time::Duration::ZERO)
    }

    #[test]
    fn the_narrowest_network_decides() {
        let rules = [
            rule("10.0.0.0/8", Squash::Root),
            rule("10.1.0.0/16", Squash::None),
            rule("10.1.0.0/16", Squash::All),
        ];
        let find = |address: &str| ClientRule::find(&rules, address.parse().unwrap());
        assert_eq!(find("10.1.2.3"), Some(&rules[1]));
        assert_eq!(find("::ffff:10.2.2.3"), Some(&rules[0]));
        assert_eq!(find("11.0.0.1"), None);
    }

    #[test]
    fn root_squash_takes_uid_and_every_gid_of_zero() {
        let squashed = rule("10.0.0.0/8", Squash::Root)
            .squashed(&caller(Some(Credentials { uid: 5, gid: 0, gids: vec![0, 7] })))
            .unwrap();
        assert_eq!(squashed, Credentials { uid: 5, gid: 65_533, gids: vec![65_533, 7] });
    }

    #[test]
    fn nobody_is_refused_where_nobody_is_squashed() {
        assert!(matches!(
            rule("10.0.0.0/8", Squash::None).squashed(&caller(None)),
            Err(Error::TooWeak)
        ));
        assert_eq!(rule("10.0.0.0/8", Squash::All).squashed(&caller(None)).unwrap().uid, 65_534);
    }
}
