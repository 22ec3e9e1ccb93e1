//! What is looked at once, when the store opens: whether the connections are the server's own sessions,
//! whether it has room for as many as there may be, and what the role may do.

use tokio_postgres::{Client, SimpleQueryMessage};

use super::Settings;
use super::connect::Connector;
use super::error::PostgresError;
use super::grants;
use super::target::{ConnectOptions, Renewed};
use crate::metadata::Error;

/// Names a session: a process number alone is used again.
const SESSION: &str = "
    SELECT pid, backend_start FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()";
/// How often both connections are asked. A pooler betrays itself at once unless others use it at the same
/// moment.
const ROUNDS: usize = 4;

/// How many connections the role may have at most; nothing where there is no limit. Superusers have the
/// server's alone.
const ROOM: &str = "
    SELECT least(
               current_setting('max_connections')::integer
                   - CASE WHEN r.rolsuper THEN 0 ELSE current_setting('superuser_reserved_connections')::integer
                          + coalesce(current_setting('reserved_connections', true)::integer, 0) END,
               CASE WHEN r.rolconnlimit >= 0 AND NOT r.rolsuper THEN r.rolconnlimit END,
               CASE WHEN d.datconnlimit >= 0 AND NOT r.rolsuper THEN d.datconnlimit END)
      FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
     WHERE r.rolname = session_user AND d.datname = current_database()";

/// Looks at all of it, on two connections that are closed again.
///
/// # Errors
/// [`Error::Backend`] where an administrator has to act; [`Error::Unavailable`] where no server answers.
pub(super) async fn check(settings: &Settings) -> Result<(), Error> {
    let connector = Connector::new(settings);
    let checks = async {
        let one = connector.connect().await?.client;
        check_room(&one, settings.max_connections).await?;
        let two = connector.connect().await?.client;
        check_sessions(&one, &two).await?;
        grants::check(&one).await
    };
    checks.await.map_err(PostgresError::into_error)
}

/// Looks whether the server lets the role in with the settings' own password, and has room for as many
/// connections.
pub(super) async fn check_login(settings: &Settings) -> Result<(), Error> {
    let target = ConnectOptions { renewed: Renewed::default(), ..settings.target.clone() };
    let connector = Connector::new(&Settings { target, ..settings.clone() });
    let checks = async {
        let client = connector.connect().await?.client;
        check_room(&client, settings.max_connections).await
    };
    checks.await.map_err(PostgresError::into_error)
}

/// What changing the schema needs: sessions of its own, and a schema that the role may use.
pub(super) async fn check_for_migration(settings: &Settings) -> Result<(), Error> {
    let connector = Connector::new(settings);
    let checks = async {
        let one = connector.connect().await?.client;
        let two = connector.connect().await?.client;
        check_sessions(&one, &two).await?;
        grants::check_schema(&one).await
    };
    checks.await.map_err(PostgresError::into_error)
}

async fn check_room(client: &Client, wanted: usize) -> Result<(), PostgresError> {
    let room = ask(client, ROOM).await?.first().and_then(|room| room.parse().ok());
    match room {
        Some(room) if wanted > room => Err(refuse(format!(
            "max_conns is {wanted}, but the role is limited to {room} connections; lower max_conns, with \
             room for other servers and tools, or raise max_connections of PostgreSQL and the CONNECTION \
             LIMIT of the role and the database"
        ))),
        Some(_) | None => Ok(()),
    }
}

/// A session's settings, locks and prepared statements must be its own. A pooler that gives the server's
/// session away after each transaction shows two connections in one session, or one in several.
async fn check_sessions(one: &Client, two: &Client) -> Result<(), PostgresError> {
    let first = ask(one, SESSION).await?;
    let mut second = None;
    for _ in 0..ROUNDS {
        let mut own = vec![ask(one, SESSION).await?, ask(one, SESSION).await?];
        let others = [ask(two, SESSION).await?, ask(two, SESSION).await?];
        let expected = second.get_or_insert_with(|| others[0].clone());
        own.retain(|session| *session != first);
        if !own.is_empty() || others.iter().any(|it| it != expected || *it == first) {
            return Err(refuse(
                "the connections go through a pooler in transaction mode (PgBouncer with pool_mode = \
                 transaction), and TrunkFS needs sessions; connect to PostgreSQL directly, or set pool_mode \
                 = session for this database",
            ));
        }
    }
    Ok(())
}

pub(super) fn refuse(text: impl Into<String>) -> PostgresError {
    PostgresError::Refused(Error::Backend(text.into().into()))
}

/// The columns of an answer's first row. Nothing is prepared: a pooler may not keep it.
pub(super) async fn ask(client: &Client, statement: &str) -> Result<Vec<String>, PostgresError> {
    let answer = client.simple_query(statement).await?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let columns = row.map_or(0, |row| row.columns().len());
    Ok((0..columns)
        .map(|index| row.and_then(|row| row.get(index)).unwrap_or_default().to_owned())
        .collect())
}
