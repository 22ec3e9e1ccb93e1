//! Where a database is: the cluster by its system identifier and the database by its number, which a dump
//! that is restored elsewhere does not share; and the address, for administrators.

use super::PostgresStore;
use super::execute::arguments;
use super::rows::column;
use crate::metadata::{Error, StorePlace};

const DATABASE: &str = "SELECT oid::text FROM pg_database WHERE datname = current_database()";
/// A role may not be allowed to ask this (PostgreSQL manual 9.27.12).
const CLUSTER: &str = "SELECT system_identifier::text FROM pg_control_system()";
const EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_database WHERE oid::text = $1)";

pub(super) async fn place(store: &PostgresStore) -> Result<StorePlace, Error> {
    let [cluster, database] = numbers(store).await?;
    let target = &store.settings.target;
    let hosts: Vec<_> = target.hosts.iter().map(|host| address(&host.name, host.port)).collect();
    let text = format!("{}/{}", hosts.join(","), target.database);
    Ok(StorePlace { id: format!("postgresql {cluster} {database}"), text })
}

/// Whether the database has taken the place of an earlier one: it has its address, or the cluster has
/// that one no more.
pub(super) async fn succeeds(store: &PostgresStore, earlier: &StorePlace) -> Result<bool, Error> {
    if place(store).await?.text == earlier.text {
        return Ok(true);
    }
    let [cluster, _] = numbers(store).await?;
    let parts: Vec<&str> = earlier.id.split(' ').collect();
    let ["postgresql", known, database] = parts[..] else { return Ok(false) };
    if cluster.is_empty() || known != cluster {
        return Ok(false);
    }
    let rows = store.ask(EXISTS, arguments![database.to_owned()]).await?;
    rows.first().map_or(Ok(false), |row| column(row, 0).map(|exists: bool| !exists))
}

/// Of the cluster and of the database.
async fn numbers(store: &PostgresStore) -> Result<[String; 2], Error> {
    let rows = store.ask(DATABASE, Vec::new()).await?;
    let database = rows.first().map_or(Ok(String::new()), |row| column(row, 0))?;
    let cluster = match store.ask(CLUSTER, Vec::new()).await {
        Ok(rows) => rows.first().map_or(Ok(String::new()), |row| column(row, 0))?,
        Err(error @ (Error::Unavailable(_) | Error::Cancelled)) => return Err(error),
        Err(_) => String::new(),
    };
    Ok([cluster, database])
}

/// An address as every machine understands it.
fn address(host: &str, port: u16) -> String {
    let local = host.starts_with('/') || matches!(host, "localhost" | "127.0.0.1" | "::1");
    let machine = rustix::system::uname();
    if local {
        format!("{}:{port}", machine.nodename().to_string_lossy())
    } else {
        format!("{host}:{port}")
    }
}
