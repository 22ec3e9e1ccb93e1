//! Names of directory entries, symbolic links' targets and shares.

use std::fmt;
use std::sync::Arc;

/// The longest name of a directory entry, in bytes (PATHCONF's `name_max`).
pub const MAX_NAME_BYTES: usize = 255;
/// The longest target of a symbolic link, in bytes; a Linux client cannot read 4,096.
pub const MAX_TARGET_BYTES: usize = 4095;
/// The longest name of a share, in bytes: what a 64-byte handle leaves beside the UUID.
pub const MAX_SHARE_NAME_BYTES: usize = 32;

/// A directory entry's name: 1 to 255 bytes without `/` and NUL, neither `.` nor `..`; not
/// necessarily UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<[u8]>);

/// Why bytes are no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no bytes.
    #[error("the name is empty")]
    Empty,
    /// The name has a `/` or a NUL byte.
    #[error("the name has a slash or a NUL byte")]
    Forbidden,
    /// The name has more than [`MAX_NAME_BYTES`] bytes.
    #[error("the name is longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// The name is `.` or `..`, which name no entry of their own.
    #[error("the name is a dot or two")]
    Dots,
}

impl Name {
    /// Parses an entry's name.
    pub fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        match Component::parse(bytes)? {
            Component::Name(name) => Ok(name),
            Component::Current | Component::Parent => Err(NameError::Dots),
        }
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// One step of a path, as LOOKUP takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Component {
    /// `.`
    Current,
    /// `..`
    Parent,
    /// An entry.
    Name(Name),
}

impl Component {
    /// Parses one step of a path.
    ///
    /// # Errors
    /// Says what is wrong with the bytes; never [`NameError::Dots`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong);
        }
        if bytes.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(NameError::Forbidden);
        }
        Ok(match bytes {
            b"." => Self::Current,
            b".." => Self::Parent,
            name => Self::Name(Name(name.into())),
        })
    }
}

/// A symbolic link's target: 1 to 4,095 bytes without NUL.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SymlinkTarget(Arc<[u8]>);

/// Why bytes are no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The target has no bytes.
    #[error("the target is empty")]
    Empty,
    /// The target has a NUL byte.
    #[error("the target has a NUL byte")]
    Forbidden,
    /// The target has more than [`MAX_TARGET_BYTES`] bytes.
    #[error("the target is longer than {MAX_TARGET_BYTES} bytes")]
    TooLong,
}

impl SymlinkTarget {
    /// Parses a target.
    pub fn parse(bytes: &[u8]) -> Result<Self, TargetError> {
        if bytes.is_empty() {
            return Err(TargetError::Empty);
        }
        if bytes.len() > MAX_TARGET_BYTES {
            return Err(TargetError::TooLong);
        }
        if bytes.contains(&0) {
            return Err(TargetError::Forbidden);
        }
        Ok(Self(bytes.into()))
    }

    /// The target's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SymlinkTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A share's name, which is also the path that clients mount: `/` and 1 to 31 further bytes of
/// printable ASCII without spaces, no empty, `.` or `..` component, no `/` at the end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareName(Arc<str>);

/// Why a string is no share name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareNameError {
    /// The name does not start with `/`.
    #[error("a share name must start with '/'")]
    NoSlash,
    /// The name has more than [`MAX_SHARE_NAME_BYTES`] bytes.
    #[error(
        "a share name has at most {MAX_SHARE_NAME_BYTES} bytes, the room for it in a file handle"
    )]
    TooLong,
    /// A component of the name is empty, `.` or `..`.
    #[error("a share name must not have an empty, '.' or '..' component, or end with '/'")]
    Component,
    /// A byte is a space, a control character or not ASCII.
    #[error("a share name must be printable ASCII without spaces")]
    Forbidden,
}

impl ShareName {
    /// The share whose name `path` begins with, of several the one of the longest name, and the components of
    /// the path below its root. Repeated and trailing slashes, and `.`, count for nothing.
    pub fn longest_in<S>(
        path: &[u8],
        shares: impl IntoIterator<Item = S>,
        name: impl Fn(&S) -> &Self,
    ) -> Option<(S, Vec<&[u8]>)> {
        let path = components(path);
        let named = shares.into_iter().filter_map(|share| {
            let depth = {
                let name = components(name(&share).as_str().as_bytes());
                path.starts_with(&name).then_some(name.len())
            };
            depth.map(|depth| (share, depth))
        });
        let (share, depth) = named.max_by_key(|(_, depth)| *depth)?;
        Some((share, path[depth..].to_vec()))
    }

    /// Parses a share's name.
    pub fn parse(name: &str) -> Result<Self, ShareNameError> {
        let Some(path) = name.strip_prefix('/') else {
            return Err(ShareNameError::NoSlash);
        };
        if name.len() > MAX_SHARE_NAME_BYTES {
            return Err(ShareNameError::TooLong);
        }
        if !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ShareNameError::Forbidden);
        }
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(ShareNameError::Component);
        }
        Ok(Self(name.into()))
    }

    /// The name, with its leading `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn components(path: &[u8]) -> Vec<&[u8]> {
    path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect()
}

impl fmt::Debug for ShareName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for ShareName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_take_every_byte_but_slash_and_nul() {
        assert_eq!(Name::parse(b"").unwrap_err(), NameError::Empty);
        assert_eq!(Name::parse(b"a/b").unwrap_err(), NameError::Forbidden);
        assert_eq!(Name::parse(b"a\0").unwrap_err(), NameError::Forbidden);
        assert_eq!(Name::parse(&[b'x'; 256]).unwrap_err(), NameError::TooLong);
        assert_eq!(Name::parse(b"..").unwrap_err(), NameError::Dots);
        assert_eq!(Name::parse(&[0xff; 255]).unwrap().as_bytes(), [0xff; 255]);
    }

    #[test]
    fn share_names_fit_into_a_handle() {
        assert!(ShareName::parse("/export").is_ok());
        assert!(ShareName::parse(&format!("/{}", "x".repeat(31))).is_ok());
        assert_eq!(
            ShareName::parse(&format!("/{}", "x".repeat(32))).unwrap_err(),
            ShareNameError::TooLong
        );
        assert_eq!(ShareName::parse("x").unwrap_err(), ShareNameError::NoSlash);
        assert_eq!(ShareName::parse("/").unwrap_err(), ShareNameError::Component);
        assert_eq!(ShareName::parse("/a/../b").unwrap_err(), ShareNameError::Component);
        assert_eq!(ShareName::parse("/a b").unwrap_err(), ShareNameError::Forbidden);
    }

    #[test]
    fn targets_have_one_to_4095_bytes() {
        assert_eq!(SymlinkTarget::parse(b"").unwrap_err(), TargetError::Empty);
        assert_eq!(SymlinkTarget::parse(&[b'x'; 4096]).unwrap_err(), TargetError::TooLong);
        assert_eq!(SymlinkTarget::parse(b"a\0b").unwrap_err(), TargetError::Forbidden);
        assert!(SymlinkTarget::parse(&[b'x'; 4095]).is_ok());
    }
}
