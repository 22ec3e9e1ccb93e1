//! `metadata.stores.*.postgres`: keys of their own, a URL, or both where they do not contradict each other.

use std::path::PathBuf;
use std::time::Duration;

use super::error::Error;
use super::secrets::{Hidden, Secret};
use super::section::{Field, Section};
use super::tree::Value;
use super::values::{MOST, count, duration, duration_or_none, flag, nonempty, number, word};
use crate::metadata::postgres::target::{ConnectOptions, Parameters, PasswordSource};
use crate::metadata::postgres::{Cache, Settings};

/// A PostgreSQL database, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postgres {
    /// The database.
    pub target: ConnectOptions,
    /// How many connections may be open at once.
    pub max_connections: usize,
    /// How many are kept open.
    pub min_connections: usize,
    /// How long a connection beyond those may be idle.
    pub max_idle_time: Duration,
    /// How old a connection may be before it is closed; zero: as old as may be.
    pub max_lifetime: Duration,
    /// How often idle connections are checked.
    pub health_check_period: Duration,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long a request waits for a connection.
    pub acquire_timeout: Duration,
    /// How long a statement may run.
    pub statement_timeout: Duration,
    /// How long a database that is not there at the start is waited for; zero: not at all.
    pub connect_retry: Duration,
    /// Whether the schema is brought up to date at start.
    pub auto_migrate: bool,
    /// A folder of migrations in place of the embedded ones.
    pub migrations_path: Option<PathBuf>,
    /// Whether rows are kept in memory while no other server uses the database.
    pub cache: Cache,
}

/// The longest that a statement may run: what became of a call is known to the database for some minutes only.
const LONGEST_STATEMENT: Duration = Duration::from_secs(60);
/// The shortest: below that, a busy disk looks like a failure.
const SHORTEST_STATEMENT: Duration = Duration::from_millis(100);

pub(super) fn postgres(field: &Field<'_>, request_timeout: Duration) -> Result<Postgres, Error> {
    let keys = [
        "host",
        "port",
        "database",
        "user",
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "channel_binding",
        "target_session_attrs",
        "application_name",
        "max_conns",
        "min_conns",
        "max_idle_time",
        "max_lifetime",
        "health_check_period",
        "connect_timeout",
        "acquire_timeout",
        "statement_timeout",
        "connect_retry",
        "auto_migrate",
        "migrations_path",
        "cache",
    ];
    let secrets = [("url", Hidden::InUrl), ("password", Hidden::Whole)];
    let section = field.section_with(&keys, &secrets)?;
    let (target, connect_timeout) = target(field, &section)?;
    let defaults = Settings::new(target.clone());
    let max_connections =
        section.or("max_conns", defaults.max_connections, |field| count(field, MOST))?;
    let least = defaults.min_connections.min(max_connections);
    let min_connections = section.or("min_conns", least, |field| {
        let fewest = number::<u32>(field, 0, MOST)?;
        match usize::try_from(fewest) {
            Ok(fewest) if fewest <= max_connections => Ok(fewest),
            _ => Err(field.error(format!(
                "{fewest} exceeds max_conns ({max_connections}); lower it, or raise max_conns"
            ))),
        }
    })?;
    // Defaults give way to a short request_timeout; what is written must fit it.
    let within_request = |key, default: Duration| {
        section.or(key, default.min(request_timeout), |field| {
            let value = duration(field)?;
            if value > request_timeout {
                return Err(field.error(format!(
                    "{value:?} exceeds server.request_timeout ({request_timeout:?}); lower it, or raise \
                     server.request_timeout"
                )));
            }
            Ok(value)
        })
    };
    let statement_timeout = within_request("statement_timeout", defaults.statement_timeout)?;
    if let Some(field) = section.optional("statement_timeout")
        && !(SHORTEST_STATEMENT..=LONGEST_STATEMENT).contains(&statement_timeout)
    {
        return Err(field.error("out of range (100ms to 60s)"));
    }
    Ok(Postgres {
        target,
        max_connections,
        min_connections,
        max_idle_time: section.or("max_idle_time", defaults.max_idle_time, duration)?,
        max_lifetime: section.or(
            "max_lifetime",
            defaults.max_lifetime.unwrap_or_default(),
            duration_or_none,
        )?,
        health_check_period: section.or(
            "health_check_period",
            defaults.health_check_period,
            duration,
        )?,
        connect_timeout: match connect_timeout {
            Some(in_url) => {
                section.absent("connect_timeout");
                in_url
            }
            None => section.or("connect_timeout", defaults.connect_timeout, duration)?,
        },
        acquire_timeout: within_request("acquire_timeout", defaults.acquire_timeout)?,
        statement_timeout: statement_timeout.max(SHORTEST_STATEMENT),
        connect_retry: section.or("connect_retry", "60s", duration_or_none)?,
        auto_migrate: section.or("auto_migrate", defaults.auto_migrate, flag)?,
        migrations_path: section
            .maybe("migrations_path", |field| nonempty(field).map(PathBuf::from))?,
        cache: section.or("cache", cache_word(defaults.cache), cache)?,
    })
}

