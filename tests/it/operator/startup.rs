//! The start on a cluster without Keywheel's kinds, and objects that cannot be read.

use std::time::Duration;

use keywheel::domain::Reason;
use keywheel_testbed::control_plane::{ControlPlane, Options};
use keywheel_testbed::operator::{Operator, OperatorOptions};
use keywheel_testbed::repo;
use libtest_mimic::Trial;
use serde_json::json;

use super::case::Case;
use super::kube::path;
use super::trial;
use super::world::{HASTY, Own, World, program};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("startup::without_its_kinds_the_operator_says_how_to_install_them_and_ends", not_installed),
        trial("startup::one_malformed_object_does_not_stop_the_good_ones", malformed),
    ]
}

fn not_installed() {
    let cp = ControlPlane::start(Options::default()).unwrap();
    for name in ["namespace.yaml", "rbac.yaml"] {
        let file = repo::deploy().join(name).to_string_lossy().into_owned();
        cp.kubectl_ok(&["apply", "--server-side", "-f", &file]).unwrap();
    }
    let options = OperatorOptions {
        program: Some(program()),
        kubeconfig: cp.operator_kubeconfig().unwrap(),
        test_timing: Some(HASTY.to_owned()),
        ..OperatorOptions::default()
    };
    let (status, log) = Operator::run_to_failure(&options, Duration::from_secs(30)).unwrap();
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
    assert!(log.contains("keywheel crds | kubectl apply --server-side -f -"), "{log}");
    assert!(log.contains("ClusterIamBackend"), "{log}");
    // Doing as it says is enough.
    cp.install_crds().unwrap();
    let operator = Operator::start(options).unwrap();
    let (status, _) = operator.terminate(Duration::from_secs(5)).unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
}

/// Takes the schema away: what an older or a careless definition lets in.
fn relax(world: &World, plural: &str) {
    let path = path("crd", "", &format!("{plural}.keywheel.dev"));
    let mut crd = world.kube.find(&path).unwrap();
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    crd["spec"]["versions"][0]["schema"] = schema;
    crd["spec"]["versions"][0]["selectableFields"] = json!([]);
    world.kube.replace(&path, &crd).unwrap();
}

fn malformed() {
    let world = World::own(Own { bare: true, ..Own::default() });
    let case = Case::new(&world, "malformed");
    case.settled(&json!({}));
    relax(&world, "serviceaccounts");
    relax(&world, "serviceaccountkeys");
    // The server takes a moment to serve the new definition.
    let broken = |kind: &str| {
        json!({
            "apiVersion": "keywheel.dev/v1alpha1", "kind": kind, "metadata": {"name": "broken"},
            "spec": {"serviceAccountRef": "billing", "backendRef": ["shared"]},
        })
    };
    for (kind, short) in [("ServiceAccountKey", "iamsak"), ("ServiceAccount", "iamsa")] {
        case.until("the definition to be relaxed", || {
            let created = world.kube.create(&case.path(short, ""), &broken(kind));
            created.map_err(|refused| json!(refused.message))
        });
    }
    for expected in ["ServiceAccountKey", "ServiceAccount"] {
        case.until(&format!("an event about the broken {expected}"), || {
            let events = world.kube.list(&case.path("event", ""));
            let told = events.iter().any(|event| {
                event["regarding"]["name"] == "broken"
                    && event["regarding"]["kind"] == expected
                    && event["reason"] == Reason::InvalidObject.as_str()
                    && event["note"].as_str().is_some_and(|note| note.contains("cannot be read"))
            });
            if told { Ok(()) } else { Err(json!(events.len())) }
        });
    }
    // The good ones go on: one that was there, and one that comes.
    let old = case.active("billing");
    case.delete("secret", "billing");
    case.when("iamsak", "billing", "repaired", |key| {
        key["status"]["activeKeyId"].is_string() && key["status"]["activeKeyId"] != old.as_str()
    });
    case.ready("iamsak", "billing");
    case.account_named("late", &format!("{}-late", case.name), &json!({}));
    case.key("late", &json!({"serviceAccountRef": {"name": "late"}}));
    case.ready("iamsak", "late");
    case.accepted("late");
    // And so they do from the start of a new process.
    world.operator().restart().unwrap();
    case.delete("secret", "late");
    case.until("the Secret to come back", || match case.find("secret", "late") {
        Some(_) => Ok(()),
        None => Err(json!("absent")),
    });
    case.accepted("late");
}
