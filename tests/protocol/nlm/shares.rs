//! SHARE and UNSHARE.

use super::cases;
use super::host::*;
use crate::client::Outcome;
use crate::nfs::fixture::Fs;

cases! { shares_exclude_each_other, a_share_is_replaced, shares_have_no_part_in_locks }

const SHARE: u32 = 20;
const UNSHARE: u32 = 21;

/// Mode: what others may not do; access: what one does.
fn shares_exclude_each_other(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    for version in [3, 4] {
        let host = host.version(version);
        let (one, other) = (host.ask(&file), host.ask(&file).svid(2));
        assert_eq!(one.share(SHARE, 0, 2), GRANTED, "open to write");
        assert_eq!(other.share(SHARE, 2, 1), DENIED, "nobody else is to write");
        assert_eq!(other.share(SHARE, 1, 1), GRANTED, "nobody else is to read");
        assert_eq!(host.ask(&file).svid(3).share(SHARE, 0, 1), DENIED);
        for _ in 0..2 {
            assert_eq!(one.share(UNSHARE, 0, 2), GRANTED);
            assert_eq!(other.share(UNSHARE, 0, 1), GRANTED);
        }
    }
    assert_eq!(host.ask(b"garbage").share(SHARE, 0, 1), STALE_FH);
    assert_eq!(host.ask(b"garbage").share(UNSHARE, 0, 1), GRANTED);
    assert_eq!(host.ask(&t.dir).share(SHARE, 0, 1), FAILED);
}

fn a_share_is_replaced(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(host.ask(&file).share(SHARE, 2, 3), GRANTED);
    assert_eq!(host.ask(&file).share(SHARE, 0, 1), GRANTED);
    assert_eq!(host.ask(&file).svid(2).share(SHARE, 0, 2), GRANTED);
    let wrong = crate::client::Writer::new().opaque(b"").opaque(b"").opaque(&file).opaque(b"");
    let outcome = host.call(SHARE, wrong.u32(4).u32(0).boolean(false));
    assert_eq!(outcome, Outcome::GarbageArguments);
}

fn shares_have_no_part_in_locks(t: &Fs) {
    let (host, file) = (Host::new(t), t.alice.file(&t.dir, b"f"));
    assert_eq!(host.ask(&file).share(SHARE, 3, 3), GRANTED);
    assert_eq!(host.ask(&file).svid(2).lock(), GRANTED);
    t.alice.put(&file, 0, b"written");
}
