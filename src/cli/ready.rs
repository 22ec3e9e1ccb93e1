//! What is said when the server is ready: the command that mounts each share.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::{Config, LogFormat, Share};
use crate::telemetry::json_line;

/// Where clients reach the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// The machine's name.
    pub(super) hostname: &'a str,
    /// Whether a port mapper knows the ports.
    pub(super) ports_are_known: bool,
}

/// The address, and a mount command a line for each share, in the form of the log.
pub(super) fn message(config: &Config, place: Place) -> String {
    let address = place.address;
    let commands = mount_commands(config, place);
    match config.logging.format {
        LogFormat::Text => {
            let commands: String =
                commands.flat_map(|command| [command, "\n".to_owned()]).collect();
            format!("ready on {address}; on a client, as root:\n{commands}")
        }
        LogFormat::Json => {
            let line = |message, fields| json_line(tracing::Level::INFO, message, fields);
            let ready = line("ready", vec![("address", address.to_string().into())]);
            let names = config.shares.iter().map(|share| share.name.as_str());
            let lines = names.zip(commands).map(|(share, command)| {
                line("mount command", vec![("share", share.into()), ("command", command.into())])
            });
            [ready].into_iter().chain(lines).collect()
        }
    }
}

/// The command that mounts each share.
pub(super) fn mount_commands(config: &Config, place: Place) -> impl Iterator<Item = String> {
    let locks = config.locks.enabled;
    config.shares.iter().map(move |share| mount_command(share, place, locks))
}

/// The same in a few words.
pub(super) fn status(config: &Config, address: SocketAddr) -> String {
    let names: Vec<_> = config.shares.iter().map(|share| share.name.as_str()).collect();
    format!("serving {} on {address}", names.join(", "))
}

/// The command of mount(8) for a Linux client (nfs(5)). A client asks a port mapper for the lock manager, and
/// for nothing else.
fn mount_command(share: &Share, place: Place, locks: bool) -> String {
    let Place { address, hostname, ports_are_known } = place;
    let host = host(share, address, hostname);
    if ports_are_known {
        let options = if locks { "" } else { "-o nolock " };
        return format!("mount -t nfs {options}{host}:{} /mnt", share.name);
    }
    let proto = if host.starts_with('[') { "tcp6" } else { "tcp" };
    let port = address.port();
    format!(
        "mount -t nfs -o vers=3,proto={proto},port={port},mountport={port},mountproto={proto},nolock \
         {host}:{} /mnt",
        share.name
    )
}

/// How clients reach the share: where every address is listened on, by the loopback address if no
/// other client may, else by the host's name.
fn host(share: &Share, address: SocketAddr, hostname: &str) -> String {
    let ip = address.ip().to_canonical();
    if !ip.is_unspecified() {
        return written(ip);
    }
    let allowed = |ip: IpAddr| share.clients.iter().any(|client| client.network.contains(&ip));
    let local = share.clients.iter().all(|client| client.network.addr().is_loopback());
    if !local {
        return hostname.to_owned();
    }
    let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
    written(if allowed(v4) || ip.is_ipv4() { v4 } else { IpAddr::V6(Ipv6Addr::LOCALHOST) })
}

fn written(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(networks: &[&str]) -> Config {
        let rules: Vec<_> =
            networks.iter().map(|each| format!("{{ network: '{each}' }}")).collect();
        let text = format!(
            "metadata: {{ stores: {{ m: {{ type: memory }} }} }}
content: {{ stores: {{ c: {{ type: memory }} }} }}
shares: [ {{ name: /e, metadata_store: m, content_store: c, clients: [ {} ] }} ]",
            rules.join(", ")
        );
        Config::parse("t.yaml", &text, &|_| None).unwrap()
    }

    fn place(address: &str) -> Place<'static> {
        Place { address: address.parse().unwrap(), hostname: "box", ports_are_known: false }
    }

    #[test]
    fn the_command_is_exact() {
        let place = place("192.168.1.2:2049");
        let text = message(&config(&["::/0"]), place);
        assert_eq!(
            text,
            "ready on 192.168.1.2:2049; on a client, as root:\nmount -t nfs -o \
             vers=3,proto=tcp,port=2049,mountport=2049,mountproto=tcp,nolock 192.168.1.2:/e /mnt\n"
        );
        let text = message(&config(&["::/0"]), Place { ports_are_known: true, ..place });
        let commands = text.lines().skip(1).collect::<Vec<_>>();
        assert_eq!(commands, ["mount -t nfs 192.168.1.2:/e /mnt"]);
        let mut config = config(&["::/0"]);
        config.locks.enabled = false;
        let text = message(&config, Place { ports_are_known: true, ..place });
        assert!(text.ends_with("\nmount -t nfs -o nolock 192.168.1.2:/e /mnt\n"), "{text}");
    }

    #[test]
    fn for_programs_every_line_is_an_object() {
        let mut config = config(&["::/0"]);
        config.logging.format = LogFormat::Json;
        let text = message(&config, place("192.168.1.2:2049"));
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [ready, mount] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&ready["message"], &ready["level"]), (&"ready".into(), &"INFO".into()));
        assert_eq!(ready["address"], "192.168.1.2:2049");
        assert!(ready["timestamp"].as_str().unwrap().ends_with('Z'), "{ready}");
        assert_eq!((&mount["message"], &mount["share"]), (&"mount command".into(), &"/e".into()));
        assert!(mount["command"].as_str().unwrap().starts_with("mount -t nfs -o vers=3,"));
    }

    #[test]
    fn the_host_is_one_that_clients_reach() {
        for (listen, networks, expected) in [
            ("0.0.0.0:1", &["127.0.0.0/8"][..], "127.0.0.1"),
            ("0.0.0.0:1", &["127.0.0.1", "10.0.0.0/8"], "box"),
            ("0.0.0.0:1", &["0.0.0.0/0"], "box"),
            ("[::]:1", &["::1"], "[::1]"),
            ("[::]:1", &["127.0.0.0/8", "::1"], "127.0.0.1"),
            ("[::1]:1", &["::/0"], "[::1]"),
        ] {
            let config = config(networks);
            let host = host(&config.shares[0], listen.parse().unwrap(), "box");
            assert_eq!(host, expected, "{listen} {networks:?}");
        }
        let command = mount_command(&config(&["::1"]).shares[0], place("[::1]:1"), true);
        assert!(command.contains("proto=tcp6,") && command.contains(" [::1]:/e "), "{command}");
    }
}
