//! URLs and parameters, right and wrong.

use std::path::Path;
use std::time::Duration;

use super::*;

fn target(url: &str) -> Result<ConnectOptions, String> {
    let parameters = Parameters::from_url(url).map_err(|error| error.to_string())?;
    parameters.into_target().map_err(|error| error.to_string())
}

fn hosts(target: &ConnectOptions) -> Vec<(&str, u16)> {
    target.hosts.iter().map(|host| (host.name.as_str(), host.port)).collect()
}

#[test]
fn a_url_becomes_a_target_and_the_password_stays_hidden() {
    let target = target("postgres://fs:s%40cr%2Fet@db.example:5433/trunk").unwrap();
    assert_eq!(hosts(&target), [("db.example", 5433)]);
    assert_eq!((target.user.as_str(), target.database.as_str()), ("fs", "trunk"));
    assert_eq!(target.password.as_deref(), Some("s@cr/et"));
    assert_eq!(target.application_name, "trunkfs");
    assert_eq!(target.session, SessionAttributes::ReadWrite);
    assert!(!format!("{target:?} {target}").contains("cr/et"));
}

#[test]
fn every_form_of_host_is_read() {
    for (url, expected) in [
        ("postgres://u@db/d", &[("db", 5432)][..]),
        ("postgresql://u@db:/d", &[("db", 5432)]),
        ("postgres://u@[::1]/d", &[("::1", 5432)]),
        ("postgres://u@[fd00::1]:6000,b/d", &[("fd00::1", 6000), ("b", 5432)]),
        ("postgres://u@a,b:1,c/d", &[("a", 5432), ("b", 1), ("c", 5432)]),
        ("postgres://u@a,b/d?port=7", &[("a", 7), ("b", 7)]),
        ("postgres://u@%2Frun%2Fpostgresql:5433/d", &[("/run/postgresql", 5433)]),
        ("postgres:///d?host=/run/postgresql&user=u", &[("/run/postgresql", 5432)]),
        ("postgres://u@/d?host=a,b&port=1,2", &[("a", 1), ("b", 2)]),
        ("postgres://u:p@127.0.0.1,127.0.0.1:5433/d", &[("127.0.0.1", 5432), ("127.0.0.1", 5433)]),
    ] {
        assert_eq!(hosts(&target(url).unwrap()), expected, "{url}");
    }
}

#[test]
fn parameters_of_a_url_are_read() {
    let url = "postgres://u@db/d?sslmode=verify-ca&sslrootcert=/etc/ca.pem&sslcert=c.pem&sslkey=k%20.pem\
               &channel_binding=require&target_session_attrs=any&application_name=a+b&connect_timeout=3";
    let parameters = Parameters::from_url(url).unwrap();
    assert_eq!(parameters.connect_timeout, Some(Duration::from_secs(3)));
    let target = parameters.into_target().unwrap();
    assert_eq!(target.sslmode, SslMode::VerifyCa);
    assert_eq!(target.roots, Roots::File("/etc/ca.pem".into()));
    assert_eq!(target.identity.unwrap().key, Path::new("k .pem"));
    assert_eq!(target.channel_binding, ChannelBinding::Require);
    assert_eq!(target.session, SessionAttributes::Any);
    assert_eq!(target.application_name, "a+b");
}

#[test]
fn without_a_word_connections_are_encrypted_unless_they_stay_on_this_machine() {
    for (host, mode) in [
        ("localhost", SslMode::Disable),
        ("127.0.0.9", SslMode::Disable),
        ("[::1]", SslMode::Disable),
        ("%2Frun", SslMode::Disable),
        ("localhost,db", SslMode::VerifyFull),
        ("10.0.0.1", SslMode::VerifyFull),
        ("db", SslMode::VerifyFull),
    ] {
        assert_eq!(target(&format!("postgres://u@{host}/d")).unwrap().sslmode, mode, "{host}");
    }
    let roots = target("postgres://u@db/d?sslmode=verify-full&sslrootcert=system").unwrap().roots;
    assert_eq!(roots, Roots::System);
}

