//! The parts of a block that are not zeros.

use std::ops::Range;

/// The parts of `bytes` that are not zeros throughout, by whole grains.
pub(super) fn runs(bytes: &[u8], grain: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (number, part) in bytes.chunks(grain).enumerate() {
        if part.iter().all(|byte| *byte == 0) {
            continue;
        }
        let start = number * grain;
        let end = start + part.len();
        match runs.last_mut() {
            Some(last) if last.end == start => last.end = end,
            Some(_) | None => runs.push(start..end),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_leave_zeros_out() {
        let mut bytes = vec![0; 50];
        let nothing: [Range<usize>; 0] = [];
        assert_eq!(runs(&bytes, 8), nothing);
        for at in [0, 9, 30, 49] {
            bytes[at] = 1;
        }
        assert_eq!(runs(&bytes, 8), [0..16, 24..32, 48..50]);
        assert!(matches!(&runs(&bytes, 64)[..], [run] if *run == (0..50)));
        assert_eq!(runs(&[], 8), nothing);
    }
}
