//! A database that answers and has no room for changes.

use trunkfs::metadata::postgres::PostgresStore;
use trunkfs::metadata::{CreateHow, Error, MetadataStore as _, Namespace as _};
use trunkfs::types::Attributes;

use crate::database::connect;
use crate::support::{Fixture, mode, name, share_spec};

impl Fixture {
    pub(crate) async fn run(&self, statement: &str) {
        let client = connect(&self.database.settings()).await;
        // What a test sets must not refuse what it does next.
        client.batch_execute("SET default_transaction_read_only = off").await.unwrap();
        client.batch_execute(statement).await.unwrap();
    }

    pub(crate) async fn try_create(&self, entry: &str) -> Result<Attributes, Error> {
        let how = CreateHow::Guarded(mode(0o644));
        let created = self.store.create(&self.cx(), self.root(), &name(entry), &how).await;
        created.map(|created| created.object).map_err(|refusal| refusal.error)
    }

    pub(crate) async fn is_there(&self, entry: &str) -> bool {
        let found = self.store.lookup(&self.cx(), self.root(), &name(entry)).await.unwrap();
        found.object.is_some()
    }
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
