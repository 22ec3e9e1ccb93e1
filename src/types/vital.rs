//! Threads and tasks of stores without which the process cannot serve: their panic ends it.

use std::sync::OnceLock;

use tokio_util::sync::CancellationToken;

/// The first one that panicked.
static FAILED: OnceLock<&'static str> = OnceLock::new();
static FIRED: std::sync::LazyLock<CancellationToken> =
    std::sync::LazyLock::new(CancellationToken::new);

/// Held by a thread or task for as long as it runs. Where it is dropped by a panic, [`Vital::failed`] is
/// reached.
#[derive(Debug)]
pub struct Vital(&'static str);

impl Vital {
    /// The thread or task of this name is vital from now on.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// Waits until a vital thread or task of this process has panicked, and gives its name.
    pub async fn failed() -> &'static str {
        FIRED.cancelled().await;
        FAILED.get().copied().unwrap_or_default()
    }
}

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            FAILED.get_or_init(|| self.0);
            FIRED.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_a_vital_thread_is_known() {
        let thread = std::thread::spawn(|| {
            drop(Vital::new("one that ends"));
            assert!(!FIRED.is_cancelled());
            let _vital = Vital::new("writer");
            panic!("as the case wants it");
        });
        assert_eq!(Vital::failed().await, "writer");
        assert!(thread.join().is_err());
    }
}
