//! A database of one test's own.

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};
use trunkfs::metadata::postgres::{Cache, LeaseTimes, Settings};
use uuid::Uuid;

/// Where tests may make databases: the URL of a superuser's connection to PostgreSQL 15 or later.
const VARIABLE: &str = "TRUNKFS_TEST_DATABASE_URL";
/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A database that goes with the value.
#[derive(Debug)]
pub(crate) struct TestDatabase {
    server: Settings,
    name: String,
}

impl TestDatabase {
    /// Makes an empty database.
    pub(crate) async fn create() -> Self {
        Self::create_as("template1").await
    }

    /// Makes a database with what this one holds. Nobody may be connected to it.
    #[allow(dead_code, reason = "each program uses what it needs of it")]
    pub(crate) async fn copy(&self) -> Self {
        Self::create_as(&self.name).await
    }

    async fn create_as(template: &str) -> Self {
        let url = std::env::var(VARIABLE)
            .unwrap_or_else(|_| panic!("{VARIABLE} is not set: run the tests with ./tests/run.sh"));
        let server = Settings {
            // Tests run side by side on one server, and count the connections that they open.
            max_connections: 8,
            min_connections: 0,
            // A busy machine is no reason for a test to fail, and nobody asks idle connections while messages
            // are counted.
            connect_timeout: PATIENCE,
            acquire_timeout: PATIENCE,
            health_check_period: PATIENCE * 60,
            // Tests of the database's own rules want every call to reach it. Nobody is taken for dead while a
            // test stands still.
            cache: Cache::Off,
            lease: LeaseTimes { ttl: PATIENCE * 60, ..LeaseTimes::default() },
            ..Settings::from_url(&url).unwrap()
        };
        let name = format!("trunkfs_test_{}", Uuid::new_v4().simple());
        let statement = format!("CREATE DATABASE {name} TEMPLATE {template}");
        connect(&server).await.batch_execute(&statement).await.unwrap();
        Self { server, name }
    }

    /// How a store reaches it; the store makes its tables.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = self.server.clone();
        settings.target.database.clone_from(&self.name);
        settings.auto_migrate = true;
        settings
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let server = self.server.clone();
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A test's runtime may be ending: the clean-up brings its own.
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let client = connect(&server).await;
                let until = Instant::now() + PATIENCE;
                // The server waits for sessions that it has told to end, but not for long.
                while let Err(error) = client.batch_execute(&statement).await {
                    let in_use = error.code() == Some(&SqlState::OBJECT_IN_USE);
                    assert!(in_use && Instant::now() < until, "{error:?}");
                }
            });
        });
        if cleaning.join().is_err() && !std::thread::panicking() {
            panic!("the database {} was not dropped", self.name);
        }
    }
}

/// A plain connection.
pub(crate) async fn connect(settings: &Settings) -> Client {
    let mut config = tokio_postgres::Config::new();
    let target = &settings.target;
    config
        .host(&target.hosts[0].name)
        .port(target.hosts[0].port)
        .dbname(&target.database)
        .user(&target.user)
        .connect_timeout(settings.connect_timeout);
    if let Some(password) = &target.password {
        config.password(password);
    }
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
