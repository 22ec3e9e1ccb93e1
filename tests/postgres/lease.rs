//! The functions of the lease, each met by another in the middle of its transaction.

use tokio_postgres::Client;
use trunkfs::metadata::MetadataStore;
use uuid::Uuid;

use crate::database::connect;
use crate::session::{Call, Session, join, verdict};
use crate::support::{Fixture, until};

/// A database, and two instances that have joined, with their connections.
struct Scene {
    fixture: Fixture,
    one: (Client, Uuid),
    two: (Client, Uuid),
}

impl Scene {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        fixture.file(fixture.root(), "file").await;
        fixture.store.close().await;
        let one = member(&fixture).await;
        let two = member(&fixture).await;
        Self { fixture, one, two }
    }

    async fn holder(&self) -> Option<Uuid> {
        let client = connect(&self.fixture.database.settings()).await;
        client.query_one("SELECT holder FROM lease", &[]).await.unwrap().get(0)
    }
}

async fn member(fixture: &Fixture) -> (Client, Uuid) {
    let client = connect(&fixture.database.settings()).await;
    client.batch_execute("SET lock_timeout = '2min'").await.unwrap();
    let instance = join(&client).await;
    (client, instance)
}

async fn count(client: &Client, instance: Uuid) -> i64 {
    let statement = "SELECT count FROM instances WHERE instance = $1";
    client.query_one(statement, &[&instance]).await.unwrap().get(0)
}

/// Takes the lease from `from`, with the other instance's count as it is seen.
async fn take(client: &Client, own: Uuid, from: Option<Uuid>, (other, count): (Uuid, i64)) -> bool {
    let statement = "SELECT take_lease($1, $2, ARRAY[$3::uuid], ARRAY[$4::bigint])";
    client.query_one(statement, &[&own, &from, &other, &count]).await.unwrap().get(0)
}

/// Runs `second` once `first` stands still in its transaction; it waits, and the first commits.
async fn meet<T: Send + 'static>(
    fixture: &Fixture,
    first: &Client,
    second_pid: i32,
    second: impl Future<Output = T> + Send + 'static,
) -> T {
    let waiting = tokio::spawn(second);
    let condition = format!("pid = {second_pid} AND wait_event_type = 'Lock'");
    until(&fixture.database, "the second call waits", &condition, 1).await;
    first.batch_execute("COMMIT").await.unwrap();
    waiting.await.unwrap()
}

async fn pid(client: &Client) -> i32 {
    client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
}

fn code(error: &tokio_postgres::Error) -> &str {
    error.code().map_or("none", |code| code.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_take_the_lease_one_gets_it() {
    let Scene { fixture, one: (one, first), two: (two, second) } = Scene::new().await;
    one.batch_execute("BEGIN").await.unwrap();
    assert!(take(&one, first, None, (second, 0)).await);
    let pid = pid(&two).await;
    let taken =
        meet(&fixture, &one, pid, async move { take(&two, second, None, (first, 0)).await });
    assert!(!taken.await);
    let holder = one.query_one("SELECT holder FROM lease", &[]).await.unwrap();
    assert_eq!(holder.get::<_, Option<Uuid>>(0), Some(first));
}

/// A renewal that is under way when its instance is taken for dead comes first, and is seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_under_way_keeps_the_lease() {
    let scene = Scene::new().await;
    let (one, first) = &scene.one;
    let renew = "UPDATE instances SET count = count + 1 WHERE instance = $1";
    one.batch_execute("BEGIN").await.unwrap();
    one.execute(renew, &[first]).await.unwrap();
    let (two, second) = scene.two;
    let (pid, first) = (pid(&two).await, *first);
    let taken = meet(&scene.fixture, one, pid, async move {
        (take(&two, second, None, (first, 0)).await, take(&two, second, None, (first, 1)).await)
    });
    assert_eq!(taken.await, (false, true), "the second time it has stood still");
    // And one that comes later finds no row.
    assert_eq!(one.execute(renew, &[&first]).await.unwrap(), 0);
}

/// A slot that is being claimed when the lease is taken is there before, and is fenced afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_under_way_is_fenced() {
    let scene = Scene::new().await;
    let (one, first) = &scene.one;
    one.batch_execute("BEGIN").await.unwrap();
    let claimed = one.query_one("SELECT slot FROM claim_slot($1)", &[first]).await.unwrap();
    let slot: i32 = claimed.get(0);
    let (two, second) = scene.two;
    let (pid, first) = (pid(&two).await, *first);
    let alone = meet(&scene.fixture, one, pid, async move {
        assert!(take(&two, second, None, (first, 0)).await);
        let claim = "SELECT slot FROM claim_alone_slot($1)";
        let alone: i32 = two.query_one(claim, &[&second]).await.unwrap().get(0);
        alone
    });
    assert_ne!(alone.await, slot);
    let fenced = "SELECT bool_and(epoch < 0) FROM writer_slots WHERE slot = $1";
    assert!(one.query_one(fenced, &[&slot]).await.unwrap().get::<_, bool>(0));
    let refused = one.query_one("SELECT slot FROM claim_slot($1)", &[&first]).await.unwrap_err();
    assert_eq!(code(&refused), "TF004", "{refused:?}");
}

