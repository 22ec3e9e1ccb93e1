//! The fields of the manifests, from the OpenAPI document of Kubernetes 1.37: where a field may stand, and
//! of what type it is. It has what the manifests use; packaging/kubernetes/check.sh uses the whole document.

use serde_json::Value;

/// What a field holds.
#[derive(Debug, Clone, Copy)]
enum Is {
    Text,
    Whole,
    Flag,
    /// Permissions in octal, which YAML 1.2 reads as another number than Kubernetes.
    Mode,
    /// A port by its number or its name, or a number of pods.
    WholeOrText,
    Texts,
    /// Texts under any key.
    Map,
    /// Numbers or texts under any key.
    Quantities,
    /// An object with these fields.
    Object(&'static [(&'static str, Is)]),
    /// A list of such objects.
    List(&'static [(&'static str, Is)]),
}
use Is::{Flag, List, Map, Mode, Object, Quantities, Text, Texts, Whole, WholeOrText};

type Fields = &'static [(&'static str, Is)];

const METADATA: Is = Object(&[("name", Text), ("labels", Map)]);
const SELECTOR: Is = Object(&[("matchLabels", Map)]);
const PORT: Fields = &[("port", WholeOrText), ("protocol", Text)];
const PROBE: Is = Object(&[
    ("httpGet", Object(&[("path", Text), ("port", WholeOrText)])),
    ("periodSeconds", Whole),
    ("timeoutSeconds", Whole),
    ("failureThreshold", Whole),
]);
const CONTAINER: Fields = &[
    ("name", Text),
    ("image", Text),
    ("args", Texts),
    ("ports", List(&[("name", Text), ("containerPort", Whole)])),
    ("startupProbe", PROBE),
    ("livenessProbe", PROBE),
    ("readinessProbe", PROBE),
    ("resources", Object(&[("requests", Quantities), ("limits", Quantities)])),
    (
        "securityContext",
        Object(&[
            ("allowPrivilegeEscalation", Flag),
            ("readOnlyRootFilesystem", Flag),
            ("capabilities", Object(&[("drop", Texts)])),
        ]),
    ),
    ("volumeMounts", List(&[("name", Text), ("mountPath", Text), ("readOnly", Flag)])),
];
const POD: Is = Object(&[
    ("automountServiceAccountToken", Flag),
    ("enableServiceLinks", Flag),
    ("restartPolicy", Text),
    ("terminationGracePeriodSeconds", Whole),
    (
        "securityContext",
        Object(&[
            ("runAsNonRoot", Flag),
            ("runAsUser", Whole),
            ("runAsGroup", Whole),
            ("fsGroup", Whole),
            ("fsGroupChangePolicy", Text),
            ("seccompProfile", Object(&[("type", Text)])),
        ]),
    ),
    (
        "topologySpreadConstraints",
        List(&[
            ("maxSkew", Whole),
            ("topologyKey", Text),
            ("whenUnsatisfiable", Text),
            ("labelSelector", SELECTOR),
        ]),
    ),
    ("containers", List(CONTAINER)),
    (
        "volumes",
        List(&[
            ("name", Text),
            ("configMap", Object(&[("name", Text)])),
            ("secret", Object(&[("secretName", Text), ("defaultMode", Mode)])),
        ]),
    ),
]);
const TEMPLATE: Is = Object(&[("metadata", Object(&[("labels", Map)])), ("spec", POD)]);
const DEPLOYMENT: Is = Object(&[
    ("replicas", Whole),
    ("selector", SELECTOR),
    ("template", TEMPLATE),
    (
        "strategy",
        Object(&[
            ("type", Text),
            (
                "rollingUpdate",
                Object(&[("maxSurge", WholeOrText), ("maxUnavailable", WholeOrText)]),
            ),
        ]),
    ),
]);
const STATEFUL_SET: Is = Object(&[
    ("serviceName", Text),
    ("replicas", Whole),
    ("selector", SELECTOR),
    ("template", TEMPLATE),
    (
        "volumeClaimTemplates",
        List(&[
            ("metadata", METADATA),
            (
                "spec",
                Object(&[
                    ("accessModes", Texts),
                    ("resources", Object(&[("requests", Quantities)])),
                ]),
            ),
        ]),
    ),
]);
const JOB: Is = Object(&[
    ("backoffLimit", Whole),
    ("activeDeadlineSeconds", Whole),
    ("ttlSecondsAfterFinished", Whole),
    ("template", TEMPLATE),
]);
const SERVICE: Is = Object(&[
    ("type", Text),
    ("selector", Map),
    ("sessionAffinity", Text),
    ("sessionAffinityConfig", Object(&[("clientIP", Object(&[("timeoutSeconds", Whole)]))])),
    ("ports", List(&[("name", Text), ("port", Whole), ("targetPort", WholeOrText)])),
]);
const POLICY: Is = Object(&[
    ("podSelector", SELECTOR),
    ("policyTypes", Texts),
    (
        "ingress",
        List(&[
            (
                "from",
                List(&[("ipBlock", Object(&[("cidr", Text)])), ("namespaceSelector", SELECTOR)]),
            ),
            ("ports", List(PORT)),
        ]),
    ),
    ("egress", List(&[("ports", List(PORT))])),
]);
const BUDGET: Is = Object(&[("maxUnavailable", WholeOrText), ("selector", SELECTOR)]);

