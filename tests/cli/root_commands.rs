//! Commands that an administrator runs as root on the folders of the service's user, and that user's server
//! afterwards. Every file that root creates belongs to the owner of its folder.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

use super::files::{Files, pattern};
use super::process::{ADMIN, Finished, Running, Watched, run, trunkfs};
use super::s3::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};

/// The service's user and group. No machine has them.
const USER: u32 = 4_012_345;
const GROUP: u32 = 4_054_321;

/// The service's folder, owned by its user, in a folder that all may enter.
struct Machine {
    top: TempDir,
}

impl Machine {
    /// With a configuration that serves `/e` from the content store `disk`; the shares' section has `more`.
    fn new(content: &str) -> Self {
        let machine = Self { top: tempfile::tempdir().unwrap() };
        fs::set_permissions(machine.top.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // The program where the service's user may run it. Copied by another process: a child of another test
        // would inherit the descriptor that writes it, and it could not be run.
        let mut copy = std::process::Command::new("cp");
        copy.arg(env!("CARGO_BIN_EXE_trunkfs")).arg(machine.program());
        assert!(copy.status().unwrap().success());
        fs::create_dir(machine.at("")).unwrap();
        machine.configure("disk", content);
        machine.give(Path::new(""));
        machine
    }

    fn program(&self) -> PathBuf {
        self.top.path().join("trunkfs")
    }

    fn at(&self, name: &str) -> PathBuf {
        let folder = self.top.path().join("service");
        if name.is_empty() { folder } else { folder.join(name) }
    }

    fn give(&self, below: &Path) {
        chown(self.at("").join(below), Some(USER), Some(GROUP)).unwrap();
    }

    fn configure(&self, store: &str, content: &str) {
        let text = format!(
            "server: {{ listen: '127.0.0.1:0' }}
metadata:
  stores:
    db: {{ type: sqlite, sqlite: {{ path: db/names.sqlite }} }}
    other: {{ type: sqlite, sqlite: {{ path: other/names.sqlite }} }}
content:
  stores:
    disk: {{ type: filesystem, filesystem: {{ base_path: content }} }}
    copy: {{ type: filesystem, filesystem: {{ base_path: copy }} }}
{content}
shares:
  - name: /e
    metadata_store: db
    content_store: {store}
    root: {{ mode: '0777' }}
    clients: [ {{ network: 127.0.0.0/8, squash: no_root_squash }} ]
"
        );
        fs::write(self.at("t.yaml"), text).unwrap();
        self.give(Path::new("t.yaml"));
    }

    async fn serve_as_root(&self) -> (Running, Files) {
        let server = Running::start(&self.at(""), &["--config", "t.yaml"], 1).await;
        let files = Files::open(server.address).await;
        (server, files)
    }

    /// The program, run by the service's user.
    fn service(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        command
            .current_dir(self.at(""))
            .args(arguments)
            .args(["--config", "t.yaml"])
            .env_clear()
            .env(ADMIN, "off")
            .uid(USER)
            .gid(GROUP)
            .kill_on_drop(true);
        command
    }

    async fn serve(&self) -> Running {
        Running::spawn(self.service(&["serve"]), 1).await
    }

    /// A command of root that goes well; every file belongs to the service's user afterwards.
    #[track_caller]
    fn as_root(&self, arguments: &[&str]) -> impl Future<Output = Finished> {
        let mut command = trunkfs(&self.at(""), arguments);
        command.args(["--config", "t.yaml"]);
        let (folder, named) = (self.at(""), format!("{arguments:?}"));
        async move {
            let finished = run(command).await;
            assert_eq!(finished.status, Some(0), "{named}: {finished:?}");
            assert_owned(&folder, &named);
            finished
        }
    }

    /// The service's start fails; what it said.
    async fn refused(&self, words: &[&str]) -> String {
        let finished = run(self.service(&["serve"])).await;
        finished.failed_with(1, words);
        finished.err
    }

    /// The command that a message names.
    fn mend(&self, said: &str) {
        let command = said.lines().find_map(|line| line.split_once("run as root: "));
        let command = command.unwrap_or_else(|| panic!("no command in {said}")).1;
        let folder = self.at("");
        let mut shell = std::process::Command::new("sh");
        assert!(
            shell.args(["-c", command]).current_dir("/").status().unwrap().success(),
            "{command}"
        );
        assert!(command.contains(&*folder.to_string_lossy()), "{command}");
    }
}

/// Every file and folder of a tree.
fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_path_buf()];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(all(&path)),
            false => found.push(path),
        }
    }
    found
}

