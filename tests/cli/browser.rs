//! The status page in a browser: what it shows, at three widths, with scripts and without, in light and dark.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::task::JoinHandle;

use super::admin::{Served, get};
use super::client::{Call, Connection};
use super::process::{PATIENCE, patiently};
use super::scene::{NFS, of, root};

/// Chromium, by the names that it goes by.
fn chromium() -> PathBuf {
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .filter(|program| program.is_file());
    found
        .next()
        .expect("Chromium is installed: tests/run.sh installs it, or leaves this out by name")
}

/// What the browser prints.
async fn browse(arguments: &[&str]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(chromium());
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let output = patiently(command.output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A server that a client uses, as its page shows it, for as long as the task goes on.
async fn used() -> (Served, JoinHandle<()>) {
    let served = Served::with("", "type: memory").await;
    let mut connection = Connection::open(served.server.address).await;
    let top = root(&mut connection).await;
    let client = tokio::spawn(async move {
        loop {
            connection.call(Call::new(NFS, 3, 1).arguments(of(&top))).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let until = Instant::now() + PATIENCE;
    loop {
        let (status, page) = get(served.admin, "/").await;
        let has_rates = page.contains("<polyline") && page.contains("<td>/e</td><td class=\"n\">");
        if status == 200 && has_rates {
            return (served, client);
        }
        assert!(Instant::now() < until, "{page}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
#[ignore = "needs Chromium: tests/run.sh installs it, or names this test"]
async fn the_page_is_whole_in_a_browser() {
    let (served, client) = used().await;
    let url = format!("http://localhost:{}/", served.admin.port());
    // The page's script has run once when the time that the browser pretends is over.
    let shown = browse(&["--dump-dom", "--virtual-time-budget=12000", &url]).await;
    for part in [
        "id=\"state\" class=\"good\">ready<",
        "metadata.stores.names",
        "<td>/e</td>",
        "<td>127.0.0.1</td>",
        "<polyline",
    ] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    assert!(shown.contains("data-refreshed=\"yes\""), "its policy allows its own script: {shown}");
    // Kept where a person looks at it.
    let folder = std::env::var_os("TRUNKFS_TEST_SCREENSHOTS").map(PathBuf::from);
    let own = tempfile::tempdir().unwrap();
    let folder = folder.unwrap_or_else(|| own.path().to_owned());
    for (width, scheme) in [(390, "light"), (820, "dark"), (1400, "light"), (1400, "dark")] {
        let file = folder.join(format!("page-{width}-{scheme}.png"));
        let shot = format!("--screenshot={}", file.display());
        let size = format!("--window-size={width},1800");
        let mut arguments = vec![shot.as_str(), &size, &url];
        if scheme == "dark" {
            arguments.insert(0, "--blink-settings=preferredColorScheme=0");
        }
        browse(&arguments).await;
        let bytes = std::fs::read(&file).unwrap();
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 10_000, "{} bytes", bytes.len());
    }
    client.abort();
    served.server.stop().await;
}
