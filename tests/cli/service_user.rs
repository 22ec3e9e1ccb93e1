//! The server of packaging/'s unit as systemd runs it, and maintenance commands beside it: one user without
//! privileges, credentials in a folder, the unit's folders, and everything else read-only.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

use super::backup::went_well;
use super::client::Connection;
use super::database::TestDatabase;
use super::process::{ADMIN, Running, run};
use super::scene::root;
use super::tree::{create, furnish, remove};

const SERVER: &str = include_str!("../../packaging/trunkfs.service");
const JOBS: [&str; 3] = [
    "/usr/bin/trunkfs gc --config /etc/trunkfs/config.yaml",
    "/usr/bin/trunkfs fsck --config /etc/trunkfs/config.yaml",
    "/usr/bin/trunkfs backup --keep-last 9 --config /etc/trunkfs/config.yaml --into \
     /var/lib/trunkfs-backup",
];

/// The service's user and group: nobody's on the machine.
const USER: u32 = 61_049;
/// With bind mounts: the program where the user can run it, the folders of the unit writable, and the rest
/// not.
const SANDBOX: &str = r#"
set -e
root=$1; shift
mount --bind "$1" "$root/bin/trunkfs"; shift
user=$1; shift
for folder in trunkfs trunkfs-backup; do mount --bind "$root/lib/$folder" "$root/lib/$folder"; done
mount -o remount,bind,ro /
# The working directory is the mounted folder, not the one below it.
cd "$PWD"
exec setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all -- "$@"
"#;

fn value<'a>(unit: &'a str, key: &str) -> &'a str {
    let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {key}"))
}

/// A machine on which the units are installed.
struct Installed {
    folder: TempDir,
}

impl Installed {
    fn with(metadata: &str) -> Self {
        let installed = Self { folder: tempfile::tempdir().unwrap() };
        let root = installed.folder.path();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        mode(root, 0o755).unwrap();
        for folder in ["bin", "etc", "lib", "credentials"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        fs::write(root.join("bin/trunkfs"), "").unwrap();
        let state = value(SERVER, "StateDirectory").split(' ').map(|it| root.join("lib").join(it));
        let credential = root.join("credentials/postgres");
        fs::write(&credential, "secret\n").unwrap();
        mode(&credential, 0o400).unwrap();
        chown(&credential, Some(USER), Some(USER)).unwrap();
        for folder in state {
            fs::create_dir(&folder).unwrap();
            mode(&folder, 0o700).unwrap();
            chown(&folder, Some(USER), Some(USER)).unwrap();
        }
        let config = format!(
            "server: {{ listen: '127.0.0.1:0' }}\nmetadata: {{ stores: {{ db: {{ {metadata} }} }} }}\n\
             content: {{ stores: {{ disk: {{ type: filesystem, filesystem: {{ base_path: {} }} }} }} }}\n\
             shares: [ {{ name: /e, metadata_store: db, content_store: disk, \
             clients: [ {{ network: 127.0.0.0/8, squash: no_root_squash }} ] }} ]\n",
            root.join("lib/trunkfs/content").display()
        );
        fs::write(root.join("etc/config.yaml"), config).unwrap();
        installed
    }

    /// A command of the unit's user. Its paths are below the folder.
    fn command(&self, start: &str) -> Command {
        let root = self.folder.path().to_str().unwrap();
        let start = start
            .replace("/usr/bin/", &format!("{root}/bin/"))
            .replace("/etc/trunkfs/", &format!("{root}/etc/"))
            .replace("/var/lib/", &format!("{root}/lib/"));
        let folder =
            value(SERVER, "WorkingDirectory").replace("/var/lib/", &format!("{root}/lib/"));
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", SANDBOX, "sandbox"])
            .args([root, env!("CARGO_BIN_EXE_trunkfs"), &USER.to_string()])
            .args(start.split(' '))
            .current_dir(folder)
            .env_clear()
            .env(
                "PATH",
                format!("{root}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            )
            .env(ADMIN, "off")
            .env("CREDENTIALS_DIRECTORY", self.folder.path().join("credentials"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Every file below a folder of the state.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![
            self.folder.path().join("lib/trunkfs"),
            self.folder.path().join("lib/trunkfs-backup"),
        ];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                }
                files.push(entry.path());
            }
        }
        files
    }

    /// The server and each maintenance command, together and alone.
    async fn works(&self) {
        for round in 1..=2 {
            let server = Running::spawn(self.command(value(SERVER, "ExecStart")), 1).await;
            let mut connection = Connection::open(server.address).await;
            let top = root(&mut connection).await;
            if round == 1 {
                furnish(&mut connection).await;
            }
            create(&mut connection, &top, "passing").await;
            remove(&mut connection, &top, "passing").await;
            self.maintained(2 * round - 1).await;
            server.stop().await;
            self.maintained(2 * round).await;
        }
        self.is_the_users();
    }

    fn is_the_users(&self) {
        for file in self.files() {
            assert_eq!(fs::symlink_metadata(&file).unwrap().uid(), USER, "{}", file.display());
        }
    }

    async fn maintained(&self, backups: usize) {
        for job in JOBS {
            went_well(&run(self.command(job)).await);
        }
        let complete = self.files().into_iter().filter(|file| file.ends_with("backup.json"));
        assert_eq!(complete.count(), backups);
    }
}

#[tokio::test]
#[ignore = "needs root and mount namespaces: tests/run.sh runs it where they are"]
async fn server_and_maintenance_work_on_a_database_with_a_credential() {
    let database = TestDatabase::create().await;
    let target = database.settings().target;
    let (host, port) = (&target.hosts[0].name, target.hosts[0].port);
    let (name, user) = (target.database, target.user);
    let installed = Installed::with(&format!(
        "type: postgres, postgres: {{ host: {host:?}, port: {port}, database: {name:?}, user: {user:?}, \
         password_credential: postgres, auto_migrate: true }}"
    ));
    installed.works().await;
    for start in [value(SERVER, "ExecStart")].into_iter().chain(JOBS) {
        let mut command = installed.command(start);
        command.env_remove("CREDENTIALS_DIRECTORY");
        let refused = run(command).await;
        assert!(refused.status.is_some_and(|status| status != 0), "{refused:?}");
        assert!(refused.err.contains("password_credential"), "{refused:?}");
    }
}

#[tokio::test]
#[ignore = "needs root and mount namespaces: tests/run.sh runs it where they are"]
async fn server_and_maintenance_work_on_sqlite() {
    let installed = Installed::with("type: sqlite, sqlite: { path: metadata.sqlite }");
    installed.works().await;
    // Root runs a maintenance command by hand, a failing one too, and the service goes on.
    let root = installed.folder.path();
    for (more, status) in [(&["--share", "/none"][..], 1), (&[], 0)] {
        let mut by_root = Command::new(env!("CARGO_BIN_EXE_trunkfs"));
        by_root
            .args(["backup", "--keep-last", "9", "--config"])
            .arg(root.join("etc/config.yaml"))
            .arg("--into")
            .arg(root.join("lib/trunkfs-backup"))
            .args(more)
            .current_dir(root.join("lib/trunkfs"))
            .env_remove("TRUNKFS_CONFIG")
            .stdin(Stdio::null());
        let finished = run(by_root).await;
        assert_eq!(finished.status, Some(status), "{finished:?}");
    }
    installed.maintained(6).await;
    installed.is_the_users();
    let metadata = installed.folder.path().join("lib/trunkfs/metadata.sqlite");
    assert!(metadata.exists(), "a relative path is one of the unit's working directory");
}
