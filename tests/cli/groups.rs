//! `groups: server`: a user is in the groups that the server's machine knows. The machine's are those of
//! files that a mount namespace of the server's own has in place of /etc/passwd and /etc/group.

use std::path::Path;

use tokio::process::Command;

use super::client::{Auth, Call, Connection, Writer};
use super::process::{Running, folder, trunkfs};
use super::scene::{ok, root};

const NFS: u32 = 100_003;
const UID: u32 = 4_000_111;
/// Of the user's forty groups.
const FIRST_GROUP: u32 = 4_000_200;
const LAST_GROUP: u32 = 4_000_239;
const OTHER_GROUP: u32 = 4_000_300;

/// The server with a machine of its own that knows one user.
fn server(folder: &Path) -> Command {
    let passwd = format!("root:x:0:0::/:/bin/sh\nmaria:x:{UID}:{UID}::/:/bin/sh\n");
    let groups = (FIRST_GROUP..=LAST_GROUP).map(|gid| format!("g{gid}:x:{gid}:maria\n"));
    let groups = format!("root:x:0:\n{}other:x:{OTHER_GROUP}:root\n", groups.collect::<String>());
    std::fs::write(folder.join("passwd"), passwd).unwrap();
    std::fs::write(folder.join("group"), groups).unwrap();
    let serve = trunkfs(folder, &["serve", "--config", "t.yaml"]);
    let serve = serve.as_std();
    let script = "mount --bind passwd /etc/passwd && mount --bind group /etc/group && exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .current_dir(folder)
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(serve.get_program())
        .args(serve.get_args())
        .envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .kill_on_drop(true);
    command
}

fn configuration(groups: &str) -> String {
    format!(
        "server: {{ listen: '127.0.0.1:0' }}
metadata: {{ stores: {{ m: {{ type: memory }} }} }}
content: {{ stores: {{ c: {{ type: memory }} }} }}
shares:
  - name: /e
    metadata_store: m
    content_store: c
    groups: {groups}
    clients: [ {{ network: 127.0.0.0/8, squash: no_root_squash }} ]"
    )
}

/// MKDIR of a directory with mode 0770 of a group: its handle.
async fn shared(connection: &mut Connection, root: &[u8], gid: u32) -> Vec<u8> {
    let arguments = Writer::new().opaque(root).opaque(format!("of {gid}").as_bytes());
    // sattr3: mode and gid.
    let arguments = arguments.u32(1).u32(0o770).u32(0).u32(1).u32(gid).u32(0).u32(0).u32(0);
    let mut made = ok(connection, 9, arguments).await;
    assert!(made.boolean(), "a handle follows");
    made.opaque()
}

/// MKDIR in a directory by a user with groups: nfsstat3.
async fn mkdir(connection: &mut Connection, uid: u32, gids: &[u32], directory: &[u8]) -> u32 {
    let name = format!("{uid} {}", gids.len());
    let arguments = Writer::new().opaque(directory).opaque(name.as_bytes());
    let arguments = arguments.u32(1).u32(0o755).u32(0).u32(0).u32(0).u32(0).u32(0);
    let credentials = Auth::sys_with(b"test", uid, uid, gids);
    let call = Call::new(NFS, 3, 9).credentials(credentials).arguments(arguments);
    connection.call(call).await.results().u32()
}

#[tokio::test]
#[ignore = "needs root with mount namespaces: sudo tests/run.sh --test cli -- groups::"]
async fn a_user_is_in_every_group_that_the_machine_knows() {
    const OK: u32 = 0;
    const ACCES: u32 = 13;
    for (source, by_machine, by_client) in [("server", OK, ACCES), ("client", ACCES, OK)] {
        let folder = folder(&configuration(source));
        let server = Running::spawn(server(folder.path()), 1).await;
        let mut connection = Connection::open(server.address).await;
        let root = root(&mut connection).await;
        let last = shared(&mut connection, &root, LAST_GROUP).await;
        let other = shared(&mut connection, &root, OTHER_GROUP).await;
        assert_eq!(mkdir(&mut connection, UID, &[], &last).await, by_machine, "{source}");
        // What the client says counts only there.
        assert_eq!(
            mkdir(&mut connection, UID, &[OTHER_GROUP], &other).await,
            by_client,
            "{source}"
        );
        assert_eq!(
            mkdir(&mut connection, UID + 1, &[LAST_GROUP], &last).await,
            by_client,
            "{source}"
        );
        assert_eq!(mkdir(&mut connection, UID + 1, &[], &last).await, ACCES, "{source}");
        server.stop().await;
    }
}
