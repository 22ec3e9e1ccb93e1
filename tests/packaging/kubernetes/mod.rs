//! The manifests of packaging/kubernetes: what the API server would refuse, and what it would take and
//! nobody wants. packaging/kubernetes/check.sh holds them against the schemas of Kubernetes itself.

mod kustomize;
mod shapes;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use trunkfs::config::DEFAULT_PORT;
use trunkfs::daemon::AFTER_DRAIN;

use self::kustomize::{build, manifests, read, texts};

const DOCKERFILE: &str = include_str!("../../../Dockerfile");
const PAGE: &str = include_str!("../../../docs/packages.md");
/// What an administrator applies.
const OVERLAYS: [&str; 3] = ["single", "postgres/servers", "postgres/migrate"];
/// Those of them that serve.
const SERVERS: [&str; 2] = ["single", "postgres/servers"];
/// Where the pods have the keys of the Secret.
const SECRETS: &str = "/run/secrets/trunkfs/";

fn overlay(name: &str) -> Vec<Value> {
    build(&manifests().join("overlays").join(name)).objects
}

/// The object of a kind.
fn only<'a>(objects: &'a [Value], kinds: &[&str]) -> &'a Value {
    let found: Vec<_> =
        objects.iter().filter(|it| kinds.iter().any(|kind| it["kind"] == *kind)).collect();
    let [object] = found[..] else { panic!("one of {kinds:?}: {found:?}") };
    object
}

fn workload(objects: &[Value]) -> &Value {
    only(objects, &["Deployment", "StatefulSet", "Job"])
}

/// The pod of a workload: its labels and its spec.
fn pod(objects: &[Value]) -> (&Value, &Value) {
    let template = &workload(objects)["spec"]["template"];
    (&template["metadata"]["labels"], &template["spec"])
}

fn container(objects: &[Value]) -> &Value {
    let [container] = &pod(objects).1["containers"].as_array().unwrap()[..] else {
        panic!("one container")
    };
    container
}

fn port(objects: &[Value], name: &Value) -> u64 {
    let ports = container(objects)["ports"].as_array().unwrap();
    let found = ports.iter().find(|port| port["name"] == *name);
    found.unwrap_or_else(|| panic!("no port {name}"))["containerPort"].as_u64().unwrap()
}

/// The configuration of the ConfigMap.
fn config(objects: &[Value]) -> &str {
    only(objects, &["ConfigMap"])["data"]["config.yaml"].as_str().unwrap()
}

#[test]
fn every_file_is_used_and_has_the_fields_of_its_kind() {
    let mut folders = vec![manifests()];
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "yaml") {
                found.insert(path.canonicalize().unwrap());
            }
        }
    }
    let mut used = BTreeSet::new();
    for name in OVERLAYS {
        let built = build(&manifests().join("overlays").join(name));
        used.extend(built.files.iter().map(|path| path.canonicalize().unwrap()));
        let mut names = BTreeSet::new();
        for object in &built.objects {
            shapes::check(object);
            assert!(names.insert((object["kind"].as_str(), object["metadata"]["name"].as_str())));
        }
    }
    assert_eq!(found, used);
}

#[test]
fn mistakes_in_fields_are_seen() {
    let good = overlay("single");
    for (from, to) in [
        ("periodSeconds\":10", "perodSeconds\":10"),
        ("periodSeconds\":10", "periodSeconds\":\"10\""),
        ("apps/v1", "apps/v1beta1"),
        ("\"automountServiceAccountToken\":false,", "\"readOnlyRootFilesystem\":true,"),
    ] {
        let text = serde_json::to_string(workload(&good)).unwrap();
        assert!(text.contains(from), "{from}");
        let wrong: Value = serde_json::from_str(&text.replacen(from, to, 1)).unwrap();
        assert!(std::panic::catch_unwind(|| shapes::check(&wrong)).is_err(), "{to}");
    }
}

