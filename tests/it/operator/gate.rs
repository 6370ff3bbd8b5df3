//! Has the API server ask a gate about each staging Secret of a case.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywheel_testbed::gate::Gate;
use serde_json::{Value, json};

use super::case::Case;
use super::kube::path;

/// From now on, and until [`unguard_staging`], the API server asks.
pub fn guard_staging(case: &Case<'_>, gate: &Gate) {
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": case.name},
        "webhooks": [{
            "name": "gate.keywheel.dev",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Ignore",
            // The longest there is.
            "timeoutSeconds": 30,
            "clientConfig": {"url": gate.url(), "caBundle": STANDARD.encode(gate.authority())},
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"], "operations": ["CREATE"],
            }],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": case.name}},
            "objectSelector": {"matchExpressions": [{"key": "keywheel.dev/staging", "operator": "Exists"}]},
        }],
    });
    case.world.kube.create(&path("webhook", "", ""), &webhook).unwrap();
    // The API server learns of it by a watch.
    let probe = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "probe", "labels": {"keywheel.dev/staging": "true"}},
    });
    case.until("the gate to be asked", || {
        let dry_run = format!("{}?dryRun=All", case.path("secret", ""));
        case.world.kube.create(&dry_run, &probe).map_err(|refused| json!(refused.message))?;
        if gate.asked() > 0 { Ok(()) } else { Err(Value::Null) }
    });
}

/// What is staged from now on need not pass the gate.
pub fn unguard_staging(case: &Case<'_>) {
    case.world.kube.delete(&path("webhook", "", &case.name));
}

/// Whether an admission request is to stage what a backend has made.
pub fn is_of_a_key(request: &Value) -> bool {
    annotation(&request["object"], "key-id").is_string()
}

/// An annotation of ours, or null.
pub fn annotation<'s>(secret: &'s Value, name: &str) -> &'s Value {
    &secret["metadata"]["annotations"][format!("keywheel.dev/{name}")]
}
