//! A database that answers and takes no changes: read-only, or full.

use std::time::Duration;

use tokio::time::Instant;
use trunkfs::metadata::postgres::PostgresStore;
use trunkfs::metadata::{CreateHow, Error, MetadataStore};
use trunkfs::types::Attributes;

use crate::database::connect;
use crate::support::{CALL_LIMIT, Fixture, mode, name, share_spec};

impl Fixture {
    async fn run(&self, statement: &str) {
        let client = connect(&self.database.settings()).await;
        // What a test sets must not refuse what it does next.
        client.batch_execute("SET default_transaction_read_only = off").await.unwrap();
        client.batch_execute(statement).await.unwrap();
    }

    /// What new sessions may do; those that are there end.
    async fn set_read_only(&self, read_only: bool) {
        let database = self.database.settings().target.database;
        let value = if read_only { "on" } else { "off" };
        self.run(&format!("ALTER DATABASE {database} SET default_transaction_read_only = {value}"))
            .await;
        if read_only {
            self.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name = 'trunkfs'",
            )
            .await;
        }
    }

    async fn try_create(&self, entry: &str) -> Result<Attributes, Error> {
        let how = CreateHow::Guarded(mode(0o644));
        let created = self.store.create(&self.cx(), self.root(), &name(entry), &how).await;
        created.map(|created| created.object).map_err(|refusal| refusal.error)
    }

    async fn is_there(&self, entry: &str) -> bool {
        let found = self.store.lookup(&self.cx(), self.root(), &name(entry)).await.unwrap();
        found.object.is_some()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_is_read_until_it_takes_changes_again() {
    let fixture = Fixture::new().await;
    fixture.file(fixture.root(), "before").await;
    fixture.set_read_only(true).await;
    for round in 0..3 {
        let error = fixture.try_create("refused").await.unwrap_err();
        assert!(matches!(error, Error::ReadOnly(_)), "{round}: {error:?}");
        assert!(fixture.is_there("before").await && !fixture.is_there("refused").await);
    }

    // So does an instance that starts now.
    let late = PostgresStore::connect(fixture.database.settings()).await.unwrap();
    assert_eq!(late.open_share(&share_spec()).await.unwrap(), fixture.share);
    late.getattr(&fixture.cx(), fixture.root()).await.unwrap();

    fixture.set_read_only(false).await;
    let limit = Instant::now() + CALL_LIMIT;
    while let Err(error) = fixture.try_create("after").await {
        assert!(matches!(error, Error::ReadOnly(_)), "{error:?}");
        assert!(Instant::now() < limit, "it stays read-only");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Its connection is younger.
    let (directory, set) = (name("late"), mode(0o755));
    while let Err(refusal) = late.mkdir(&fixture.cx(), fixture.root(), &directory, &set).await {
        assert!(matches!(refusal.error, Error::ReadOnly(_)), "{:?}", refusal.error);
        assert!(Instant::now() < limit, "it stays read-only");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fixture.sound().await;
}

/// A session that was read-write and is read-only now, as one to a former primary behind a proxy is.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_that_turned_read_only_is_replaced() {
    let fixture = Fixture::new().await;
    fixture.file(fixture.root(), "warm").await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    // Raised for the session that is there, and not for those that follow.
    fixture
        .run(
            "CREATE TABLE demoted AS SELECT pid FROM pg_stat_activity
              WHERE datname = current_database() AND application_name = 'trunkfs';
             CREATE FUNCTION refuse_demoted() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF EXISTS (SELECT FROM demoted WHERE pid = pg_backend_pid()) THEN
                     RAISE 'demoted' USING ERRCODE = 'read_only_sql_transaction';
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER refuse_demoted BEFORE INSERT ON files
                 FOR EACH ROW EXECUTE FUNCTION refuse_demoted()",
        )
        .await;
    fixture.try_create("after").await.unwrap();
    fixture.sound().await;
}

const FULL: &str = "
    CREATE FUNCTION refuse_full() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
    END $$;";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_refuses_the_whole_change() {
    // While it runs, and at its commit.
    for trigger in [
        "CREATE TRIGGER full_now BEFORE INSERT ON files FOR EACH ROW",
        "CREATE CONSTRAINT TRIGGER full_now AFTER INSERT ON files DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW",
    ] {
        let fixture = Fixture::new().await;
        fixture.file(fixture.root(), "before").await;
        let before = fixture.store.getattr(&fixture.cx(), fixture.root()).await.unwrap();
        fixture.run(&format!("{FULL} {trigger} EXECUTE FUNCTION refuse_full()")).await;
        for _ in 0..3 {
            let error = fixture.try_create("refused").await.unwrap_err();
            assert!(matches!(error, Error::NoSpace(_)), "{trigger}: {error:?}");
        }
        assert!(fixture.is_there("before").await && !fixture.is_there("refused").await);
        let after = fixture.store.getattr(&fixture.cx(), fixture.root()).await.unwrap();
        assert_eq!(before, after, "nothing is half applied");
        fixture.sound().await;
        // What needs no room goes on.
        let removed = fixture.store.remove(&fixture.cx(), fixture.root(), &name("before")).await;
        assert_eq!(removed.unwrap().object.attributes.nlink, 0);

        fixture.run("DROP TRIGGER full_now ON files").await;
        fixture.try_create("after").await.unwrap();
        fixture.sound().await;
    }
}

/// New connections to a full database read, though there is no room for a writer slot.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_is_read_by_new_connections() {
    let fixture = Fixture::new().await;
    fixture.file(fixture.root(), "before").await;
    fixture
        .run(&format!(
            "{FULL} CREATE TRIGGER full_now BEFORE INSERT OR UPDATE ON writer_slots FOR EACH ROW
             EXECUTE FUNCTION refuse_full()"
        ))
        .await;
    let late = PostgresStore::connect(fixture.database.settings()).await.unwrap();
    late.open_share(&share_spec()).await.unwrap();
    let found = late.lookup(&fixture.cx(), fixture.root(), &name("before")).await.unwrap();
    assert!(found.object.is_some());
    let make = || async {
        let cx = fixture.cx();
        late.mkdir(&cx, fixture.root(), &name("late"), &mode(0o755)).await
    };
    let error = make().await.unwrap_err().error;
    assert!(matches!(error, Error::NoSpace(_)), "{error:?}");
    fixture.run("DROP TRIGGER full_now ON writer_slots").await;
    make().await.unwrap();
    fixture.sound().await;
}