#[test]
fn selectors_meet_the_pods_and_nothing_else() {
    for name in OVERLAYS {
        let objects = overlay(name);
        let labels = pod(&objects).0;
        let own = &workload(&objects)["spec"]["selector"]["matchLabels"];
        if workload(&objects)["kind"] != "Job" {
            assert_eq!(own, labels, "{name}");
        }
        for object in &objects {
            let selector = match object["kind"].as_str().unwrap() {
                "Service" => &object["spec"]["selector"],
                "NetworkPolicy" => &object["spec"]["podSelector"]["matchLabels"],
                "PodDisruptionBudget" => &object["spec"]["selector"]["matchLabels"],
                _ => continue,
            };
            assert_eq!(selector, labels, "{name}: {object}");
        }
        for spread in pod(&objects).1["topologySpreadConstraints"].as_array().into_iter().flatten()
        {
            assert_eq!(spread["labelSelector"]["matchLabels"], *labels);
        }
    }
    // No server, so that no client comes to it and no policy shuts it off.
    assert_ne!(pod(&overlay("postgres/migrate")).0, pod(&overlay("postgres/servers")).0);
}

#[test]
fn ports_probes_and_volumes_are_there() {
    for name in SERVERS {
        let objects = overlay(name);
        assert_eq!(port(&objects, &"nfs".into()), u64::from(DEFAULT_PORT));
        let service = &only(&objects, &["Service"])["spec"];
        assert_eq!(service["sessionAffinity"], "ClientIP");
        for offered in service["ports"].as_array().unwrap() {
            assert_eq!(offered["port"], port(&objects, &offered["targetPort"]));
        }
        for rule in only(&objects, &["NetworkPolicy"])["spec"]["ingress"].as_array().unwrap() {
            for admitted in rule["ports"].as_array().unwrap() {
                port(&objects, &admitted["port"]);
            }
        }
        for (probe, path) in
            [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
        {
            let asked = &container(&objects)[probe]["httpGet"];
            assert_eq!(asked["path"], path, "{name}");
            assert_eq!(asked["port"], "admin", "{name}");
        }
        // The listeners of the configuration.
        let config: Value = serde_saphyr::from_str(config(&objects)).unwrap();
        for (section, named) in [("server", "nfs"), ("admin", "admin")] {
            let listen = format!("0.0.0.0:{}", port(&objects, &named.into()));
            assert_eq!(config[section]["listen"], listen, "{name}");
        }
        let grace = pod(&objects).1["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(
            grace
                > trunkfs::net::ServerSettings::default().drain_timeout.as_secs()
                    + AFTER_DRAIN.as_secs()
        );
    }
    for name in OVERLAYS {
        let objects = overlay(name);
        let of_claims = workload(&objects)["spec"]["volumeClaimTemplates"].as_array();
        let mut there: BTreeSet<_> = of_claims
            .into_iter()
            .flatten()
            .map(|claim| claim["metadata"]["name"].clone().to_string())
            .collect();
        for volume in pod(&objects).1["volumes"].as_array().unwrap() {
            there.insert(volume["name"].to_string());
            let map = &volume["configMap"]["name"];
            assert!(map.is_null() || only(&objects, &["ConfigMap"])["metadata"]["name"] == *map);
        }
        let mounts = container(&objects)["volumeMounts"].as_array().unwrap();
        let mounted = mounts.iter().map(|mount| mount["name"].to_string()).collect();
        assert_eq!(there, mounted, "{name}");
    }
}

#[test]
fn pods_are_restricted_and_run_the_image() {
    for name in OVERLAYS {
        let objects = overlay(name);
        let (_, pod) = pod(&objects);
        // "restricted" of the Pod Security Standards.
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let container = container(&objects);
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
        assert_eq!(texts(&container["securityContext"]["capabilities"]["drop"]), ["ALL"]);
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        let user = &pod["securityContext"];
        let user = format!("\nUSER {}:{}\n", user["runAsUser"], user["fsGroup"]);
        assert!(DOCKERFILE.contains(&user), "{user}");
        assert_eq!(container["image"], concat!("trunkfs:", env!("CARGO_PKG_VERSION")));
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkfs"));
        let output = command.args(texts(&container["args"])).arg("--help").output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
    }
}

#[test]
fn disruptions_leave_servers() {
    let objects = overlay("postgres/servers");
    assert_eq!(workload(&objects)["spec"]["replicas"], 3);
    assert_eq!(workload(&objects)["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    assert_eq!(only(&objects, &["PodDisruptionBudget"])["spec"]["maxUnavailable"], 1);
    let single = overlay("single");
    assert_eq!(workload(&single)["spec"]["replicas"], 1, "SQLite has one server");
    assert_eq!(workload(&single)["kind"], "StatefulSet", "which never runs twice");
}

#[test]
fn the_configurations_are_right_and_admit_whom_the_policy_admits() {
    for name in OVERLAYS {
        let objects = overlay(name);
        let secret = &pod(&objects).1["volumes"].as_array().unwrap()[1]["secret"]["secretName"];
        assert_eq!(*secret, "trunkfs");
        let folder = tempfile::tempdir().unwrap();
        let text = config(&objects);
        for key in text.split(SECRETS).skip(1).map(|rest| rest.lines().next().unwrap()) {
            std::fs::write(folder.path().join(key), "0123456789abcdef").unwrap();
            let made = [format!("--from-literal={key}="), format!("--from-file={key}=")];
            assert!(made.iter().any(|made| PAGE.contains(made)), "docs/packages.md makes no {key}");
        }
        let file = folder.path().join("config.yaml");
        let here = format!("{}/", folder.path().display());
        std::fs::write(&file, text.replace(SECRETS, &here)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkfs"));
        let output = command.arg("check-config").arg("--config").arg(&file).output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");

        let config: Value = serde_saphyr::from_str(text).unwrap();
        assert_eq!(config["locks"]["enabled"], false, "no client can be called");
        assert!(text.contains("\n  portmap: off\n"), "{name}: nobody may listen on port 111 there");
        if !SERVERS.contains(&name) {
            continue;
        }
        let clients = config["shares"][0]["clients"].as_array().unwrap();
        let clients: Vec<_> = clients.iter().map(|client| &client["network"]).collect();
        let rule = &only(&objects, &["NetworkPolicy"])["spec"]["ingress"][0]["from"];
        let admitted: Vec<_> =
            rule.as_array().unwrap().iter().map(|from| &from["ipBlock"]["cidr"]).collect();
        assert_eq!(clients, admitted, "{name}");
    }
    let settings = |name| config(&overlay(name)).to_owned();
    assert_eq!(settings("postgres/servers"), settings("postgres/migrate"));
}

#[test]
#[ignore = "needs kustomize: tests/run.sh runs it where there is one"]
fn kustomize_makes_the_same() {
    for name in OVERLAYS {
        let folder: PathBuf = manifests().join("overlays").join(name);
        let output = Command::new("kustomize").arg("build").arg(&folder).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut made: Vec<Value> =
            text.split("\n---\n").map(|object| serde_saphyr::from_str(object).unwrap()).collect();
        // The name of a ConfigMap that is generated ends with a sum of it.
        let map = only(&made, &["ConfigMap"])["metadata"]["name"].as_str().unwrap().to_owned();
        let text = serde_json::to_string(&made).unwrap().replace(&map, "trunkfs");
        made = serde_json::from_str(&text).unwrap();
        let mut own = overlay(name);
        for object in own.iter_mut().chain(&mut made) {
            // 0440, which YAML 1.2 reads as a decimal.
            let volumes = object.pointer_mut("/spec/template/spec/volumes");
            for volume in volumes.and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(secret) = volume["secret"].as_object_mut() {
                    secret.remove("defaultMode");
                }
            }
        }
        for list in [&mut own, &mut made] {
            list.sort_by_key(|it| it["kind"].to_string());
        }
        assert_eq!(sorted(&own), sorted(&made), "{name}");
    }
}

/// Lists in an order of their own: kustomize merges in another one.
fn sorted(objects: &[Value]) -> Vec<Value> {
    fn sort(value: &mut Value) {
        match value {
            Value::Array(items) => {
                items.iter_mut().for_each(sort);
                items.sort_by_key(ToString::to_string);
            }
            Value::Object(fields) => fields.values_mut().for_each(sort),
            _ => {}
        }
    }
    let mut objects = objects.to_vec();
    objects.iter_mut().for_each(sort);
    objects
}

/// A manifest that Kubernetes reads as YAML 1.1 does.
#[test]
fn the_mode_of_secrets_is_octal() {
    let path: PathBuf = manifests().join("base/pod/pod.yaml");
    let text = std::fs::read_to_string(Path::new(&path)).unwrap();
    assert!(text.contains("defaultMode: 0440\n"), "the group of the pod reads, and nobody else");
    assert!(read(&path)["spec"].is_object());
}