/// What a repair or a load changes is there before the lease is taken, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_not_taken_while_somebody_changes_rows() {
    let scene = Scene::new().await;
    let (one, first) = &scene.one;
    one.batch_execute("BEGIN").await.unwrap();
    one.query("SELECT share_lease($1)", &[first]).await.unwrap();
    let (two, second) = scene.two;
    let (pid, first) = (pid(&two).await, *first);
    let taken =
        meet(&scene.fixture, one, pid, async move { take(&two, second, None, (first, 0)).await });
    assert!(taken.await);
    let refused = one.query("SELECT share_lease($1)", &[&first]).await.unwrap_err();
    assert_eq!(code(&refused), "TF004", "{refused:?}");
}

/// A call that has changed its rows when the holder fences comes to its end first; one that comes later
/// changes nothing. A slot that was given up before stays so.
#[tokio::test(flavor = "multi_thread")]
async fn fencing_waits_for_calls_under_way() {
    let fixture = Fixture::new().await;
    let flight = Session::open(&fixture).await;
    let given_up = Session::open(&fixture).await;
    let root = fixture.directory(fixture.root(), "a").await;
    fixture.store.close().await;
    assert!(flight.settle((given_up.slot, given_up.epoch), 5).await.is_empty());
    let (client, own) = member(&fixture).await;
    client.execute("DELETE FROM instances WHERE instance <> $1", &[&own]).await.unwrap();
    client.execute("UPDATE lease SET holder = $1", &[&own]).await.unwrap();

    flight.client.batch_execute("BEGIN").await.unwrap();
    let made = flight.call(1, &Call::create((&root, "x"))).await.unwrap();
    assert_eq!(verdict(&made), 0);
    let pid = pid(&client).await;
    let claimed = meet(&fixture, &flight.client, pid, async move {
        client.query_one("SELECT slot FROM claim_alone_slot($1)", &[&own]).await.map(|_| client)
    });
    let client = claimed.await.unwrap();
    let epoch = "SELECT epoch FROM writer_slots WHERE slot = $1";
    for session in [&flight, &given_up] {
        let row = client.query_one(epoch, &[&session.slot]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), -session.epoch);
    }
    let fenced = flight.call(2, &Call::create((&root, "y"))).await.unwrap_err();
    assert_eq!(code(&fenced), "TF001", "{fenced:?}");
    // What became of the first is still told.
    assert_eq!(given_up.settle((flight.slot, flight.epoch), 1).await.len(), made.len());
}

/// A holder that was taken for dead gets no slot, and its successor's lease is not ended in its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_was_taken_over_is_none_any_more() {
    let scene = Scene::new().await;
    let ((one, first), (two, second)) = (&scene.one, &scene.two);
    assert!(take(one, *first, None, (*second, 0)).await);
    two.execute("INSERT INTO instances (instance, host, version) VALUES ($1, 'h', 'v')", &[second])
        .await
        .unwrap();
    let seen = count(one, *first).await;
    assert!(!take(two, *second, None, (*first, seen)).await, "somebody holds it");
    assert!(take(two, *second, Some(*first), (*first, seen)).await);
    let refused = one.query_one("SELECT slot FROM claim_alone_slot($1)", &[first]).await;
    assert_eq!(code(&refused.unwrap_err()), "TF004");
    let end = "SELECT end_lease($1, $1, NULL)";
    assert!(one.query_one(end, &[first]).await.unwrap().get::<_, bool>(0));
    assert_eq!(scene.holder().await, Some(*second));
    // Nor by one who has seen an older count.
    let end = "SELECT end_lease($1, $2, $3)";
    let old = count(two, *second).await - 1;
    assert!(!one.query_one(end, &[first, second, &old]).await.unwrap().get::<_, bool>(0));
    assert_eq!(scene.holder().await, Some(*second));
}

/// A take whose instance has no row any more, and one beside an instance that nobody has seen, are refused.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_row_or_has_not_seen_all_does_not_take_the_lease() {
    let scene = Scene::new().await;
    let ((one, first), (_, second)) = (&scene.one, &scene.two);
    let (_, _third) = member(&scene.fixture).await;
    assert!(!take(one, *first, None, (*second, 0)).await, "a third has joined");
    one.execute("DELETE FROM instances", &[]).await.unwrap();
    assert!(!take(one, *first, None, (*second, 0)).await, "its own row is gone");
    assert_eq!(scene.holder().await, None);
}
