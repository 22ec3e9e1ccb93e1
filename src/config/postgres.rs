//! `metadata.stores.*.postgres`.

use std::time::Duration;

use super::error::Error;
use super::section::Field;
use super::values::{MOST, Password, count, duration, flag, nonempty, number, password};

/// A PostgreSQL database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postgres {
    /// Host name, address, or the folder of a Unix socket.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// User.
    pub user: String,
    /// Password, where one is needed.
    pub password: Option<Password>,
    /// How many connections may be open at once.
    pub max_connections: usize,
    /// Whether the schema is brought up to date at start.
    pub auto_migrate: bool,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
}

pub(super) fn postgres(field: &Field<'_>) -> Result<Postgres, Error> {
    let section = field.section(&[
        "host",
        "port",
        "database",
        "user",
        "password",
        "sslmode",
        "max_conns",
        "auto_migrate",
        "connect_timeout",
    ])?;
    if let Some(field) = section.optional("sslmode") {
        let text = field.text()?;
        if text != "disable" {
            return Err(field.error(format!(
                "{text:?} asks for TLS, which connections to PostgreSQL do not have yet; write disable, and \
                 keep the way to the database private (loopback, a Unix socket, a VPN)"
            )));
        }
    }
    Ok(Postgres {
        host: section.or("host", "localhost".to_owned(), nonempty)?,
        port: section.or("port", 5432, |field| number(field, 1, u16::MAX))?,
        database: section.or("database", "trunkfs".to_owned(), nonempty)?,
        user: section.or("user", "trunkfs".to_owned(), nonempty)?,
        password: section.or("password", None, |field| password(field).map(Some))?,
        max_connections: section.or("max_conns", 15, |field| count(field, MOST))?,
        auto_migrate: section.or("auto_migrate", true, flag)?,
        connect_timeout: section.or("connect_timeout", Duration::from_secs(10), duration)?,
    })
}
