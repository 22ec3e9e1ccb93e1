//! `trunkfs status`, as health checks use it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::port::Reserved;
use super::process::{Running, folder, run, trunkfs};

#[tokio::test]
async fn a_server_that_serves_is_up() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody else is there when the server has gone.
    let reserved = Reserved::new();
    let address = reserved.address().to_string();
    let server = Running::start(folder.path(), &["--listen", &address], 1).await;
    let asked = run(trunkfs(folder.path(), &["status", &address, "--timeout", "2m"])).await;
    assert_eq!(asked.status, Some(0), "{asked:?}");
    for program in ["NFS version 3 answers (", "MOUNT version 3 answers ("] {
        assert!(asked.out.contains(&format!("{address}: {program}")), "{asked:?}");
    }
    server.stop().await;
    let asked = run(trunkfs(folder.path(), &["status", &address, "--timeout", "2m"])).await;
    asked.failed_with(1, &[&address, "cannot connect: Connection refused"]);
}

#[tokio::test]
async fn the_configuration_says_whom_to_ask() {
    let closed = Reserved::new();
    let port = closed.port;
    let folder = folder(&format!(
        "
server: {{ listen: '0.0.0.0:{port}' }}
admin: {{ listen: off }}
metadata: {{ stores: {{ m: {{ type: memory }} }} }}
content: {{ stores: {{ c: {{ type: memory }} }} }}
shares:
  - {{ name: /e, metadata_store: m, content_store: c, clients: [ {{ network: 127.0.0.0/8 }} ] }}
"
    ));
    let asked = run(trunkfs(folder.path(), &["status", "--config", "t.yaml"])).await;
    asked.failed_with(1, &[&format!("127.0.0.1:{port}: NFS version 3: cannot connect")]);
    let asked = run(trunkfs(folder.path(), &["status", "0.0.0.0:0"])).await;
    asked.failed_with(1, &["port 0", "127.0.0.1:12080"]);
    let asked = run(trunkfs(folder.path(), &["status", "nowhere"])).await;
    asked.failed_with(2, &["\"nowhere\" is not an address", "HOST:PORT"]);
    let asked = run(trunkfs(folder.path(), &["status", "--timeout", "0s"])).await;
    asked.failed_with(2, &["--timeout", "such as 5s"]);
}

#[tokio::test]
async fn what_the_command_does_not_need_of_the_configuration_is_not_read() {
    let closed = Reserved::new();
    let text = format!(
        "server: {{ request_timeout: '${{NO_SUCH}}' }}
admin: {{ listen: '127.0.0.1:{}', token_file: /there/is/none }}
metadata: {{ stores: {{ m: {{ type: postgres, postgres: {{ password_file: /there/is/none }} }} }} }}
",
        closed.port
    );
    let folder = folder(&text);
    let asked = run(trunkfs(folder.path(), &["status", "--config", "t.yaml"])).await;
    asked.failed_with(1, &[&format!("127.0.0.1:{}: cannot connect", closed.port)]);
    std::fs::write(folder.path().join("t.yaml"), text.replace("127.0.0.1", "anywhere")).unwrap();
    let asked = run(trunkfs(folder.path(), &["status", "--config", "t.yaml"])).await;
    asked.failed_with(2, &["t.yaml:2:", "admin.listen", "or off"]);
}

/// As on a small system, which has no package of certificates.
#[tokio::test]
async fn http_takes_no_certificate_authorities() {
    let closed = Reserved::new();
    let address = format!("127.0.0.1:{}", closed.port);
    let folder = folder(&format!("admin: {{ listen: '{address}' }}\n"));
    for words in [[&*address, "--timeout", "2m"], ["--config", "t.yaml", "--timeout=2m"]] {
        let mut command = trunkfs(folder.path(), &[&["status"], &words[..]].concat());
        command.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", folder.path());
        let asked = run(command).await;
        asked.failed_with(1, &[&format!("{address}: cannot connect: Connection refused")]);
    }
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for_any_longer() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let asked = run(trunkfs(folder.path(), &["status", &address, "--timeout", "200ms"])).await;
    asked.failed_with(1, &[&address, "no answer within 200ms"]);
}

#[tokio::test]
async fn another_program_is_no_server() {
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = other.accept().await.unwrap();
            if stream.read_exact(&mut [0; 44]).await.is_ok() {
                drop(stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await);
            }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let asked = run(trunkfs(folder.path(), &["status", &address, "--timeout", "2m"])).await;
    asked.failed_with(1, &[&address, "does not speak ONC RPC"]);
}
