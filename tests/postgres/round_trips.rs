//! What an operation costs in round trips, counted on the wire, once its statements are prepared.

use trunkfs::metadata::{CreateHow, Flush, Namespace as _};
use trunkfs::types::{Cookie, SymlinkTarget, Timestamp};

use crate::database::TestDatabase;
use crate::proxy::Proxy;
use crate::support::{Fixture, mode, name};

/// A fixture whose store has one connection, through a proxy.
async fn counted() -> (Fixture, Proxy) {
    let database = TestDatabase::create().await;
    let proxy = Proxy::before(&database.settings()).await;
    let mut settings = proxy.settings(&database.settings());
    settings.max_connections = 1;
    (Fixture::on(settings, database).await, proxy)
}

/// Runs every operation once; answers with their names and round trips.
async fn round(fixture: &Fixture, proxy: &Proxy) -> Vec<(&'static str, usize)> {
    let (store, root) = (&fixture.store, fixture.root());
    let mut costs = Vec::new();
    macro_rules! count {
        ($operation:literal, $call:expr) => {{
            proxy.take_round_trips();
            let answer = $call.await.unwrap();
            costs.push(($operation, proxy.take_round_trips()));
            answer
        }};
    }
    let cx = fixture.cx();
    let how = CreateHow::Guarded(mode(0o644));
    let target = SymlinkTarget::parse(b"target").unwrap();
    let file = count!("create", store.create(&cx, root, &name("file"), &how)).object;
    let inner = count!("mkdir", store.mkdir(&cx, root, &name("inner"), &mode(0o755))).object;
    let link = count!("symlink", store.symlink(&cx, root, &name("s"), &target, &mode(0))).object;
    count!("getattr", store.getattr(&cx, file.id));
    count!("lookup", store.lookup(&cx, root, &name("file")));
    count!("lookup", store.lookup(&cx, root, &name("missing")));
    count!("lookup_parent", store.lookup_parent(&cx, inner.id));
    count!("readlink", store.readlink(&cx, link.id));
    count!("readdir", store.readdir(&cx, root, Cookie::START, 100, false));
    count!("readdir", store.readdir(&cx, root, Cookie::START, 100, true));
    count!("setattr", store.setattr(&cx, file.id, &mode(0o600)));
    let flush = Flush { atime: Some(Timestamp::now()), written: None };
    count!("flush", store.flush(&cx, file.id, &flush));
    count!("begin_zeroing", store.begin_zeroing(&cx, file.id, file.content.unwrap()));
    count!("link", store.link(&cx, file.id, inner.id, &name("second")));
    count!("rename", store.rename(&cx, root, &name("s"), inner.id, &name("second")));
    count!("remove", store.remove(&cx, inner.id, &name("second")));
    count!("remove", store.remove(&cx, root, &name("file")));
    count!("rmdir", store.rmdir(&cx, root, &name("inner")));
    costs
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_take_one_round_trip_and_mutations_two() {
    let (fixture, proxy) = counted().await;
    round(&fixture, &proxy).await;
    for (operation, cost) in round(&fixture, &proxy).await {
        let expected = match operation {
            "getattr" | "lookup" | "lookup_parent" | "readlink" | "readdir" | "flush"
            | "begin_zeroing" => 1,
            _ => 2,
        };
        assert_eq!(cost, expected, "{operation}");
    }
    fixture.sound().await;
}