fn assert_owned(folder: &Path, after: &str) {
    for path in all(folder) {
        let Ok(file) = fs::symlink_metadata(&path) else { continue };
        let owner = (file.uid(), file.gid());
        assert_eq!(owner, (USER, GROUP), "{} after {after}", path.display());
    }
}

/// As messages name a path: below the folder that the program runs in.
fn shown(path: &Path) -> String {
    let path = path.to_string_lossy();
    path.rsplit_once("/service/").unwrap().1.to_owned()
}

fn contents(folder: &Path) -> Vec<PathBuf> {
    let name = |path: &PathBuf| path.file_name().unwrap().len() == 36;
    all(folder).into_iter().filter(name).collect()
}

async fn furnish(files: &mut Files) {
    for number in 0..8 {
        files.make(&format!("file-{number}"), &pattern(number, 1 + number as usize * 700)).await;
    }
    files.make("large", &pattern(99, 600_001)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root: sudo tests/run.sh --test cli root_commands::"]
async fn what_root_creates_belongs_to_the_owner_of_its_folder() {
    let machine = Machine::new("");
    machine.as_root(&["check-config", "--connect"]).await;
    for store in ["db", "other"] {
        machine.as_root(&["migrate", "up", "--store", store]).await;
    }
    // A server that root started by hand.
    let (server, mut files) = machine.serve_as_root().await;
    furnish(&mut files).await;
    assert_owned(&machine.at(""), "serve, while it runs");
    // Beside it, and behind its end.
    machine.as_root(&["gc", "--older-than", "0s"]).await;
    machine.as_root(&["fsck"]).await;
    machine.as_root(&["backup", "backup"]).await;
    server.stop().await;
    assert_owned(&machine.at(""), "serve");
    machine.as_root(&["check-config", "--connect"]).await;
    machine.as_root(&["migrate", "up", "--store", "db"]).await;
    machine.as_root(&["migrate", "status", "--store", "db"]).await;
    machine.as_root(&["fsck", "--repair"]).await;
    machine.as_root(&["gc", "--older-than", "0s"]).await;
    machine.as_root(&["content", "copy", "--from", "disk", "--to", "copy", "--verify"]).await;
    machine.as_root(&["dump", "--store", "db", "db.dump"]).await;
    machine.as_root(&["load", "--store", "other", "db.dump"]).await;
    machine.as_root(&["load", "--store", "db", "--replace", "db.dump"]).await;
    machine.as_root(&["backup", "--base", "backup", "second"]).await;
    machine.as_root(&["backup", "--metadata-only", "names"]).await;
    fs::remove_dir_all(machine.at("db")).unwrap();
    fs::remove_dir_all(machine.at("content")).unwrap();
    machine.as_root(&["restore", "second"]).await;

    let server = machine.serve().await;
    let mut files = files.go_on(server.address).await;
    files.all_there().await;
    files.make("more", &pattern(7, 70_000)).await;
    files.write("large", 5, b"changed").await;
    files.all_there().await;
    let collected = run(machine.service(&["gc", "--older-than", "0s"])).await;
    assert_eq!(collected.status, Some(0), "{collected:?}");
    server.stop().await;
    let checked = run(machine.service(&["fsck", "--repair"])).await;
    assert_eq!(checked.status, Some(0), "{checked:?}");
    for path in all(&machine.at("")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".lock") || name.ends_with(".load") {
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root: sudo tests/run.sh --test cli root_commands::"]
async fn cached_chunks_belong_to_the_owner_of_their_folder() {
    let s3 = S3Server::start().await;
    let bucket = format!(
        "    bucket: {{ type: s3, s3: {{ bucket: {BUCKET}, endpoint: \"{}\", path_style: true, allow_http: true, \
         access_key: {ACCESS_KEY}, secret_key: {SECRET_KEY}, chunk_size: 64KiB, cache: 64KiB, cache_folder: cache/chunks, \
         cache_folder_size: 64MiB }} }}",
        s3.endpoint()
    );
    let machine = Machine::new(&bucket);
    machine.configure("bucket", &bucket);
    let (server, mut files) = machine.serve_as_root().await;
    furnish(&mut files).await;
    files.all_there().await;
    let cached = || all(&machine.at("cache")).iter().any(|path| path.extension().is_some());
    super::process::patiently(async {
        while !cached() {
            files.all_there().await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    // A file that is just being made is root's for a moment.
    server.stop().await;
    assert!(cached(), "the next start, and not the end, empties the folder");
    assert_owned(&machine.at("cache"), "serve with a folder of cached chunks");
    let server = machine.serve().await;
    let mut files = files.go_on(server.address).await;
    files.all_there().await;
    server.stop().await;
}

/// Files that root's commands of an earlier version left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root: sudo tests/run.sh --test cli root_commands::"]
async fn a_start_names_the_file_that_it_may_not_open_and_the_command_that_mends_it() {
    let machine = Machine::new("");
    let server = machine.serve().await;
    let mut files = Files::open(server.address).await;
    furnish(&mut files).await;
    server.stop().await;
    let own = format!("this process runs as {USER}:{GROUP}");
    let chown_of =
        |folder: &str| format!("chown -R {USER}:{GROUP} {}", machine.at(folder).display());

    let content = contents(&machine.at("content"));
    let part = content[0].parent().unwrap().to_path_buf();
    let whole = machine.at("content");
    let marker = whole.join(".trunkfs-content");
    for path in [&content[0], &part, &whole, &marker] {
        let mode = fs::metadata(path).unwrap().mode() & 0o777;
        chown(path, Some(0), Some(0)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700)).unwrap();
        let words = [&*shown(path), "belongs to root:root", &own, &chown_of("content")];
        let checked = run(machine.service(&["check-config", "--connect"])).await;
        assert_eq!(checked.status, Some(1), "{checked:?}");
        assert!(checked.err.contains(words[3]), "{checked:?}");
        let said = machine.refused(&words).await;
        machine.mend(&said);
    }
    for suffix in ["", "-wal", "-shm", ".lock", ".load"] {
        let name = format!("db/names.sqlite{suffix}");
        let path = machine.at(&name);
        if !path.exists() {
            fs::write(&path, "").unwrap();
        }
        chown(&path, Some(0), Some(0)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let words = [&*name, "belongs to root:root (mode 0600)", &own, &chown_of("db")];
        let said = machine.refused(&words).await;
        machine.mend(&said);
    }
    // A folder of the service with a mode that keeps it out.
    fs::set_permissions(&part, fs::Permissions::from_mode(0o500)).unwrap();
    let words = ["chmod -R u+rwX", &*whole.to_string_lossy()];
    machine.refused(&words).await;
    fs::set_permissions(&part, fs::Permissions::from_mode(0o700)).unwrap();

    let server = machine.serve().await;
    files.go_on(server.address).await.all_there().await;
    server.stop().await;
}

/// A file that root's command changes under a server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root: sudo tests/run.sh --test cli root_commands::"]
async fn a_file_of_another_owner_is_logged_with_its_remedy() {
    let machine = Machine::new("");
    let server = machine.serve().await;
    let mut files = Files::open(server.address).await;
    files.make("file", b"bytes").await;
    server.stop().await;
    // A first file of every folder is opened at the start, so this one comes after it.
    let mut server = Watched::start(machine.service(&["serve"]));
    let mut files = files.go_on(server.ready().await).await;
    let content = contents(&machine.at("content")).remove(0);
    chown(&content, Some(0), Some(0)).unwrap();
    let (status, _) = files.read("file", 0).await;
    assert_eq!(status, 5, "NFS3ERR_IO");
    let command = format!("chown -R {USER}:{GROUP} {}", machine.at("content").display());
    server.line_with(&[&*shown(&content), "belongs to root:", &command]).await;
    chown(&content, Some(USER), Some(GROUP)).unwrap();
    files.all_there().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root: sudo tests/run.sh --test cli root_commands::"]
async fn folders_that_others_may_write_to_are_warned_of() {
    let machine = Machine::new("");
    machine.serve().await.stop().await;
    for (name, mode, words) in [
        ("content", 0o777, "allows every user to write"),
        ("db", 0o777, "allows every user to write"),
        ("", 0o775, "allows the group of"),
    ] {
        let path = machine.at(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(USER), Some(GROUP + 1)).unwrap();
        let finished = machine.serve().await.stop().await;
        let path = format!("{}: mode", path.display());
        assert!(finished.err.contains(&path) && finished.err.contains(words), "{finished:?}");
        fs::set_permissions(machine.at(name), fs::Permissions::from_mode(0o700)).unwrap();
    }
    let finished = machine.serve().await.stop().await;
    assert!(!finished.err.contains("may write to"), "{finished:?}");
}
