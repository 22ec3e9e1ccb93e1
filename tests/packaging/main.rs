//! What the program is delivered in: packages, the unit of systemd, the image, the Compose file,
//! manifests of Kubernetes.
//!
//! What needs systemd-analyze, Docker Compose, kustomize or promtool is ignored elsewhere; tests/run.sh runs
//! it where they are.

#[cfg(test)]
mod compose;
#[cfg(test)]
mod files;
#[cfg(test)]
mod image;
#[cfg(test)]
mod kubernetes;
#[cfg(test)]
mod monitoring;
#[cfg(test)]
mod unit;
