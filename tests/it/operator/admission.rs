//! What the API server itself refuses by our schemas, word for word, and what kubectl makes of the kinds.

use keywheel_testbed::{repo, shared};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::Case;
use super::kube::{Kube, Refused, path};
use super::trial;
use super::world::World;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("admission::every_rule_of_the_schemas_refuses_with_its_message", refused),
        trial("admission::what_is_immutable_cannot_be_changed", immutable),
        trial("admission::a_minimal_object_gets_the_documented_defaults", defaults),
        trial("admission::the_samples_are_taken_as_they_are", samples),
        trial("admission::kubectl_shows_explains_and_waits_as_a_user_expects", kubectl),
    ]
}

/// Every document of every sample; namespaces must be there for what lies in them.
fn samples() {
    let cp = shared::control_plane().unwrap();
    let folder = repo::deploy().join("samples");
    let files = [folder.clone(), folder.join("google")].into_iter().flat_map(|folder| {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
    });
    let texts: Vec<String> = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let documents: Vec<&str> = texts.iter().flat_map(|text| text.split("\n---\n")).collect();
    let (namespaces, others): (Vec<&str>, Vec<&str>) =
        documents.into_iter().partition(|document| document.lines().any(|line| line == "kind: Namespace"));
    for namespace in &namespaces {
        cp.apply_yaml(namespace).unwrap();
    }
    for document in &others {
        cp.check_yaml(document).unwrap_or_else(|error| panic!("{error}: {document}"));
    }
    assert!(others.len() >= 15, "{} samples", others.len());
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "keywheel.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

struct Table {
    kube: Kube,
    namespace: String,
}

impl Table {
    fn new(prefix: &str) -> Self {
        let cp = shared::control_plane().unwrap();
        let namespace = cp.create_namespace(&format!("case-{prefix}")).unwrap();
        Self { kube: Kube::connect(cp.admin_kubeconfig()), namespace }
    }

    fn dry_run(&self, short: &str, object: &Value) -> Result<Value, Refused> {
        self.kube.create(
            &format!("{}?dryRun=All&fieldValidation=Strict", path(short, &self.namespace, "")),
            object,
        )
    }

    /// `good` is taken; with one field of its spec replaced (null: taken away) it is refused with `words`.
    fn check(&self, short: &str, good: &Value, rows: &[(&str, Value, &str)]) {
        self.dry_run(short, good).unwrap();
        for (pointer, value, words) in rows {
            let mut bad = good.clone();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            bad["spec"].pointer_mut(parent).unwrap()[field] = value.clone();
            match self.dry_run(short, &bad) {
                Ok(_) => panic!("{pointer} = {value} was taken"),
                Err(refused) => {
                    assert_eq!(refused.code, 422, "{pointer} = {value}: {refused:?}");
                    assert!(refused.message.contains(words), "{pointer} = {value}: {}", refused.message);
                }
            }
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // A panic on top of another one would abort the program.
        let tidy = std::panic::AssertUnwindSafe(|| self.kube.delete(&path("namespace", "", &self.namespace)));
        if std::panic::catch_unwind(tidy).is_err() {
            eprintln!("{} could not be tidied up", self.namespace);
        }
    }
}

fn refused() {
    let table = Table::new("cel");
    refused_keys(&table);
    refused_validity(&table);
    refused_accounts(&table);
    refused_federation(&table);
    refused_backends(&table);
}

fn refused_keys(table: &Table) {
    let key = json!({
        "serviceAccountRef": {"name": "billing"},
        "rotation": {"every": "30d", "overlap": "1d"},
        "secret": {"entries": [{"key": "key.json", "format": "GoogleCredentials"}]},
    });
    let twice = json!([{"key": "a", "format": "GoogleCredentials"}, {"key": "a", "format": "KeyId"}]);
    let public = json!([{"key": "a", "format": "PublicKeyPem"}, {"key": "b", "format": "KeyId"}]);
    let rotation = |value: Value| value;
    let workload = json!({"kind": "Deployment", "name": "web"});
    let restarted_twice = json!([workload, workload]);
    let shadowed = json!({"previous": true, "entries": [
        {"key": "a", "format": "GoogleCredentials"}, {"key": "a.previous", "format": "KeyId"},
    ]});
    table.check(
        "iamsak",
        &object("ServiceAccountKey", "billing", &key),
        &[
            ("/rotation/schedule", json!("0 3 * * 1"), "set every or schedule, not both"),
            (
                "/rotation/timeZone",
                json!("Europe/Oslo"),
                "timeZone needs schedule: every counts from the last rotation",
            ),
            ("/rotation", rotation(json!({"every": "9s", "overlap": "1s"})), "every must be at least 10s"),
            ("/rotation/overlap", json!("30d"), "overlap (default 24h) must be shorter than every"),
            (
                "/rotation",
                rotation(json!({"every": "24h"})),
                "overlap (default 24h) must be shorter than every",
            ),
            ("/rotation/jitter", json!("4w3d"), "jitter must be shorter than every"),
            ("/rotation/every", json!("1 month"), "spec.rotation.every"),
            ("/rotation/overlap", json!(""), "spec.rotation.overlap"),
            ("/rotation/deleteAfter", json!("7"), "spec.rotation.deleteAfter"),
            ("/rotation/jitter", json!("1.5h"), "spec.rotation.jitter"),
            (
                "/rotation",
                rotation(json!({"schedule": "0 3 * * 1", "timeZone": "Europe Oslo"})),
                "spec.rotation.timeZone",
            ),
            ("/rotation", rotation(json!({"schedule": ""})), "spec.rotation.schedule"),
            ("/verification", json!({"timeout": "soon"}), "spec.verification.timeout"),
            ("/verification", json!({"mode": "Maybe"}), "Unsupported value: \"Maybe\""),
            ("/serviceAccountRef/name", json!(""), "spec.serviceAccountRef.name"),
            ("/keySource", json!("Elsewhere"), "Unsupported value: \"Elsewhere\""),
            ("/validity", json!("90d"), "validity needs keySource: Local"),
            ("/validity", json!("a while"), "spec.validity"),
            ("/rolloutRestart", json!([{"kind": "Job", "name": "x"}]), "Unsupported value: \"Job\""),
            ("/rolloutRestart", json!([{"kind": "Deployment", "name": ""}]), "spec.rolloutRestart[0].name"),
            ("/rolloutRestart", restarted_twice, "Duplicate value"),
            ("/secret", shadowed, "where the previous credential of another entry would stand"),
            ("/algorithm", json!("RSA_4096"), "Unsupported value: \"RSA_4096\""),
            ("/secret/name", json!("Not/A/Name"), "spec.secret.name"),
            (
                "/secret/labels",
                json!({"keywheel.dev/owned": "no"}),
                "labels under keywheel.dev/ are reserved",
            ),
            (
                "/secret/annotations",
                json!({"keywheel.dev/key-id": "x"}),
                "annotations under keywheel.dev/ are reserved",
            ),
            ("/secret/entries", public, "one entry must hold the private half"),
            ("/secret/entries", json!([]), "spec.secret.entries"),
            ("/secret/entries", twice, "Duplicate value"),
            (
                "/secret/entries",
                json!([{"key": "a/b", "format": "GoogleCredentials"}]),
                "spec.secret.entries",
            ),
            ("/secret/entries", json!([{"key": "a", "format": "Jks"}]), "Unsupported value: \"Jks\""),
            ("/secret/deletionPolicy", json!("Retain"), "would keep a dead credential"),
            ("/deletionPolicy", json!("Orphan"), "Unsupported value: \"Orphan\""),
        ],
    );
}

/// A certificate must outlive the use of its key.
fn refused_validity(table: &Table) {
    let local = json!({
        "serviceAccountRef": {"name": "billing"}, "keySource": "Local", "validity": "32d",
        "rotation": {"every": "30d", "overlap": "1d"},
    });
    table.check(
        "iamsak",
        &object("ServiceAccountKey", "billing", &local),
        &[
            ("/algorithm", json!("RSA_1024"), "keySource: Local makes pairs of 2048 bits"),
            ("/validity", json!("31d"), "validity must be at least rotation.every + rotation.overlap + 24h"),
            ("/validity", json!("30m"), "validity must be at least 1h and at most 10 years"),
            ("/validity", json!("3651d"), "validity must be at least 1h and at most 10 years"),
        ],
    );
}

fn refused_accounts(table: &Table) {
    let account = json!({"backendRef": {"name": "default"}, "accountId": "billing"});
    table.check(
        "iamsa",
        &object("ServiceAccount", "x", &account),
        &[
            (
                "/accountId",
                Value::Null,
                "without spec.accountId and spec.email, metadata.name is the account id",
            ),
            ("/accountId", json!("short"), "spec.accountId"),
            ("/accountId", json!("a".repeat(31)), "spec.accountId"),
            ("/accountId", json!("1billing"), "spec.accountId"),
            ("/accountId", json!("Billing"), "spec.accountId"),
            ("/backendRef/kind", json!("Backend"), "Unsupported value: \"Backend\""),
            ("/backendRef/name", json!(""), "spec.backendRef.name"),
            ("/displayName", json!("x".repeat(101)), "spec.displayName"),
            ("/description", json!("x".repeat(161)), "spec.description"),
            ("/adoptionPolicy", json!("Always"), "Unsupported value: \"Always\""),
            ("/deletionPolicy", json!("Keep"), "Unsupported value: \"Keep\""),
            ("/unmanagedKeys", json!("Erase"), "Unsupported value: \"Erase\""),
            ("/publicKeys", json!({"configMapName": "Keys"}), "spec.publicKeys.configMapName"),
            ("/publicKeys", json!({"configMapName": "keys..1"}), "spec.publicKeys.configMapName"),
            ("/publicKeys", json!({"configMapName": ""}), "spec.publicKeys.configMapName"),
        ],
    );
}

fn refused_federation(table: &Table) {
    let provider = "projects/7/locations/global/workloadIdentityPools/pool/providers/cluster";
    let account = json!({"backendRef": {"name": "default"}, "accountId": "billing",
        "publicKeys": {"configMapName": "keys"}, "federation": {"provider": provider, "configMapName": "keyless"}});
    let object = object("ServiceAccount", "x", &account);
    table.check(
        "iamsa",
        &object,
        &[
            ("/federation/configMapName", json!("keys"), "publicKeys and federation need a ConfigMap each"),
            (
                "/federation/provider",
                json!(format!("//iam.googleapis.com/{provider}")),
                "spec.federation.provider",
            ),
            ("/federation/provider", json!("projects/p/providers/x"), "spec.federation.provider"),
            ("/federation/tokenFile", json!("token"), "spec.federation.tokenFile"),
        ],
    );
    let federation = table.dry_run("iamsa", &object).unwrap()["spec"]["federation"].clone();
    assert_eq!(federation["tokenFile"], "/var/run/secrets/keywheel.dev/token");
}

fn refused_backends(table: &Table) {
    let login = json!({"secretRef": {"name": "login"}});
    let cluster = json!({"embedded": {"endpoint": "http://iam.test:8085", "auth": login}});
    table.check(
        "ciamb",
        &object("ClusterIamBackend", "x", &cluster),
        &[
            ("/embedded/endpoint", json!("iam.test:8085"), "endpoint must be an http or https URL"),
            ("/embedded/endpoint", json!("file:///etc/passwd"), "endpoint must be an http or https URL"),
            ("/embedded/auth", Value::Null, "spec.embedded.auth"),
            ("/embedded/auth/secretRef/name", json!(""), "spec.embedded.auth.secretRef.name"),
            ("/embedded", Value::Null, "exactly one of google, disruptive and embedded"),
            ("/google", json!({"projectId": "project-1"}), "exactly one of google, disruptive and embedded"),
            (
                "/disruptive",
                json!({"projectId": "p1", "auth": {"secretRef": {"name": "login"}}}),
                "exactly one of google",
            ),
            ("/tenants", json!({"accountIdPattern": "x".repeat(257)}), "spec.tenants.accountIdPattern"),
        ],
    );
    let auth = json!({"workloadIdentityFederation": {"audience": "//iam.googleapis.com/p"}});
    let google = json!({"google": {"projectId": "project-1", "auth": auth}});
    table.check(
        "ciamb",
        &object("ClusterIamBackend", "x", &google),
        &[
            ("/google/projectId", json!("Project"), "spec.google.projectId"),
            ("/rateLimit", json!({"requestsPerMinute": 0}), "spec.rateLimit.requestsPerMinute"),
            ("/google/auth/secretRef", json!({"name": "login"}), "at most one of secretRef and workload"),
            ("/google/auth/impersonate", json!("nobody"), "spec.google.auth.impersonate"),
            ("/google/endpoints", json!({"iam": "iam.test"}), "endpoints must be http or https URLs"),
        ],
    );
    // A namespace gets no login of the operator's own.
    let ambient = json!({"google": {"projectId": "project-1", "auth": {}}});
    let refused = table.dry_run("iamb", &object("IamBackend", "x", &ambient)).unwrap_err();
    assert!(refused.message.contains("spec.google.auth.secretRef"), "{refused:?}");
    // A namespace must not choose where the operator calls.
    let chosen = json!({"embedded": {"endpoint": "http://iam.test:8085", "auth": login}});
    let refused = table.dry_run("iamb", &object("IamBackend", "x", &chosen)).unwrap_err();
    assert!(refused.message.contains("unknown field \"spec.embedded.endpoint\""), "{refused:?}");
}

fn immutable() {
    let table = Table::new("fixed");
    let spec = json!({
        "serviceAccountRef": {"name": "billing"},
        "secret": {"name": "one", "entries": [{"key": "key.json", "format": "GoogleCredentials"}]},
    });
    table
        .kube
        .create(&path("iamsak", &table.namespace, ""), &object("ServiceAccountKey", "fixed", &spec))
        .unwrap();
    let account = json!({"backendRef": {"name": "nowhere"}, "accountId": "billing"});
    table
        .kube
        .create(&path("iamsa", &table.namespace, ""), &object("ServiceAccount", "fixed", &account))
        .unwrap();
    let unnamed = json!({"backendRef": {"name": "nowhere"}});
    table
        .kube
        .create(&path("iamsa", &table.namespace, ""), &object("ServiceAccount", "unnamed", &unnamed))
        .unwrap();
    let google = json!({"google": {"projectId": "my-project"}});
    let backend = object("ClusterIamBackend", &table.namespace, &google);
    table.kube.create(&path("ciamb", "", ""), &backend).unwrap();
    let moved = json!({"spec": {"google": {"projectId": "other"}}});
    let refused = table.kube.patch(&path("ciamb", "", &table.namespace), &moved).unwrap_err();
    assert!(format!("{refused:?}").contains("projectId is immutable"), "{refused:?}");
    table.kube.delete(&path("ciamb", "", &table.namespace));
    for (short, name, patch, words) in [
        (
            "iamsak",
            "fixed",
            json!({"serviceAccountRef": {"name": "other"}}),
            "serviceAccountRef is immutable",
        ),
        (
            "iamsak",
            "fixed",
            json!({"secret": {"type": "other"}}),
            "type is immutable, as a Secret's own type is",
        ),
        ("iamsa", "fixed", json!({"accountId": "another"}), "accountId is immutable"),
        ("iamsa", "unnamed", json!({"accountId": "another"}), "accountId is immutable"),
        ("iamsa", "fixed", json!({"backendRef": {"name": "other"}}), "backendRef is immutable"),
        ("iamsa", "fixed", json!({"backendRef": {"kind": "IamBackend"}}), "backendRef is immutable"),
    ] {
        let patched = table.kube.patch(&path(short, &table.namespace, name), &json!({ "spec": patch }));
        match patched {
            Ok(_) => panic!("{short} {patch} was taken"),
            Err(refused) => assert!(refused.message.contains(words), "{patch}: {}", refused.message),
        }
    }
    // What is not immutable can be changed, also while the object is broken otherwise.
    let change = json!({"spec": {"rotation": {"every": "30d"}, "deletionPolicy": "Retain"}});
    table.kube.patch(&path("iamsak", &table.namespace, "fixed"), &change).unwrap();
}

fn defaults() {
    let table = Table::new("default");
    let minimal = object(
        "ServiceAccountKey",
        "minimal",
        &json!({"serviceAccountRef": {"name": "billing"}, "rotation": {"every": "30d"}}),
    );
    let spec = table.dry_run("iamsak", &minimal).unwrap()["spec"].clone();
    assert_eq!(
        spec,
        json!({
            "serviceAccountRef": {"name": "billing"},
            "keySource": "Backend",
            "rotation": {"every": "30d", "jitter": "0s", "overlap": "24h", "suspend": false},
            "verification": {"mode": "TokenExchange", "timeout": "10m"},
            "secret": {
                "type": "Opaque",
                "entries": [{"key": "key.json", "format": "GoogleCredentials"}],
                "previous": false,
                "deletionPolicy": "Delete",
            },
            "deletionPolicy": "Delete",
        })
    );
    let minimal = object("ServiceAccount", "minimal", &json!({"backendRef": {"name": "default"}}));
    let spec = table.dry_run("iamsa", &minimal).unwrap()["spec"].clone();
    assert_eq!(
        spec,
        json!({
            "backendRef": {"kind": "ClusterIamBackend", "name": "default"},
            "disabled": false,
            "adoptionPolicy": "Never",
            "unmanagedKeys": "Report",
        })
    );
}

fn kubectl() {
    let case = Case::new(World::shared(), "kubectl");
    let cp = case.world.cp();
    case.account(&json!({}));
    case.key("billing", &json!({"rotation": {"every": "30d"}, "secret": {"name": "billing-key"}}));
    for object in ["iamsa/billing", "iamsak/billing", "serviceaccountkey/billing"] {
        let wait = ["wait", "--for=condition=Ready", object, "--namespace", &case.name, "--timeout=40s"];
        assert!(cp.kubectl_ok(&wait).unwrap().contains("condition met"), "{object}");
    }
    let key = case.get("iamsak", "billing");
    let columns = cp.kubectl_ok(&["get", "iamsak", "billing", "--namespace", &case.name]).unwrap();
    let (head, row) = columns.trim().split_once('\n').unwrap();
    let titles: Vec<&str> = head.split("  ").map(str::trim).filter(|title| !title.is_empty()).collect();
    assert_eq!(titles, ["NAME", "READY", "REASON", "KEY", "ROTATED", "NEXT ROTATION", "SECRET", "AGE"]);
    for shown in ["True", "KeyPublished", "billing-key"] {
        assert!(row.contains(shown), "{shown}: {row}");
    }
    for shown in [&key["status"]["activeKeyId"], &key["status"]["nextRotationTime"]] {
        assert!(row.contains(shown.as_str().unwrap()), "{shown}: {row}");
    }
    let accounts = cp.kubectl_ok(&["get", "iamsa", "--namespace", &case.name]).unwrap();
    assert!(accounts.contains(&case.email()) && accounts.contains("AccountReady"), "{accounts}");
    let backends = cp.kubectl_ok(&["get", "ciamb", "shared"]).unwrap();
    assert!(backends.contains("BackendReady") && backends.contains(case.iam().project()), "{backends}");
    let all = cp.kubectl_ok(&["get", "keywheel", "-A"]).unwrap();
    for part in [
        "serviceaccount.keywheel.dev/billing",
        "serviceaccountkey.keywheel.dev/billing",
        "clusteriambackend.keywheel.dev/shared",
    ] {
        assert!(all.contains(part), "{part} is not in {all}");
    }
    // The core kind keeps its name.
    let core = cp
        .kubectl_ok(&["get", "serviceaccount", "default", "--namespace", &case.name, "-o", "yaml"])
        .unwrap();
    assert!(core.contains("apiVersion: v1\n"), "{core}");
    let core = cp.kubectl_ok(&["get", "sa", "--namespace", &case.name, "-o", "name"]).unwrap();
    assert!(core.lines().all(|line| line.starts_with("serviceaccount/")), "{core}");

    let fields = cp.kubectl_ok(&["explain", "iamsak.spec.rotation", "--recursive"]).unwrap();
    for field in ["every", "schedule", "timeZone", "jitter", "overlap", "deleteAfter", "suspend"] {
        assert!(
            fields.lines().any(|line| line.trim().starts_with(&format!("{field}\t"))),
            "{field}: {fields}"
        );
    }
    for (field, words) in [
        ("iamsak.spec.rotation.overlap", "Default: `24h`"),
        ("iamsak.spec.rotation.every", "At least `10s`"),
        ("iamsak.spec.verification.timeout", "Default: `10m`"),
        ("iamsak.status.nextRotationTime", "When the next key will be made"),
        ("iamsa.spec.adoptionPolicy", "Default: `Never`"),
        ("ciamb.spec.allowedNamespaces", "Default: all"),
    ] {
        let said = cp.kubectl_ok(&["explain", field]).unwrap();
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(words), "{field}: {said}");
    }
}
