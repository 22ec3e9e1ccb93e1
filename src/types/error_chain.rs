//! Errors as the log and the command line show them.

use std::error::Error;
use std::fmt;

/// Shows an error and its sources on one line: `what failed: why: and why that`.
#[derive(Clone, Copy)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            let part = error.to_string();
            // Some libraries repeat the source's words in their own.
            if !last.ends_with(&part) {
                write!(f, ": {part}")?;
            }
            last = part;
            source = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The longest text of an error that a client can cause, in bytes.
const LONGEST: usize = 2048;

/// The same for an error that a client can cause: one line of bounded length, since a message of a database
/// has several lines and may quote any amount of what a client sent.
#[derive(Clone, Copy)]
pub struct BoundedChain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for BoundedChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Chain(self.0).to_string();
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let line = lines.join("; ");
        let shown = &line[..line.floor_char_boundary(LONGEST)];
        f.write_str(shown)?;
        if shown.len() < line.len() { f.write_str("…") } else { Ok(()) }
    }
}

impl fmt::Debug for BoundedChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn an_error_that_a_client_causes_is_one_bounded_line() {
        let text = "ERROR: double\nDETAIL: Key (name)=(\\x61) exists.\n";
        let top = Layer { text: "failed", source: Some(Box::new(Layer { text, source: None })) };
        let shown = BoundedChain(&top).to_string();
        assert_eq!(shown, r"failed: ERROR: double; DETAIL: Key (name)=(\x61) exists.");
        let long = Layer { text: Box::leak("ä".repeat(5_000).into_boxed_str()), source: None };
        assert_eq!(BoundedChain(&long).to_string(), format!("{}…", "ä".repeat(LONGEST / 2)));
    }

    #[test]
    fn sources_follow_and_nothing_is_said_twice() {
        let layer = |text, source: Option<Layer>| Layer { text, source: source.map(Box::new) };
        let bottom = layer("why", None);
        let repeats = layer("it failed: why", Some(bottom));
        let error = layer("on top", Some(repeats));
        assert_eq!(Chain(&error).to_string(), "on top: it failed: why");
        assert_eq!(Chain(&layer("alone", None)).to_string(), "alone");
    }
}
