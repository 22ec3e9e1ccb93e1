//! Cases that every content store passes.
