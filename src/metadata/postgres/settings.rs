//! Where the database is, and how the store uses it.

use std::fmt;
use std::time::Duration;

use tokio_postgres::config::Host;

use crate::metadata::Error;

/// How to reach the database.
#[derive(Clone)]
pub struct Settings {
    /// Host name, address, or the directory of a Unix socket.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database name.
    pub database: String,
    /// Role.
    pub user: String,
    /// Its password, where the server asks for one.
    pub password: Option<String>,
    /// The most connections at a time; few do more than many.
    pub max_connections: usize,
    /// Whether a schema that is behind is brought up to date when the store opens.
    pub auto_migrate: bool,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
}

impl Settings {
    /// The most connections where nothing else is said.
    pub const DEFAULT_CONNECTIONS: usize = 8;
    /// How long an attempt to connect takes where nothing else is said.
    pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

    /// Settings from a connection URL of the form `postgres://user:password@host:port/database`
    /// (PostgreSQL manual 34.1.1.2) with defaults for the rest.
    ///
    /// # Errors
    /// [`Error::Backend`] where the URL has another form, or names no user or database.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        let config: tokio_postgres::Config =
            url.parse().map_err(|error: tokio_postgres::Error| Error::Backend(error.into()))?;
        let missing = |what: &str| Error::Backend(format!("the database URL has no {what}").into());
        let host = match config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => return Err(missing("host")),
        };
        Ok(Self {
            host,
            port: config.get_ports().first().copied().unwrap_or(5432),
            database: config.get_dbname().ok_or_else(|| missing("database"))?.to_owned(),
            user: config.get_user().ok_or_else(|| missing("user"))?.to_owned(),
            password: config
                .get_password()
                .map(|password| String::from_utf8_lossy(password).into_owned()),
            max_connections: Self::DEFAULT_CONNECTIONS,
            auto_migrate: true,
            connect_timeout: Self::DEFAULT_CONNECT_TIMEOUT,
        })
    }

    /// The driver's form of it.
    pub(super) fn to_driver(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .dbname(&self.database)
            .user(&self.user)
            .application_name("trunkfs")
            .connect_timeout(self.connect_timeout)
            .keepalives_idle(Duration::from_secs(15))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(30));
        if let Some(password) = &self.password {
            config.password(password);
        }
        config
    }
}

/// Never shows the password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .field("user", &self.user)
            .field("max_connections", &self.max_connections)
            .field("auto_migrate", &self.auto_migrate)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_settings_and_the_password_stays_hidden() {
        let settings = Settings::from_url("postgres://fs:secret@db.example:5433/trunk").unwrap();
        assert_eq!(settings.host, "db.example");
        assert_eq!(settings.port, 5433);
        assert_eq!(settings.database, "trunk");
        assert_eq!(settings.user, "fs");
        assert_eq!(settings.password.as_deref(), Some("secret"));
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn a_url_without_a_user_or_host_is_refused() {
        assert!(Settings::from_url("postgres://db.example/trunk").is_err());
        assert!(Settings::from_url("postgres:///trunk?user=fs").is_err());
        assert!(Settings::from_url("mysql://x").is_err());
    }
}
