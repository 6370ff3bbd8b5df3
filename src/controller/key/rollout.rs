//! Workloads that are restarted for a new key.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::ResourceExt as _;

use super::world::World;
use crate::api::v1alpha1::{Workload, WorkloadKind, meta};
use crate::controller::{Context, Error};
use crate::domain::key::{Rollout, RolloutState};

/// Where all workloads of the spec stand.
pub async fn rollouts(ctx: &Context, world: &World) -> Vec<Rollout> {
    let namespace = world.object.namespace().unwrap_or_default();
    let active = world.observation.status.as_ref().and_then(|s| s.active_key_id.clone()).unwrap_or_default();
    let mut found = Vec::new();
    for workload in &world.object.spec.rollout_restart {
        let name = &workload.name;
        let state = match workload.kind {
            WorkloadKind::Deployment => ctx
                .io
                .get(&ctx.io.namespaced::<Deployment>(&namespace), name)
                .await
                .map(|found| found.map(|d| deployment(&d, &active))),
            WorkloadKind::StatefulSet => ctx
                .io
                .get(&ctx.io.namespaced::<StatefulSet>(&namespace), name)
                .await
                .map(|found| found.map(|s| stateful(&s, &active))),
            WorkloadKind::DaemonSet => ctx
                .io
                .get(&ctx.io.namespaced::<DaemonSet>(&namespace), name)
                .await
                .map(|found| found.map(|d| daemon(&d, &active))),
        };
        // One that cannot be read holds the old key alive, and nothing else.
        let state = match state {
            Ok(state) => state.unwrap_or(RolloutState::Missing),
            Err(error) => RolloutState::Unreadable { message: error.to_string() },
        };
        found.push(Rollout { workload: workload.clone(), state });
    }
    found
}

/// The stamp carries the key, not a time: a second stamp for the same key changes nothing, and restarts nothing.
pub async fn restart(ctx: &Context, world: &World, workload: &Workload, key_id: &str) -> Result<(), Error> {
    let namespace = world.object.namespace().unwrap_or_default();
    let name = &workload.name;
    match workload.kind {
        WorkloadKind::Deployment => {
            ctx.io
                .stamp(&ctx.io.namespaced::<Deployment>(&namespace), name, meta::RESTARTED_FOR, key_id)
                .await?;
        }
        WorkloadKind::StatefulSet => {
            ctx.io
                .stamp(&ctx.io.namespaced::<StatefulSet>(&namespace), name, meta::RESTARTED_FOR, key_id)
                .await?;
        }
        WorkloadKind::DaemonSet => {
            ctx.io
                .stamp(&ctx.io.namespaced::<DaemonSet>(&namespace), name, meta::RESTARTED_FOR, key_id)
                .await?;
        }
    }
    Ok(())
}

fn is_stamped(template: &PodTemplateSpec, key: &str) -> bool {
    let annotations = template.metadata.as_ref().and_then(|m| m.annotations.as_ref());
    annotations.and_then(|a| a.get(meta::RESTARTED_FOR)).map(String::as_str) == Some(key)
}

/// How far a workload is, as its own controller counts.
struct Progress {
    /// Whether that controller has seen the template.
    observed: bool,
    wanted: i32,
    updated: i32,
    available: i32,
    total: i32,
}

/// `kubectl rollout status` asks the same: the template was seen, and all pods are new and available.
fn state(template: &PodTemplateSpec, key: &str, progress: &Progress) -> RolloutState {
    let Progress { observed, wanted, updated, available, total } = *progress;
    if !is_stamped(template, key) {
        RolloutState::Due
    } else if observed && updated >= wanted && available >= wanted && total <= updated.max(wanted) {
        RolloutState::Done
    } else {
        RolloutState::Progressing {
            progress: format!("{updated} of {wanted} pods are new, {available} available"),
        }
    }
}

fn deployment(found: &Deployment, key: &str) -> RolloutState {
    let (Some(spec), status) = (&found.spec, found.status.clone().unwrap_or_default()) else {
        return RolloutState::Missing;
    };
    let progress = Progress {
        observed: status.observed_generation >= found.metadata.generation,
        wanted: spec.replicas.unwrap_or(1),
        updated: status.updated_replicas.unwrap_or(0),
        available: status.available_replicas.unwrap_or(0),
        total: status.replicas.unwrap_or(0),
    };
    state(&spec.template, key, &progress)
}

fn stateful(found: &StatefulSet, key: &str) -> RolloutState {
    let (Some(spec), status) = (&found.spec, found.status.clone().unwrap_or_default()) else {
        return RolloutState::Missing;
    };
    let progress = Progress {
        observed: status.observed_generation >= found.metadata.generation,
        wanted: spec.replicas.unwrap_or(1),
        updated: status.updated_replicas.unwrap_or(0),
        available: status.available_replicas.unwrap_or(0),
        total: status.replicas,
    };
    state(&spec.template, key, &progress)
}