/// Kind, version, and the field that holds what is special to it.
const KINDS: [(&str, &str, &str, Is); 7] = [
    ("ConfigMap", "v1", "data", Map),
    ("Service", "v1", "spec", SERVICE),
    ("Deployment", "apps/v1", "spec", DEPLOYMENT),
    ("StatefulSet", "apps/v1", "spec", STATEFUL_SET),
    ("Job", "batch/v1", "spec", JOB),
    ("PodDisruptionBudget", "policy/v1", "spec", BUDGET),
    ("NetworkPolicy", "networking.k8s.io/v1", "spec", POLICY),
];

/// Panics where an object has a field that its kind has not, or one of another type.
pub(super) fn check(object: &Value) {
    let kind = KINDS.iter().find(|(kind, ..)| object["kind"] == *kind);
    let (kind, version, field, shape) = kind.unwrap_or_else(|| panic!("an unknown kind: {object}"));
    assert_eq!(object["apiVersion"], *version, "{kind}");
    assert!(object["metadata"]["name"].is_string(), "{kind}");
    for (key, value) in object.as_object().unwrap() {
        match key.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => within(METADATA, value, "metadata"),
            key if key == *field => within(*shape, value, kind),
            key => panic!("{kind} has no field {key}"),
        }
    }
}

fn within(shape: Is, value: &Value, path: &str) {
    let all = |test: fn(&Value) -> bool| {
        value.as_object().is_some_and(|fields| fields.values().all(test))
    };
    let good = match shape {
        Text => value.is_string(),
        Whole => value.is_u64(),
        Flag => value.is_boolean(),
        Mode => value.is_number(),
        WholeOrText => value.is_u64() || value.is_string(),
        Texts => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
        Map => all(Value::is_string),
        Quantities => all(|value| value.is_string() || value.is_u64()),
        Object(fields) => {
            let object = value.as_object().unwrap_or_else(|| panic!("{path}: {value}"));
            for (key, value) in object {
                let path = format!("{path}.{key}");
                let field = fields.iter().find(|(name, _)| name == key);
                within(field.unwrap_or_else(|| panic!("{path} is no field")).1, value, &path);
            }
            true
        }
        List(fields) => {
            let items = value.as_array().unwrap_or_else(|| panic!("{path}: {value}"));
            items.iter().for_each(|item| within(Object(fields), item, path));
            true
        }
    };
    assert!(good, "{path}: {value} is no {shape:?}");
}
