//! Export rules: which clients a share admits, for what, and as whom. Checked on every call.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::types::settings::{Identity, network};
use crate::types::{Caller, Credentials};

/// The lowest port that a process without privileges may use.
const FIRST_FREE_PORT: u16 = 1024;

/// The user and group that squashed callers become where the configuration names none.
const NOBODY: u32 = 65534;

/// Clients of a network and what they may do.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ClientRule {
    /// Their addresses.
    #[serde(deserialize_with = "network")]
    pub network: IpNet,
    /// Whether they may change anything.
    #[serde(default)]
    pub access: Access,
    /// Whose identity is replaced by the anonymous one.
    #[serde(default)]
    pub squash: Squash,
    /// The anonymous user.
    #[serde(default = "nobody", with = "Identity")]
    pub anonuid: u32,
    /// The anonymous group.
    #[serde(default = "nobody", with = "Identity")]
    pub anongid: u32,
    /// Whether calls must come from a port below 1024.
    #[serde(default)]
    pub require_reserved_port: bool,
}

/// What clients may do.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub enum Access {
    /// Read and change.
    #[default]
    #[serde(rename = "rw")]
    ReadWrite,
    #[serde(rename = "ro")]
    ReadOnly,
}

/// Whose identity is replaced by the anonymous one (exports(5), "User ID Mapping").
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub enum Squash {
    /// That of uid 0 and gid 0.
    #[default]
    #[serde(rename = "root_squash")]
    Root,
    /// No user's.
    #[serde(rename = "no_root_squash")]
    None,
    /// Every user's.
    #[serde(rename = "all_squash")]
    All,
}

fn nobody() -> u32 {
    NOBODY
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
        if self.require_reserved_port && caller.address.port() >= FIRST_FREE_PORT {
            return Err(Error::PortRefused);
        }
        Ok(())
    }

    /// The credentials that the caller's count as. A caller without any is the anonymous user where
    /// the rule has one to offer.
    pub(crate) fn squashed(&self, sent: Option<&Credentials>) -> Result<Credentials, Error> {
        let anonymous = self.anonymous();
        let (uid, gid) = (anonymous.uid, anonymous.gid);
        let Some(sent) = sent else {
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
        Credentials { uid: self.anonuid, gid: self.anongid, gids: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(network: &str, squash: Squash) -> ClientRule {
        ClientRule {
            network: network.parse().unwrap(),
            access: Access::ReadWrite,
            squash,
            anonuid: 65_534,
            anongid: 65_533,
            require_reserved_port: false,
        }
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
            .squashed(Some(&Credentials { uid: 5, gid: 0, gids: vec![0, 7] }))
            .unwrap();
        assert_eq!(squashed, Credentials { uid: 5, gid: 65_533, gids: vec![65_533, 7] });
    }

    #[test]
    fn nobody_is_refused_where_nobody_is_squashed() {
        assert!(matches!(rule("10.0.0.0/8", Squash::None).squashed(None), Err(Error::TooWeak)));
        assert_eq!(rule("10.0.0.0/8", Squash::All).squashed(None).unwrap().uid, 65_534);
    }
}
