//! The shares of the servers under test.

use trunkfs::vfs::{Access, ClientRule, Squash};

/// Whom squashed callers are taken for: uid and gid.
pub(crate) const ANONYMOUS: (u32, u32) = (65_534, 65_533);

/// A share whose name is as long as may be, so that its handles have 64 bytes.
pub(crate) const LONG_SHARE: &str = "/a-share-whose-name-has-32-bytes";

fn rule(network: &str, squash: Squash) -> ClientRule {
    ClientRule {
        network: network.parse().unwrap(),
        access: Access::ReadWrite,
        squash,
        anonuid: ANONYMOUS.0,
        anongid: ANONYMOUS.1,
        require_reserved_port: false,
    }
}

/// The shares: their names, their roots' modes and their rules. Clients call from 127.0.0.1, or from
/// 127.0.0.2 where a case needs a client of other rights.
pub(super) fn shares() -> Vec<(&'static str, u32, Vec<ClientRule>)> {
    let all = "127.0.0.0/8";
    let read_only = ClientRule { access: Access::ReadOnly, ..rule("127.0.0.1/32", Squash::None) };
    let reserved = ClientRule { require_reserved_port: true, ..rule("127.0.0.1/32", Squash::None) };
    vec![
        ("/t", 0o755, vec![rule(all, Squash::None), rule("::1/128", Squash::None)]),
        ("/squash", 0o777, vec![rule(all, Squash::Root)]),
        ("/all", 0o777, vec![rule(all, Squash::All)]),
        ("/ro", 0o777, vec![rule(all, Squash::None), read_only]),
        ("/port", 0o777, vec![rule(all, Squash::None), reserved]),
        ("/narrow", 0o777, vec![rule("127.0.0.2/32", Squash::None)]),
        (LONG_SHARE, 0o777, vec![rule(all, Squash::None)]),
    ]
}
