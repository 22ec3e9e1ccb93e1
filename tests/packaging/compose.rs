//! docker-compose.yml: its syntax, and the facts that matter. No engine runs it here.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde::Deserialize;

const COMPOSE: &str = include_str!("../../docker-compose.yml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Compose {
    services: BTreeMap<String, Service>,
    configs: BTreeMap<String, Inline>,
    volumes: BTreeMap<String, Option<serde::de::IgnoredAny>>,
}

#[derive(Debug, Deserialize)]
struct Inline {
    content: String,
}

/// What is read of a service; other keys are Docker Compose's to check.
#[derive(Debug, Deserialize)]
struct Service {
    #[serde(default)]
    profiles: Vec<String>,
    image: Option<String>,
    build: Option<String>,
    healthcheck: Option<Health>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    depends_on: BTreeMap<String, Dependency>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    configs: Vec<Mounted>,
    #[serde(default)]
    ports: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Health {
    test: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    condition: String,
}

#[derive(Debug, Deserialize)]
struct Mounted {
    source: String,
    target: String,
}

fn compose() -> Compose {
    serde_saphyr::from_str(COMPOSE).unwrap()
}

#[test]
fn the_database_is_checked_and_kept() {
    let compose = compose();
    let postgres = &compose.services["postgres"];
    assert!(postgres.profiles.is_empty(), "every profile has it");
    assert!(postgres.healthcheck.as_ref().unwrap().test[1].starts_with("pg_isready"));
    assert!(postgres.volumes.iter().any(|volume| volume.ends_with(":/var/lib/postgresql/data")));
}

#[test]
fn servers_stand_behind_profiles_and_wait_for_their_database() {
    let compose = compose();
    assert_eq!(compose.services["trunkfs"].profiles, ["postgres-backend"]);
    let servers = compose.services.values().filter(|service| service.build.is_some());
    for server in servers {
        assert!(!server.profiles.is_empty(), "{server:?}");
        assert_eq!(server.depends_on["postgres"].condition, "service_healthy");
        assert!(server.volumes.iter().all(|volume| !volume.starts_with(['.', '/'])), "{server:?}");
        assert_eq!(server.ports, ["127.0.0.1:12049:12049"], "this machine alone");
        for config in &server.configs {
            assert!(compose.configs.contains_key(&config.source), "{config:?}");
            assert_eq!(config.target, "/etc/trunkfs/config.yaml", "where the program looks");
        }
    }
}

/// Its image offers no TLS, without which a server on another machine is not talked to unless that is
/// written.
#[test]
fn the_way_to_the_database_is_said_to_be_private() {
    for (name, config) in compose().configs {
        assert!(config.content.contains("host: postgres\n"), "{name} has the database");
        assert!(config.content.contains("sslmode: disable\n"), "{name}");
    }
}

#[test]
fn the_bucket_is_made_before_the_server_starts() {
    let compose = compose();
    let server = &compose.services["trunkfs-s3"];
    assert_eq!(server.profiles, ["s3-backend"]);
    assert_eq!(server.depends_on["bucket"].condition, "service_completed_successfully");
    let bucket = &compose.services["bucket"];
    assert_eq!(bucket.depends_on["minio"].condition, "service_healthy");
    assert!(compose.services["minio"].healthcheck.is_some());
    for service in ["minio", "bucket"] {
        assert_eq!(compose.services[service].profiles, ["s3-backend"]);
    }
}

#[test]
fn what_is_named_is_declared_and_images_have_a_version() {
    let compose = compose();
    for (name, service) in &compose.services {
        for volume in &service.volumes {
            let (volume, _) = volume.split_once(':').unwrap();
            assert!(compose.volumes.contains_key(volume), "{name}: {volume}");
        }
        let image = service.image.as_deref().unwrap_or_default();
        let pinned = image.split_once(':').is_some_and(|(_, tag)| tag != "latest");
        assert!(pinned || service.build.is_some(), "{name}: {image}");
        for variable in service.environment.keys() {
            assert!(
                !variable.starts_with("TRUNKFS_"),
                "{name}: {variable}: check that it is known"
            );
        }
    }
}

#[test]
fn the_configuration_of_every_server_is_right_with_its_variables() {
    let compose = compose();
    for (name, service) in compose.services.iter().filter(|(_, service)| service.build.is_some()) {
        let folder = tempfile::tempdir().unwrap();
        let [config] = &service.configs[..] else { panic!("{name} has one configuration") };
        // What Docker Compose makes of $${, and of ${ in variables.
        let text = compose.configs[&config.source].content.replace("$${", "${");
        std::fs::write(folder.path().join("config.yaml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkfs"));
        command.arg("check-config").current_dir(folder.path());
        for (variable, value) in &service.environment {
            command.env(variable, if value.starts_with("${") { "secret" } else { value });
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
    }
}

#[test]
#[ignore = "needs Docker Compose: tests/run.sh runs it where there is one"]
fn docker_compose_takes_it() {
    let services = compose().services;
    let profiles: BTreeSet<_> = services.values().flat_map(|each| &each.profiles).collect();
    assert!(!profiles.is_empty());
    for profile in profiles {
        let mut command = Command::new("docker");
        command
            .args(["compose", "--profile", profile, "config", "--quiet"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("POSTGRES_PASSWORD", "secret");
        let output = command.output().expect("docker is there");
        assert!(output.status.success(), "{profile}: {output:?}");
    }
}
