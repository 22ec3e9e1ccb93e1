//! What only this store can be asked, from inside: no statement of a call reads more than it must.

use super::*;

/// Every statement of a call, but the one that lists the shares.
fn statements() -> Vec<&'static str> {
    let reads = [read::OBJECT, read::ENTRY, read::PARENT, read::LINK, read::PAGE];
    reads.into_iter().chain(tables::STATEMENTS).chain(lock_rows::STATEMENTS).collect()
}

#[test]
fn every_statement_searches_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let connection = connect::writer(&Settings::new(folder.path().join("m"))).unwrap();
    for statement in statements() {
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        for number in 1..=plan.parameter_count() {
            plan.raw_bind_parameter(number, 1).unwrap();
        }
        let mut rows = plan.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let step: String = row.get(3).unwrap();
            assert!(!step.contains("SCAN") || step == "SCAN CONSTANT ROW", "{step}: {statement}");
            assert!(!step.contains("TEMP B-TREE"), "{step}: {statement}");
        }
    }
}

/// A thousand calls of one client and then a single one of another: the writer carries the single one out
/// among the first.
#[tokio::test]
async fn clients_take_turns_at_the_writer() {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};
    use std::time::Duration;

    const CALLS: u32 = 3 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(Settings::new(folder.path().join("m"))).await.unwrap();
    let limit = Duration::from_secs(120);
    let from = |host: u8, port: u16| {
        let client = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)), port);
        let call = crate::types::Call::of_client(client, limit);
        Context { call, client, ..Context::internal(ShareId(1), limit) }
    };
    // The writer is busy while all of them come.
    let (busy, is_busy) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let first = store.queue.add(None, move |_| {
        busy.send(()).unwrap();
        may_go_on.recv().ok();
        Ok(())
    });
    let first = first.unwrap();
    is_busy.recv().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let call = |host, port, name| {
        let order = order.clone();
        let call = move |_: &mut Writable| {
            order.lock().push(name);
            Ok(())
        };
        store.queue.add(Some(&from(host, port).call), call).unwrap()
    };
    // One client's calls come from many ports.
    let crowd: Vec<_> = (0..CALLS).map(|it| call(1, 700 + (it % 100) as u16, "crowd")).collect();
    let left = call(2, 700, "left");
    let single = call(2, 701, "single");
    assert!(left.leave(), "a cancelled call takes no turn");
    drop(go_on);
    outcome(first).await.unwrap();
    outcome(single).await.unwrap();
    for pending in crowd {
        outcome(pending).await.unwrap();
    }
    let order = order.lock();
    assert_eq!(order.len(), CALLS as usize + 1);
    assert_eq!(order.iter().position(|name| *name == "single"), Some(1));
    assert!(!order.contains(&"left"));
    drop(store);
}
