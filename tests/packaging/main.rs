//! What the program is delivered in: the unit of systemd, the image, the Compose file.
//!
//! What needs systemd-analyze, Docker Compose or promtool is ignored elsewhere; tests/run.sh runs it where
//! they are.

#[cfg(test)]
mod compose;
#[cfg(test)]
mod image;
#[cfg(test)]
mod monitoring;
#[cfg(test)]
mod unit;