#[test]
fn wrong_urls_say_what_is_wrong_and_never_the_password() {
    for (url, word) in [
        ("mysql://u:secret@h/d", "postgres://"),
        ("u:secret@h/d", "postgres://"),
        ("postgres://u:secret@h", "database"),
        ("postgres://u:secret@/d", "host"),
        ("postgres://db.example/d", "user"),
        ("postgres://:secret@h/d", "user"),
        ("postgres://u:sec@ret@h/d", "%40"),
        ("postgres://u:secret/x@h/d", "%2F"),
        ("postgres://u:secret?x@h/d", "%3F"),
        ("postgres://u:secret#x@h/d", "%23"),
        ("postgres://u@h/d#secret", "%23"),
        ("postgres://u:secret", "not a port"),
        ("postgres://u:secret%4@h/d", "hexadecimal"),
        ("postgres://u:secret%zz@h/d", "hexadecimal"),
        ("postgres://u:secret%ff@h/d", "UTF-8"),
        ("postgres://u:secret%00@h/d", "NUL"),
        ("postgres://u:secret@h:0/d", "not a port"),
        ("postgres://u:secret@h:70000/d", "not a port"),
        ("postgres://u:secret@::1/d", "brackets"),
        ("postgres://u:secret@[::1/d", "']'"),
        ("postgres://u:secret@a,,b/d", "empty host"),
        ("postgres://u:secret@a,a/d", "duplicate"),
        ("postgres://u:secret@a,b,c/d?port=1,2", "2 ports for 3 hosts"),
        ("postgres://u:secret@h/d?user=v", "duplicate parameter user"),
        ("postgres://u:secret@h/d?password=secret", "duplicate parameter password"),
        ("postgres://u:secret@h/d?sslmod=require", "unknown parameter sslmod"),
        ("postgres://u:secret@h/d?options=-c%20x", "ALTER ROLE"),
        ("postgres://u:secret@h/d?sslmode", "no '='"),
        ("postgres://u:secret@h/d?sslmode=prefer", "verify-full"),
        ("postgres://u:secret@h/d?sslmode=on", "not one of disable, require"),
        ("postgres://u:secret@h/d?sslmode=disable&sslrootcert=x", "sslrootcert"),
        ("postgres://u:secret@h/d?sslmode=require&sslrootcert=x", "does not verify certificates"),
        ("postgres://u:secret@h/d?sslcert=x", "sslkey"),
        ("postgres://u:secret@h/d?sslkey=x", "sslcert"),
        ("postgres://u:secret@h/d?sslmode=disable&channel_binding=require", "channel_binding"),
        ("postgres://u:secret@h/d?channel_binding=on", "not one of disable, prefer"),
        ("postgres://u:secret@h/d?target_session_attrs=standby", "needs a primary"),
        ("postgres://u:secret@h/d?connect_timeout=0", "seconds"),
        ("postgres://u:secret@h/d?connect_timeout=1&connect_timeout=2", "duplicate"),
    ] {
        let error = target(url).unwrap_err();
        assert!(error.contains(word), "{url}: {error}");
        assert!(!error.contains("secret"), "{url}: {error}");
    }
}

#[test]
fn wrong_hosts_are_named() {
    for (host, port, word) in [
        ("db:5433", None, "under port"),
        ("[::1]", None, "without brackets"),
        ("postgres://db", None, "under url"),
        ("a b", None, "\"a b\""),
        ("a,", None, "empty host"),
        ("db", Some("0"), "\"0\""),
        ("db", Some("x"), "\"x\""),
        ("db", Some("1,2"), "2 ports for 1 hosts"),
    ] {
        let parameters = Parameters {
            host: Some(host.to_owned()),
            port: port.map(str::to_owned),
            ..Parameters::default()
        };
        let error = parameters.into_target().unwrap_err().to_string();
        assert!(error.contains(word), "{host}: {error}");
    }
}
