//! A socket that takes what the program tells systemd.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};

use tempfile::TempDir;

use super::process::{PATIENCE, Running, trunkfs};

/// A socket that takes notices.
pub(crate) struct Systemd {
    pub(crate) socket: UnixDatagram,
    pub(crate) name: String,
    pub(crate) folder: TempDir,
}

impl Systemd {
    pub(crate) fn at_a_path() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self::new(socket, path.to_str().unwrap().to_owned(), folder)
    }

    pub(crate) fn at_an_abstract_name() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("{}/notify", folder.path().display());
        let address = UnixAddress::from_abstract_name(&name).unwrap();
        Self::new(UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}"), folder)
    }

    fn new(socket: UnixDatagram, name: String, folder: TempDir) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, name, folder }
    }

    /// A server without a configuration that notifies it.
    pub(crate) async fn serve(&self, environment: &[(&str, &str)]) -> Running {
        self.serve_with(&["--listen", "127.0.0.1:0"], environment).await
    }

    /// A server of one share in the folder, with further arguments.
    pub(crate) async fn serve_with(
        &self,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Running {
        let mut command = trunkfs(self.folder.path(), &[&["serve"], arguments].concat());
        command.env("NOTIFY_SOCKET", &self.name).envs(environment.iter().copied());
        Running::spawn(command, 1).await
    }

    /// The next notice's lines.
    pub(crate) fn next(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = loop {
            match self.socket.recv(&mut bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                received => break received.expect("a notice in time"),
            }
        };
        let text = std::str::from_utf8(&bytes[..length]).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The next notice that has the line, and whatever came before it.
    pub(crate) fn until(&self, line: &str) -> (Vec<String>, Vec<Vec<String>>) {
        let mut before = Vec::new();
        loop {
            let notice = self.next();
            if notice.iter().any(|each| each == line) {
                return (notice, before);
            }
            before.push(notice);
        }
    }
}

/// What `systemctl status` shows.
pub(crate) fn status(notice: &[String]) -> &str {
    notice.iter().find_map(|line| line.strip_prefix("STATUS=")).unwrap_or_default()
}
