//! What the file system store alone promises: where files lie, and how many are open.
