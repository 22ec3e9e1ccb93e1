//! What is logged of a call that failed: once, with what an operator needs to find it.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;
use trunkfs::content::MemoryContent;

use super::fixture::{Server, created, of};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_failure_below_is_logged_once_and_a_refusal_is_not() {
    let server = Server::with(MemoryContent::with_limit(1)).await;
    let make = of(&server.root).opaque(b"f").words(&[1]).mode(0o644);
    let (file, ..) = created(server.results(8, make).await);
    let lines = Lines::default();
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false);
    let _guard = tracing::subscriber::set_default(log.with_writer(lines.clone()).finish());

    assert_eq!(server.results(3, of(&server.root).opaque(b"g")).await.u32().unwrap(), 2);
    assert_eq!(lines.text(), "");

    let data = vec![7; 1 << 20];
    let write = of(&file).words(&[0, 0, 1 << 20, 0]).opaque(&data);
    assert_eq!(server.results(7, write).await.u32().unwrap(), 28);
    let text = lines.text();
    assert_eq!(text.lines().count(), 1, "{text}");
    for part in ["xid=7", "client=127.0.0.1:50000", "WRITE", "/t", "no space left"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
