//! FSSTAT, FSINFO and PATHCONF (RFC 1813 sections 3.3.18 to 3.3.20), and NULL.

use super::args;
use super::fixture::{Fs, cases};
use super::types::*;

cases! {
    null_answers_nothing, fsstat_adds_up, fsstat_of_any_object, fsinfo_says_what_holds,
    fsinfo_of_any_object, fsinfo_properties, pathconf_says_what_holds, pathconf_of_any_object,
    all_of_a_removed_object, names_of_name_max_and_one_more,
}

fn null_answers_nothing(t: &Fs) {
    assert_eq!(t.root.nfs(args::NULL, &super::xdr::Args::new()), b"");
    let nobody = t.root.with(super::rpc::Auth::none());
    assert_eq!(nobody.nfs(args::NULL, &super::xdr::Args::new()), b"");
}

fn fsstat_adds_up(t: &Fs) {
    let stat = t.alice.fsstat(&t.share).unwrap();
    assert!(stat.total_bytes >= stat.free_bytes && stat.free_bytes >= stat.available_bytes);
    assert!(stat.total_files >= stat.free_files && stat.free_files >= stat.available_files);
    assert!(stat.total_bytes > 0 && stat.total_files > 0, "{stat:?}");
    assert_eq!(stat.object.map(|attr| attr.fileid), Some(t.alice.attr(&t.share).fileid));
}

fn fsstat_of_any_object(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0);
    let stat = t.bob.fsstat(&file).unwrap();
    assert_eq!(stat.object, Some(t.alice.attr(&file)));
}

fn fsinfo_says_what_holds(t: &Fs) {
    let info = t.alice.fsinfo(&t.share).unwrap();
    assert_eq!((info.read.0, info.read.1, info.read.2), (1 << 20, 1 << 20, 4096));
    assert_eq!((info.write.0, info.write.1, info.write.2), (1 << 20, 1 << 20, 4096));
    assert!(info.dtpref >= 65_536, "{info:?}");
    assert_eq!((info.max_file_size, info.time_delta), ((1 << 63) - 1, (0, 1)));
}

fn fsinfo_of_any_object(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0);
    assert_eq!(t.bob.fsinfo(&file).unwrap().object, Some(t.alice.attr(&file)));
}

fn fsinfo_properties(t: &Fs) {
    const LINK: u32 = 1;
    const SYMLINK: u32 = 2;
    const HOMOGENEOUS: u32 = 8;
    const CANSETTIME: u32 = 16;
    let info = t.alice.fsinfo(&t.share).unwrap();
    assert_eq!(info.properties, LINK | SYMLINK | HOMOGENEOUS | CANSETTIME);
}

fn pathconf_says_what_holds(t: &Fs) {
    let conf = t.alice.pathconf(&t.share).unwrap();
    assert_eq!(conf.name_max, 255);
    assert!(conf.link_max >= 1000, "{conf:?}");
    assert!(conf.no_trunc && conf.chown_restricted && conf.case_preserving, "{conf:?}");
    assert!(!conf.case_insensitive, "{conf:?}");
}

fn pathconf_of_any_object(t: &Fs) {
    let file = t.alice.file_of(&t.dir, b"f", 0);
    assert_eq!(t.bob.pathconf(&file).unwrap().object, Some(t.alice.attr(&file)));
}

fn all_of_a_removed_object(t: &Fs) {
    let file = t.alice.file(&t.dir, b"f");
    assert_eq!(t.alice.remove(&t.dir, b"f").status, OK);
    assert_eq!(t.alice.fsstat(&file), Err(STALE));
    assert_eq!(t.alice.fsinfo(&file), Err(STALE));
    assert_eq!(t.alice.pathconf(&file), Err(STALE));
}

fn names_of_name_max_and_one_more(t: &Fs) {
    let name_max = t.alice.pathconf(&t.share).unwrap().name_max as usize;
    t.alice.file(&t.dir, &vec![b'n'; name_max]);
    let made = t.alice.create(&t.dir, &vec![b'n'; name_max + 1], How::Guarded(mode(0o644)));
    assert_eq!(made.status, NAMETOOLONG);
}