fn daemon(found: &DaemonSet, key: &str) -> RolloutState {
    let (Some(spec), status) = (&found.spec, found.status.clone().unwrap_or_default()) else {
        return RolloutState::Missing;
    };
    let updated = status.updated_number_scheduled.unwrap_or(0);
    let progress = Progress {
        observed: status.observed_generation >= found.metadata.generation,
        wanted: status.desired_number_scheduled,
        updated,
        available: status.number_available.unwrap_or(0),
        total: updated,
    };
    state(&spec.template, key, &progress)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn template(key: &str) -> Value {
        json!({"metadata": {"annotations": {meta::RESTARTED_FOR: key}}, "spec": {"containers": []}})
    }

    fn metadata() -> Value {
        json!({"name": "web", "generation": 7})
    }

    /// Of all kinds: three pods wanted, and what their controllers count.
    fn states(key: &str, observed: i64, updated: i32, available: i32) -> [RolloutState; 3] {
        let selector = json!({"matchLabels": {"app": "web"}});
        let spec =
            json!({"replicas": 3, "selector": selector, "serviceName": "web", "template": template(key)});
        let counted = json!({"observedGeneration": observed, "replicas": 3, "updatedReplicas": updated,
            "availableReplicas": available});
        let scheduled = json!({"observedGeneration": observed, "desiredNumberScheduled": 3,
            "updatedNumberScheduled": updated, "numberAvailable": available, "currentNumberScheduled": 3,
            "numberMisscheduled": 0, "numberReady": available});
        let of = |status: &Value| json!({"metadata": metadata(), "spec": spec, "status": status});
        [
            deployment(&serde_json::from_value(of(&counted)).unwrap(), "k1"),
            stateful(&serde_json::from_value(of(&counted)).unwrap(), "k1"),
            daemon(&serde_json::from_value(of(&scheduled)).unwrap(), "k1"),
        ]
    }

    #[test]
    fn a_workload_of_any_kind_is_done_once_all_its_pods_are_new_and_available() {
        for (key, observed, updated, available, is_done) in [
            ("k1", 7, 3, 3, true),
            ("k1", 8, 3, 3, true),
            ("k1", 6, 3, 3, false),
            ("k1", 7, 2, 3, false),
            ("k1", 7, 3, 2, false),
        ] {
            for state in states(key, observed, updated, available) {
                let done = state == RolloutState::Done;
                assert_eq!(done, is_done, "{observed} {updated} {available}: {state:?}");
            }
        }
        let told = RolloutState::Progressing { progress: "2 of 3 pods are new, 1 available".to_owned() };
        assert!(states("k1", 7, 2, 1).iter().all(|state| *state == told));
    }

    #[test]
    fn a_workload_without_the_stamp_of_this_key_is_due() {
        assert!(states("k0", 7, 3, 3).iter().all(|state| *state == RolloutState::Due));
    }

    #[test]
    fn a_pod_of_the_old_template_that_still_runs_is_waited_for() {
        let spec = json!({"replicas": 1, "selector": {}, "serviceName": "web", "template": template("k1")});
        let status =
            json!({"observedGeneration": 7, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 1});
        let object = json!({"metadata": metadata(), "spec": spec, "status": status});
        let of = serde_json::from_value::<Deployment>(object.clone()).unwrap();
        assert!(matches!(deployment(&of, "k1"), RolloutState::Progressing { .. }));
        let of = serde_json::from_value::<StatefulSet>(object).unwrap();
        assert!(matches!(stateful(&of, "k1"), RolloutState::Progressing { .. }));
    }

    #[test]
    fn what_is_scaled_to_nothing_is_done_and_what_has_no_spec_is_not_there() {
        let spec = json!({"replicas": 0, "selector": {}, "template": template("k1")});
        let object = json!({"metadata": metadata(), "spec": spec, "status": {"observedGeneration": 7}});
        assert_eq!(deployment(&serde_json::from_value(object).unwrap(), "k1"), RolloutState::Done);
        let bare = json!({"metadata": metadata()});
        assert_eq!(deployment(&serde_json::from_value(bare.clone()).unwrap(), "k1"), RolloutState::Missing);
        assert_eq!(stateful(&serde_json::from_value(bare.clone()).unwrap(), "k1"), RolloutState::Missing);
        assert_eq!(daemon(&serde_json::from_value(bare).unwrap(), "k1"), RolloutState::Missing);
    }
}
