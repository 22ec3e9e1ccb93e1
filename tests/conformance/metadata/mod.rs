//! Cases that every metadata store passes.