fn cache(field: &Field<'_>) -> Result<Cache, Error> {
    // Older YAML has `off` for false.
    if matches!(field.value(), Value::Flag(false)) {
        return Ok(Cache::Off);
    }
    word(field, &[Cache::Auto, Cache::Off].map(|cache| (cache_word(cache), cache)))
}

fn cache_word(cache: Cache) -> &'static str {
    match cache {
        Cache::Auto => "auto",
        Cache::Off => "off",
    }
}

/// The database, and how long connecting to it may take where the URL says so.
fn target(
    field: &Field<'_>,
    section: &Section<'_>,
) -> Result<(ConnectOptions, Option<Duration>), Error> {
    let url = section.secret_at("url")?;
    let text = |key| section.maybe(key, Field::text);
    // Beside a URL, what is left out is the URL's to say.
    let alone = url.is_none();
    let or = |key, default: &str| match alone {
        true => section.or(key, default, Field::text).map(Some),
        false => text(key),
    };
    let password = section.secret("password")?;
    let file = password.as_ref().and_then(Secret::file);
    let mut given = Parameters {
        password_source: file.map(|file| PasswordSource::Password(file.to_owned())),
        host: match alone {
            true => Some(section.or("host", Parameters::DEFAULT_HOST, joined)?),
            false => section.maybe("host", joined)?,
        },
        port: match alone {
            true => Some(section.or("port", u32::from(Parameters::DEFAULT_PORT), joined)?),
            false => section.maybe("port", joined)?,
        },
        database: or("database", Parameters::DEFAULT_NAME)?,
        user: or("user", Parameters::DEFAULT_NAME)?,
        password: password.as_ref().map(|it| it.reveal().to_owned()),
        application_name: or("application_name", Parameters::DEFAULT_NAME)?,
        sslmode: text("sslmode")?,
        sslrootcert: text("sslrootcert")?,
        sslcert: text("sslcert")?,
        sslkey: text("sslkey")?,
        channel_binding: or("channel_binding", Parameters::DEFAULT_CHANNEL_BINDING)?,
        target_session_attrs: or("target_session_attrs", Parameters::DEFAULT_SESSION)?,
        connect_timeout: None,
    };
    if let Some((url, text)) = &url {
        let named =
            Parameters::from_url(text.reveal()).map_err(|error| url.error(error.to_string()))?;
        if named.password.is_some() {
            given.password_source = text.file().map(|file| PasswordSource::Url(file.to_owned()));
        }
        merge(section, &mut given, named)?;
    }
    let connect_timeout = given.connect_timeout;
    let url = url.map(|(field, _)| field);
    let target = given.into_target().map_err(|wrong| {
        let place = section.optional(wrong.name);
        let message = match (&place, &url) {
            (None, Some(_)) => wrong.to_string(),
            (Some(_), _) | (None, None) => wrong.message,
        };
        place.as_ref().or(url.as_ref()).unwrap_or(field).error(message)
    })?;
    if url.is_none() {
        section.counts("sslmode", target.sslmode.word());
    }
    Ok((target, connect_timeout))
}

/// Adds what a URL names; nothing may stand in both.
fn merge(section: &Section<'_>, given: &mut Parameters, url: Parameters) -> Result<(), Error> {
    if let Some(field) = section.optional("port") {
        return Err(field.error("the port is also in url; keep one"));
    }
    let Parameters { host, port, database, user, password, .. } = url;
    given.port = port;
    let both = |key: &str| match section.optional(key) {
        Some(field) => Err(field.error(format!("{key} is also in url; keep one"))),
        None => Ok(()),
    };
    for (key, given, named) in [
        ("host", &mut given.host, host),
        ("database", &mut given.database, database),
        ("user", &mut given.user, user),
        ("password", &mut given.password, password),
        ("application_name", &mut given.application_name, url.application_name),
        ("sslmode", &mut given.sslmode, url.sslmode),
        ("sslrootcert", &mut given.sslrootcert, url.sslrootcert),
        ("sslcert", &mut given.sslcert, url.sslcert),
        ("sslkey", &mut given.sslkey, url.sslkey),
        ("channel_binding", &mut given.channel_binding, url.channel_binding),
        ("target_session_attrs", &mut given.target_session_attrs, url.target_session_attrs),
    ] {
        if named.is_some() {
            both(key)?;
            *given = named;
        }
    }
    if url.connect_timeout.is_some() {
        both("connect_timeout")?;
        given.connect_timeout = url.connect_timeout;
    }
    Ok(())
}

/// Text or numbers, one or a list of them, with commas between.
fn joined(field: &Field<'_>) -> Result<String, Error> {
    let one = |field: &Field<'_>| match field.value() {
        Value::Integer(number) => Ok(number.to_string()),
        Value::Null
        | Value::Flag(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::List(_)
        | Value::Map(_) => field.text(),
    };
    match field.value() {
        Value::List(_) => {
            Ok(field.list()?.iter().map(one).collect::<Result<Vec<_>, _>>()?.join(","))
        }
        Value::Null
        | Value::Flag(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::Map(_) => one(field),
    }
}

#[cfg(test)]
mod tests;
