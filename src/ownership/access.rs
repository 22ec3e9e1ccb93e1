//! Files that this process may not open, with the command that mends it, and folders that others may write
//! to.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, Stat};
use rustix::io::Errno;

/// A user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    fn of(stat: &Stat) -> Self {
        Self { uid: stat.st_uid, gid: stat.st_gid }
    }

    /// The user that this process runs as.
    fn process() -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Self { uid: uid.as_raw(), gid: gid.as_raw() }
    }
}

/// As chown(1) takes it: by name where the files of passwd(5) and group(5) have one.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |file, id: u32| named(file, id).unwrap_or_else(|| id.to_string());
        write!(f, "{}:{}", name("/etc/passwd", self.uid), name("/etc/group", self.gid))
    }
}

fn named(file: &str, id: u32) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        (number == id && !name.is_empty()).then(|| name.to_owned())
    })
}

/// A file or folder that this process may not open.
#[derive(Debug, thiserror::Error)]
pub struct Denied {
    path: PathBuf,
    owner: Owner,
    user: Owner,
    mode: u32,
    folder: PathBuf,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, owner, user, mode, folder } = self;
        let (path, folder) = (path.display(), quoted(folder));
        write!(f, "{path} belongs to {owner} (mode {mode:04o}), and this process runs as {user}")?;
        if owner.uid == user.uid {
            write!(f, "; to fix it, run: chmod -R u+rwX {folder}")
        } else {
            write!(f, "; to fix it, run as root: chown -R {user} {folder}")
        }
    }
}

impl Denied {
    /// What is known of a path that cannot be opened, in a folder that should be this user's; `None` where
    /// not even that can be seen.
    #[must_use]
    pub fn of(path: &Path, folder: &Path) -> Option<Self> {
        let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(Self {
            path: path.to_path_buf(),
            owner: Owner::of(&stat),
            user: Owner::process(),
            mode: stat.st_mode & 0o7777,
            folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf()),
        })
    }
}

/// Whether a file may be read and written, and a folder changed. A path without a file, and one on a file
/// system that is read-only, is no error.
///
/// # Errors
/// The file belongs to another user, or its mode forbids it.
pub fn check(path: &Path, folder: &Path) -> Result<(), Denied> {
    let tried = |access| rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS);
    let mut access = Access::READ_OK | Access::WRITE_OK;
    let stat = rustix::fs::statat(CWD, path, AtFlags::empty());
    if stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()) {
        access |= Access::EXEC_OK;
    }
    match tried(access) {
        Err(Errno::ACCESS | Errno::PERM) => Denied::of(path, folder).map_or(Ok(()), Err),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The first of a folder and the folders above it that users other than this process's and root may write to,
/// and why; `None` where there is none.
#[must_use]
pub fn others_may_write(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mut innermost = true;
    for path in folder.ancestors() {
        let stat = rustix::fs::statat(CWD, path, AtFlags::empty()).ok()?;
        let groups = rustix::process::getgroups().unwrap_or_default();
        let own = |gid| {
            rustix::process::getegid().as_raw() == gid || groups.iter().any(|it| it.as_raw() == gid)
        };
        if let Some(why) = writers(&stat, innermost, Owner::process(), own) {
            return Some(format!("{}: {why}", path.display()));
        }
        innermost = false;
    }
    None
}

/// Who but `user` and root may write to a folder, or exchange what is in it. The owner of a folder in which
/// root works is the service's user, and members of a group of this process are trusted.
fn writers(
    stat: &Stat,
    innermost: bool,
    user: Owner,
    own_group: impl Fn(u32) -> bool,
) -> Option<String> {
    let owner = Owner::of(stat);
    let mode = stat.st_mode & 0o7777;
    // Others may add names to a folder that is sticky, but not replace any.
    let sticky = mode & 0o1000 != 0;
    if mode & 0o002 != 0 && !sticky {
        return Some(format!("mode {mode:04o} allows every user to write"));
    }
    // Root's group has root's rights on most systems.
    let group = mode & 0o020 != 0 && !sticky && owner.gid != 0 && !own_group(owner.gid);
    let service = user.uid == 0 && innermost;
    if group && !service {
        return Some(format!("mode {mode:04o} allows the group of {owner} to write"));
    }
    if innermost && owner.uid != user.uid && owner.uid != 0 && user.uid != 0 {
        return Some(format!("it belongs to {owner}"));
    }
    None
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:,@%=".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_a_shell() {
        for (path, text) in [
            ("/srv/content", "/srv/content"),
            ("/srv/a b", "'/srv/a b'"),
            ("/srv/$(x)", "'/srv/$(x)'"),
            ("/srv/it's", r"'/srv/it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(Path::new(path)), text);
        }
    }

    #[test]
    fn the_command_names_user_group_and_folder() {
        let [root, service] = [0, 4_000_000_001].map(|id| Owner { uid: id, gid: id });
        let denied = |owner, user| Denied {
            path: "/srv/c/aa/file".into(),
            owner,
            user,
            mode: 0o600,
            folder: "/srv/c".into(),
        };
        let text = denied(service, Owner { uid: 4_000_000_002, gid: 4_000_000_003 }).to_string();
        assert_eq!(
            text,
            "/srv/c/aa/file belongs to 4000000001:4000000001 (mode 0600), and this process runs as \
             4000000002:4000000003; to fix it, run as root: chown -R 4000000002:4000000003 /srv/c"
        );
        assert!(denied(root, service).to_string().starts_with("/srv/c/aa/file belongs to root:"));
        assert!(denied(service, service).to_string().ends_with("chmod -R u+rwX /srv/c"));
    }

    #[test]
    fn folders_of_which_others_are_masters_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut stat = rustix::fs::stat(folder.path()).unwrap();
        let mut found = |uid, gid, mode: u32, innermost, user: u32| {
            (stat.st_uid, stat.st_gid, stat.st_mode) = (uid, gid, 0o040_000 | mode);
            writers(&stat, innermost, Owner { uid: user, gid: user }, |gid| gid == user).is_some()
        };
        for (uid, gid, mode, innermost, user, warned) in [
            (5, 5, 0o700_u32, true, 5, false),
            (5, 5, 0o770, true, 5, false),
            (5, 6, 0o750, true, 5, false),
            (5, 6, 0o770, true, 5, true),
            (5, 6, 0o2770, true, 5, true),
            (5, 0, 0o770, true, 5, false),
            (5, 5, 0o777, true, 5, true),
            (5, 5, 0o1777, true, 5, false),
            (6, 5, 0o770, true, 5, true),
            (0, 0, 0o755, true, 5, false),
            // Root works in the folder of the service.
            (5, 5, 0o770, true, 0, false),
            (5, 5, 0o777, true, 0, true),
            // Folders above.
            (0, 0, 0o1777, false, 5, false),
            (0, 0, 0o777, false, 5, true),
            (6, 6, 0o755, false, 5, false),
            (0, 6, 0o775, false, 5, true),
        ] {
            let case = format!("{uid}:{gid} {mode:o} {innermost} seen by {user}");
            assert_eq!(found(uid, gid, mode, innermost, user), warned, "{case}");
        }
    }
}
