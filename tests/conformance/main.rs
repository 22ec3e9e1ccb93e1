//! The conformance suites: one list of cases for metadata stores, one for content stores; every
//! store runs every case.

mod content;
mod metadata;
