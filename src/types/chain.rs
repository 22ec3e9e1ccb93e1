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
    fn sources_follow_and_nothing_is_said_twice() {
        let layer = |text, source: Option<Layer>| Layer { text, source: source.map(Box::new) };
        let bottom = layer("why", None);
        let repeats = layer("it failed: why", Some(bottom));
        let error = layer("on top", Some(repeats));
        assert_eq!(Chain(&error).to_string(), "on top: it failed: why");
        assert_eq!(Chain(&layer("alone", None)).to_string(), "alone");
    }
}
