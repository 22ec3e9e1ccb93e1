//! The part of kustomize that the manifests use: resources, components, strategic merge patches by kind or
//! by name, and ConfigMaps of files. `kubernetes::kustomize_makes_the_same` holds it against the program.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// packaging/kubernetes.
pub(super) fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/kubernetes")
}

/// A file of one document.
pub(super) fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The texts of a list, which may not be there.
pub(super) fn texts(list: &Value) -> Vec<&str> {
    list.as_array().map_or_else(Vec::new, |all| all.iter().map(|it| it.as_str().unwrap()).collect())
}

/// The objects of a kustomization, and every file that it reads.
#[derive(Debug, Default)]
pub(super) struct Built {
    pub(super) objects: Vec<Value>,
    pub(super) files: Vec<PathBuf>,
}

/// What `kustomize build FOLDER` makes.
pub(super) fn build(folder: &Path) -> Built {
    let mut built = Built::default();
    add(folder, &mut built);
    built
}

fn add(folder: &Path, built: &mut Built) {
    let path = folder.join("kustomization.yaml");
    let kustomization = read(&path);
    built.files.push(path);
    for key in kustomization.as_object().unwrap().keys() {
        const KNOWN: [&str; 6] =
            ["apiVersion", "kind", "resources", "components", "configMapGenerator", "patches"];
        assert!(KNOWN.contains(&key.as_str()), "{}: {key}", folder.display());
    }
    let mut file = |name: &str| {
        let path = folder.join(name);
        built.files.push(path.clone());
        path
    };
    let mut objects = Vec::new();
    for resource in texts(&kustomization["resources"]) {
        objects.push(read(&file(resource)));
    }
    for map in kustomization["configMapGenerator"].as_array().into_iter().flatten() {
        let mut data = Map::new();
        for name in texts(&map["files"]) {
            data.insert(name.to_owned(), std::fs::read_to_string(file(name)).unwrap().into());
        }
        let metadata = json!({ "name": map["name"] });
        objects.push(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data
        }));
    }
    built.objects.extend(objects);
    for component in texts(&kustomization["components"]) {
        add(&folder.join(component), built);
    }
    for patch in kustomization["patches"].as_array().into_iter().flatten() {
        let path = folder.join(patch["path"].as_str().unwrap());
        let change = read(&path);
        built.files.push(path.clone());
        let (kinds, name) = match patch["target"]["kind"].as_str() {
            Some(kinds) => (kinds, None),
            None => (change["kind"].as_str().unwrap(), Some(&change["metadata"]["name"])),
        };
        let mut met = false;
        for object in &mut built.objects {
            let kind = object["kind"].as_str().unwrap();
            let named = name.is_none_or(|name| *name == object["metadata"]["name"]);
            if named && kinds.split('|').any(|each| each == kind) {
                merge(&mut object["spec"], &change["spec"]);
                met = true;
            }
        }
        assert!(met, "{}: a patch of nothing", path.display());
    }
}

/// A strategic merge: objects by their keys, lists of objects by the key that names their items, and what
/// else there is as a whole.
fn merge(target: &mut Value, change: &Value) {
    match (target, change) {
        (Value::Object(target), Value::Object(change)) => {
            for (key, value) in change {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(target), Value::Array(change)) if name_of(change.first()).is_some() => {
            for item in change {
                match target.iter_mut().find(|it| name_of(Some(it)) == name_of(Some(item))) {
                    Some(found) => merge(found, item),
                    None => target.push(item.clone()),
                }
            }
        }
        (target, change) => *target = change.clone(),
    }
}

/// What an item of a list is known by.
fn name_of(item: Option<&Value>) -> Option<&str> {
    let item = item?;
    ["mountPath", "name"].iter().find_map(|key| item.get(key)?.as_str())
}
