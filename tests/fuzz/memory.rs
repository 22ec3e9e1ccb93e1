//! How much memory this process has taken (proc(5)).

use std::fs;

/// From this moment on.
pub(crate) struct Memory {
    before: usize,
}

fn status(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

impl Memory {
    pub(crate) fn measure() -> Self {
        // The peak is the present size again.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        Self { before: status("VmRSS:") }
    }

    /// The most bytes that were taken beyond those of the start.
    pub(crate) fn peak(&self) -> usize {
        status("VmHWM:").saturating_sub(self.before)
    }
}
