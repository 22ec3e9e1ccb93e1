//! What a failure of the database means: the only place that reads SQLSTATE (PostgreSQL manual,
//! appendix A).

use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::metadata::{Error, Source};

/// A failed call, by what can be done about it.
#[derive(Debug)]
pub(super) enum PostgresError {
    /// Nothing was applied, and a repeat may go through: a deadlock, a lock waited for too long.
    Transient(Source),
    /// The connection or the server is gone. Whether a mutation was applied is not known.
    Lost(Source),
    /// Nothing was applied, and nothing will be on this connection: its writer slot has another epoch, or
    /// what it prepared does not hold any more. A new one may do.
    Retired(Source),
    /// Nothing was applied: another instance holds the lease, or this one has not joined.
    NotJoined(Source),
    /// Nothing was applied: the server takes no changes now, or did not when the connection was made.
    ReadOnly(Source),
    /// Nothing was applied, and a repeat would not help.
    Refused(Error),
}

/// The SQLSTATE that `finish` raises for a writer that was fenced.
const FENCED: &str = "TF001";
/// The SQLSTATE that `apply_rows` raises where the batch before was not applied.
const OUT_OF_ORDER: &str = "TF005";
/// The SQLSTATE that `share_lease` raises for an instance that may change nothing now.
const NOT_JOINED: &str = "TF004";

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(state) = error.code() else {
            // The socket closed or broke, or what came over it made no sense.
            return Self::Lost(Box::new(error));
        };
        let class = state.code().get(..2).unwrap_or_default();
        match *state {
            SqlState::T_R_SERIALIZATION_FAILURE
            | SqlState::T_R_DEADLOCK_DETECTED
            | SqlState::LOCK_NOT_AVAILABLE
            | SqlState::QUERY_CANCELED => Self::Transient(Box::new(error)),
            // A statement that was prepared before a migration changed what it names.
            SqlState::FEATURE_NOT_SUPPORTED if says_cached_plan(&error) => {
                Self::Retired(Box::new(error))
            }
            SqlState::READ_ONLY_SQL_TRANSACTION => Self::ReadOnly(Box::new(error)),
            SqlState::ADMIN_SHUTDOWN
            | SqlState::CRASH_SHUTDOWN
            | SqlState::CANNOT_CONNECT_NOW
            | SqlState::IDLE_SESSION_TIMEOUT
            | SqlState::TOO_MANY_CONNECTIONS => Self::Lost(Box::new(error)),
            SqlState::DISK_FULL => Self::Refused(Error::NoSpace(Box::new(error))),
            SqlState::OUT_OF_MEMORY
            | SqlState::CONFIGURATION_LIMIT_EXCEEDED
            | SqlState::INSUFFICIENT_RESOURCES => {
                Self::Refused(Error::Unavailable(Box::new(error)))
            }
            SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => {
                Self::Refused(Error::Damaged(error.to_string()))
            }
            _ if [FENCED, OUT_OF_ORDER].contains(&state.code()) => Self::Retired(Box::new(error)),
            _ if state.code() == NOT_JOINED => Self::NotJoined(Box::new(error)),
            _ if class == "08" => Self::Lost(Box::new(error)),
            _ => Self::Refused(Error::Backend(Box::new(error))),
        }
    }
}

fn says_cached_plan(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| error.message().starts_with("cached plan"))
}

impl PostgresError {
    /// The failure of a call that was sent. An error that ended the session says nothing of whether the call
    /// was applied before.
    pub(super) fn in_flight(error: tokio_postgres::Error) -> Self {
        let severity = error.as_db_error().and_then(DbError::parsed_severity);
        match severity {
            Some(Severity::Fatal | Severity::Panic) => Self::Lost(Box::new(error)),
            _ => Self::from(error),
        }
    }

    /// Whether the connection is of no more use.
    pub(super) fn ends_connection(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Retired(_) => true,
            Self::Transient(_) | Self::NotJoined(_) | Self::ReadOnly(_) | Self::Refused(_) => false,
        }
    }

    /// The error of a call that is not repeated. Only for what certainly changed nothing.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Transient(source)
            | Self::Lost(source)
            | Self::Retired(source)
            | Self::NotJoined(source) => Error::Unavailable(source),
            Self::ReadOnly(source) => Error::ReadOnly(source),
            Self::Refused(error) => error,
        }
    }
}

/// The constraint that a row breaks by being there twice.
pub(super) fn duplicate_of(error: &tokio_postgres::Error) -> Option<&str> {
    let error = error.as_db_error()?;
    (*error.code() == SqlState::UNIQUE_VIOLATION).then(|| error.constraint().unwrap_or("unnamed"))
}

/// An error of the start, where nothing is repeated here.
pub(super) fn fatal(error: tokio_postgres::Error) -> Error {
    PostgresError::in_flight(error).into_error()
}

/// Why a server refused a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// The password is wrong, or the server will not say that the role is missing.
    WrongPassword,
    /// No such role.
    NoRole,
    /// No such database.
    NoDatabase,
    /// The server's rules of admission have no place for it.
    NotAdmitted,
    /// The role may not connect to the database.
    NoPrivilege,
    /// As many connections as there may be.
    TooMany,
    /// It is starting, stopping, or recovering.
    NotNow,
    /// Anything else, with its SQLSTATE.
    Other(String),
}

/// Why a login failed. The server's messages may be in any language, its routines' names are not.
pub(super) fn login(error: &tokio_postgres::Error) -> Login {
    let Some(error) = error.as_db_error() else { return Login::Other(String::new()) };
    match *error.code() {
        SqlState::INVALID_PASSWORD => Login::WrongPassword,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION => match error.routine() {
            Some("InitializeSessionUserId") => Login::NoRole,
            _ => Login::NotAdmitted,
        },
        SqlState::INVALID_CATALOG_NAME => Login::NoDatabase,
        SqlState::INSUFFICIENT_PRIVILEGE => Login::NoPrivilege,
        SqlState::TOO_MANY_CONNECTIONS => Login::TooMany,
        SqlState::CANNOT_CONNECT_NOW | SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => {
            Login::NotNow
        }
        ref other => Login::Other(other.code().to_owned()),
    }
}

/// What the server said, without the driver's words around it.
pub(super) fn said(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

/// What to do about a migration that failed so.
pub(super) fn remedy(error: &tokio_postgres::Error) -> Option<&'static str> {
    match *error.code()? {
        SqlState::INSUFFICIENT_PRIVILEGE => {
            Some("run it as the owner of the database, or as a role with CREATE on the schema")
        }
        SqlState::LOCK_NOT_AVAILABLE => {
            Some("other sessions hold locks on the tables (pg_dump?); retry when they have ended")
        }
        _ => None,
    }
}
