//! Connection URLs (PostgreSQL manual 34.1.1.2):
//! `postgres://user:password@host:port,…/database?parameter=value&…`.

use std::time::Duration;

use super::parameters::Parameters;

/// What is wrong with a URL. Never shows what may be a part of a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(String);

/// The form to write, for errors.
const FORM: &str = "postgres://user:password@host:port/database?sslmode=verify-full";
/// The parameters that a URL may have, with their names in the configuration.
const KNOWN: &[&str] = &[
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "connect_timeout",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "channel_binding",
    "target_session_attrs",
];

fn wrong(message: impl Into<String>) -> UrlError {
    UrlError(message.into())
}

pub(super) fn parse(text: &str) -> Result<Parameters, UrlError> {
    let rest = text
        .strip_prefix("postgres://")
        .or_else(|| text.strip_prefix("postgresql://"))
        .ok_or_else(|| wrong(format!("the URL does not start with postgres://; write {FORM}")))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    // Such a character inside a password would cut it in two, and a part would be taken for a host.
    if rest.contains('@') || authority.matches('@').count() > 1 {
        return Err(wrong(
            "unexpected '@'; in a user or password write '@' as %40, '/' as %2F, '?' as %3F and '#' as %23",
        ));
    }
    if rest.contains('#') {
        return Err(wrong("unexpected '#'; write it as %23"));
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut found = Parameters::default();
    let hosts = match authority.split_once('@') {
        Some((login, hosts)) => {
            let (user, password) = match login.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (login, None),
            };
            found.user = nonempty(decoded(user, "the user")?);
            found.password = password.map(|it| decoded(it, "the password")).transpose()?;
            hosts
        }
        None => authority,
    };
    read_hosts(hosts, &mut found)?;
    found.database = nonempty(decoded(path.strip_prefix('/').unwrap_or(path), "the database")?);
    read_query(query, &mut found)?;
    for (what, value) in
        [("host", &found.host), ("user", &found.user), ("database", &found.database)]
    {
        if value.is_none() {
            return Err(wrong(format!("the URL has no {what}; write {FORM}")));
        }
    }
    Ok(found)
}

fn nonempty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// `host:port,[address]:port,…`
fn read_hosts(text: &str, found: &mut Parameters) -> Result<(), UrlError> {
    if text.is_empty() {
        return Ok(());
    }
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for each in text.split(',') {
        let (name, port) = if let Some(inside) = each.strip_prefix('[') {
            let (address, after) = inside
                .split_once(']')
                .ok_or_else(|| wrong("an address has a '[' without a ']'"))?;
            if after.is_empty() {
                (address, None)
            } else {
                let port = after.strip_prefix(':');
                (address, Some(port.ok_or_else(|| wrong("only ':' and a port may follow a ']'"))?))
            }
        } else {
            match each.split_once(':') {
                Some((_, more)) if more.contains(':') => {
                    return Err(wrong("a host has several ':'; put an IPv6 address in brackets"));
                }
                Some((name, port)) => (name, Some(port)),
                None => (each, None),
            }
        };
        let name = decoded(name, "a host")?;
        if name.contains(',') {
            return Err(wrong("a host contains an encoded comma; separate hosts by plain commas"));
        }
        if name.is_empty() {
            return Err(wrong(format!("empty host; write {FORM}")));
        }
        let port = port.map(|it| decoded(it, "a port")).transpose()?.and_then(nonempty);
        if port.as_ref().is_some_and(|port| port.parse::<std::num::NonZeroU16>().is_err()) {
            // Not shown: it may be a password whose '@' is missing.
            return Err(wrong(
                "the text after a host's ':' is not a port, an integer from 1 to 65535 (a password ends with \
                 '@')",
            ));
        }
        names.push(name);
        ports.push(port);
    }
    found.host = Some(names.join(","));
    if ports.iter().any(Option::is_some) {
        let default = Parameters::DEFAULT_PORT.to_string();
        let ports = ports.into_iter().map(|it| it.unwrap_or_else(|| default.clone()));
        found.port = Some(ports.collect::<Vec<_>>().join(","));
    }
    Ok(())
}

fn read_query(query: &str, found: &mut Parameters) -> Result<(), UrlError> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| wrong("a parameter has no '=' and no value"))?;
        let name = decoded(name, "a parameter's name")?;
        let known = KNOWN.iter().find(|known| **known == name);
        let Some(name) = known else {
            return Err(unknown(&name));
        };
        let value = decoded(value, name)?;
        let place = match *name {
            "host" => &mut found.host,
            "port" => &mut found.port,
            "dbname" => &mut found.database,
            "user" => &mut found.user,
            "password" => &mut found.password,
            "application_name" => &mut found.application_name,
            "sslmode" => &mut found.sslmode,
            "sslrootcert" => &mut found.sslrootcert,
            "sslcert" => &mut found.sslcert,
            "sslkey" => &mut found.sslkey,
            "channel_binding" => &mut found.channel_binding,
            "target_session_attrs" => &mut found.target_session_attrs,
            _ => {
                if found.connect_timeout.replace(seconds(&value)?).is_some() {
                    return Err(wrong("duplicate parameter connect_timeout; write it once"));
                }
                continue;
            }
        };
        if place.replace(value).is_some() {
            return Err(wrong(format!("duplicate parameter {name}; write it once")));
        }
    }
    Ok(())
}

fn unknown(name: &str) -> UrlError {
    let known = KNOWN.join(", ");
    if name == "options" {
        return wrong(
            "the parameter options is not supported; set the defaults of the role in the database instead \
             (ALTER ROLE … SET …)",
        );
    }
    if name.len() > 40 || !name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_') {
        return wrong(format!("unknown parameter; known parameters: {known}"));
    }
    wrong(format!("unknown parameter {name}; known parameters: {known}"))
}

/// Whole seconds, as libpq counts; its 0, no limit at all, is refused.
fn seconds(text: &str) -> Result<Duration, UrlError> {
    let seconds = text.parse().ok().filter(|seconds| (1..=86_400).contains(seconds));
    let remedy = "write an integer of seconds from 1 to 86400";
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| wrong(format!("connect_timeout is not a number of seconds; {remedy}")))
}

/// Percent-decoding (RFC 3986 section 2.1); a '+' is a '+'.
fn decoded(text: &str, what: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else {
            return Err(percent(what));
        };
        let digit = |it: &u8| char::from(*it).to_digit(16).and_then(|it| u8::try_from(it).ok());
        let (Some(high), Some(low)) = (digit(high), digit(low)) else {
            return Err(percent(what));
        };
        bytes.push(high << 4 | low);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| wrong(format!("{what} is not UTF-8 after decoding")))
}

fn percent(what: &str) -> UrlError {
    wrong(format!("{what} has a '%' without two hexadecimal digits; write a '%' as %25"))
}
