//! Who asks.

/// The most supplementary groups that AUTH_SYS carries (RFC 5531 appendix A).
pub const MAX_GIDS: usize = 16;

/// A caller's identity after squashing. uid and gid take the protocol's whole 32 bits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups: at most [`MAX_GIDS`] where the client says which.
    pub gids: Vec<u32>,
}

impl Credentials {
    /// The superuser.
    pub const ROOT: Self = Self { uid: 0, gid: 0, gids: Vec::new() };

    /// Whether the caller is the superuser.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Whether the caller is in a group, primary or supplementary.
    #[must_use]
    pub fn is_member(&self, gid: u32) -> bool {
        self.gid == gid || self.gids.contains(&gid)
    }
}
