//! The workloads by name.

use std::fmt;

use super::call::Stability;

/// The size of a READ or WRITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// 4 KiB, a page of a client.
    Small,
    /// 1 MiB, the usual `rsize` and `wsize` over TCP.
    Large,
}

/// The order of offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One behind the other, and from the beginning again at the end of the file.
    Sequential,
    /// Any block of the file.
    Random,
}

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// NULL.
    Null,
    /// GETATTR of files.
    Getattr,
    /// LOOKUP of files.
    Lookup,
    /// LOOKUP of names that no file has.
    LookupAbsent,
    /// ACCESS of files.
    Access,
    /// READLINK.
    Readlink,
    /// READDIR, about 1,000 entries a page.
    Readdir,
    /// READDIRPLUS, about 1,000 entries a page.
    Readdirplus,
    /// FSSTAT.
    Fsstat,
    /// FSINFO.
    Fsinfo,
    /// PATHCONF.
    Pathconf,
    /// SETATTR of modes.
    Setattr,
    /// CREATE, UNCHECKED.
    Create,
    /// CREATE, GUARDED.
    CreateGuarded,
    /// CREATE, EXCLUSIVE.
    CreateExclusive,
    /// MKDIR.
    Mkdir,
    /// SYMLINK.
    Symlink,
    /// LINK.
    Link,
    /// RENAME within a directory.
    Rename,
    /// REMOVE.
    Remove,
    /// RMDIR.
    Rmdir,
    /// READ.
    Read(Block, Order),
    /// WRITE, with COMMITs where it is unstable.
    Write(Block, Order, Stability),
    /// The mix of SPEC SFS 2008.
    Mixed,
    /// CREATE, WRITE of 4 KiB and COMMIT for each file.
    SmallFiles,
}

use Block::{Large, Small};
use Order::{Random, Sequential};
use Stability::{FileSync, Unstable};

/// All workloads with their names, in the order in which they run. Those of metadata come first.
const ALL: [(&str, Workload); 35] = [
    ("null", Workload::Null),
    ("getattr", Workload::Getattr),
    ("lookup", Workload::Lookup),
    ("lookup-absent", Workload::LookupAbsent),
    ("access", Workload::Access),
    ("readlink", Workload::Readlink),
    ("readdir", Workload::Readdir),
    ("readdirplus", Workload::Readdirplus),
    ("fsstat", Workload::Fsstat),
    ("fsinfo", Workload::Fsinfo),
    ("pathconf", Workload::Pathconf),
    ("setattr", Workload::Setattr),
    ("create", Workload::Create),
    ("create-guarded", Workload::CreateGuarded),
    ("create-exclusive", Workload::CreateExclusive),
    ("mkdir", Workload::Mkdir),
    ("symlink", Workload::Symlink),
    ("link", Workload::Link),
    ("rename", Workload::Rename),
    ("remove", Workload::Remove),
    ("rmdir", Workload::Rmdir),
    ("read-4k", Workload::Read(Small, Sequential)),
    ("read-4k-random", Workload::Read(Small, Random)),
    ("read-1m", Workload::Read(Large, Sequential)),
    ("read-1m-random", Workload::Read(Large, Random)),
    ("write-4k", Workload::Write(Small, Sequential, Unstable)),
    ("write-4k-random", Workload::Write(Small, Random, Unstable)),
    ("write-4k-sync", Workload::Write(Small, Sequential, FileSync)),
    ("write-4k-random-sync", Workload::Write(Small, Random, FileSync)),
    ("write-1m", Workload::Write(Large, Sequential, Unstable)),
    ("write-1m-random", Workload::Write(Large, Random, Unstable)),
    ("write-1m-sync", Workload::Write(Large, Sequential, FileSync)),
    ("write-1m-random-sync", Workload::Write(Large, Random, FileSync)),
    ("small-files", Workload::SmallFiles),
    ("mixed", Workload::Mixed),
];

/// No workload and no group has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no workload {0:?}; there are all, metadata, data, {names}", names = names())]
pub struct UnknownWorkload(String);

fn names() -> String {
    ALL.map(|(name, _)| name).join(", ")
}

impl Workload {
    /// Every workload, in the order in which they run.
    #[must_use]
    pub fn all() -> Vec<Self> {
        ALL.map(|(_, workload)| workload).to_vec()
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        ALL.iter().find(|(_, workload)| *workload == self).map_or("", |(name, _)| name)
    }

    /// Whether it reads or writes data of files.
    fn has_data(self) -> bool {
        match self {
            Self::Null
            | Self::Getattr
            | Self::Lookup
            | Self::LookupAbsent
            | Self::Access
            | Self::Readlink
            | Self::Readdir
            | Self::Readdirplus
            | Self::Fsstat
            | Self::Fsinfo
            | Self::Pathconf
            | Self::Setattr
            | Self::Create
            | Self::CreateGuarded
            | Self::CreateExclusive
            | Self::Mkdir
            | Self::Symlink
            | Self::Link
            | Self::Rename
            | Self::Remove
            | Self::Rmdir => false,
            Self::Read(..) | Self::Write(..) | Self::Mixed | Self::SmallFiles => true,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The workloads of names, or of the groups `all`, `metadata` and `data`; each once, in the order of the
/// names.
pub fn parse_workloads<'a>(
    names: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Workload>, UnknownWorkload> {
    let mut found = Vec::new();
    for name in names {
        let named: Vec<_> = ALL
            .iter()
            .filter(|(own, workload)| match name {
                "all" => true,
                "metadata" => !workload.has_data(),
                "data" => workload.has_data(),
                _ => *own == name,
            })
            .map(|(_, workload)| *workload)
            .collect();
        if named.is_empty() {
            return Err(UnknownWorkload(name.to_owned()));
        }
        for workload in named {
            if !found.contains(&workload) {
                found.push(workload);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_has_one_name() {
        for (name, workload) in ALL {
            assert_eq!(workload.name(), name);
            assert_eq!(parse_workloads([name]), Ok(vec![workload]));
        }
    }

    #[test]
    fn groups_are_parts_of_all() {
        let [all, metadata, data] =
            ["all", "metadata", "data"].map(|group| parse_workloads([group]).unwrap());
        assert_eq!(all, Workload::all());
        assert_eq!([metadata, data].concat(), all);
        let twice = parse_workloads(["lookup", "null", "lookup"]).unwrap();
        assert_eq!(twice, [Workload::Lookup, Workload::Null]);
        let unknown = parse_workloads(["null", "nul"]).unwrap_err();
        assert!(unknown.to_string().contains("small-files"), "{unknown}");
    }
}
