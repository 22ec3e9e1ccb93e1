//! The schema's versions (`migrations/postgres`).

use tokio_postgres::Client;

use super::Settings;
use super::connect::Connector;
use super::error::{Failure, fatal};
use crate::metadata::Error;

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

/// Held while the schema is looked at and changed, so that instances which start together take turns.
const LOCK: &str = "SELECT pg_advisory_lock(19793, 0)";

/// Checks the server, and brings the schema to this program's version where that is allowed.
///
/// # Errors
/// [`Error::Backend`] where the server or the schema does not fit this program, or refuses the login;
/// [`Error::Unavailable`] where no server answers.
pub(super) async fn prepare(settings: &Settings) -> Result<(), Error> {
    // Ends when the client is dropped, and its lock with it.
    let mut client = Connector::new(settings).connect().await.map_err(Failure::into_error)?.client;
    client.batch_execute(LOCK).await.map_err(fatal)?;
    migrate(&mut client, settings.auto_migrate).await
}

/// The schema's version and this program's, which is not older. Changes nothing and waits for no lock.
///
/// # Errors
/// Those of [`prepare`].
pub(super) async fn look(settings: &Settings, allowed: bool) -> Result<(i32, i32), Error> {
    let client = Connector::new(settings).connect().await.map_err(Failure::into_error)?.client;
    versions(&client, allowed).await
}

async fn versions(client: &Client, allowed: bool) -> Result<(i32, i32), Error> {
    let runner = embedded::migrations::runner();
    let wanted = runner.get_migrations().iter().map(|it| it.version()).max().unwrap_or(0);
    let present = present_version(client).await?;
    if present > wanted {
        return Err(Error::Backend(
            format!(
                "the database has schema version {present}, this program knows {wanted}: \
                 a newer one is needed"
            )
            .into(),
        ));
    }
    if present < wanted && !allowed {
        return Err(Error::Backend(
            format!(
                "the database has schema version {present}, this program needs {wanted}: \
                 migrate it, or set auto_migrate"
            )
            .into(),
        ));
    }
    Ok((present, wanted))
}

async fn migrate(client: &mut Client, allowed: bool) -> Result<(), Error> {
    let (present, wanted) = versions(client, allowed).await?;
    if present < wanted {
        let runner = embedded::migrations::runner();
        runner.run_async(client).await.map_err(|error| Error::Backend(Box::new(error)))?;
        tracing::info!(from = present, to = wanted, "the schema was brought up to date");
    }
    Ok(())
}

/// The newest version that was applied; 0 in an empty database.
async fn present_version(client: &Client) -> Result<i32, Error> {
    let history = client
        .query_one("SELECT to_regclass('refinery_schema_history') IS NOT NULL", &[])
        .await
        .map_err(fatal)?;
    if !history.try_get::<_, bool>(0).map_err(fatal)? {
        return Ok(0);
    }
    let newest = client
        .query_one("SELECT COALESCE(max(version), 0)::integer FROM refinery_schema_history", &[])
        .await
        .map_err(fatal)?;
    newest.try_get(0).map_err(fatal)
}
