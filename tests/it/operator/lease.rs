//! One operator acts, by the Lease: a second one stands by, takes over from one that died or was paused, and what the old
//! one wakes up with is never sent.

use keywheel_testbed::control_plane::OPERATOR_NAMESPACE;
use keywheel_testbed::operator::{Operator, OperatorOptions};
use keywheel_testbed::process::Signal;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::Case;
use super::kube::path;
use super::trial;
use super::world::{HASTY, Own, World, program};

pub fn trials() -> Vec<Trial> {
    vec![trial("lease::a_rival_stands_by_and_takes_over_from_a_paused_operator_which_then_ends", rivals)]
}

fn rival(world: &World) -> Operator {
    let options = OperatorOptions {
        program: Some(program()),
        kubeconfig: world.cp().operator_kubeconfig().unwrap(),
        embedded_endpoint: Some(world.iam.url().to_owned()),
        args: vec!["--lease-duration".to_owned(), "6s".to_owned()],
        test_timing: Some(HASTY.to_owned()),
        ..OperatorOptions::default()
    };
    Operator::start(options).unwrap()
}

fn lease(world: &World) -> Value {
    world.kube.find(&path("lease", OPERATOR_NAMESPACE, "keywheel")).unwrap_or_default()
}

fn holder(world: &World) -> String {
    lease(world)["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

fn rivals() {
    let world = World::own(Own { bare: true, ..Own::default() });
    let case = Case::new(&world, "rivals");
    case.settled(&json!({"rotation": {"overlap": "1h"}}));
    let first_holder = holder(&world);
    assert!(!first_holder.is_empty(), "nobody holds the Lease");
    let second = rival(&world);
    assert!(second.log().contains("standing by") || !second.log().contains("leading"), "two lead");

    // Paused in the middle of a create: the answer is on its way while another leads.
    let action = json!({"delay": {"millis": 3000}});
    let fault = json!({"operation": "keys.create", "action": action, "match": case.email()});
    case.iam().fault(&fault).unwrap();
    case.key("second", &json!({}));
    case.until("the intent", || {
        let begun = case.get("iamsak", "second")["status"]["pending"].is_object();
        begun.then_some(()).ok_or(Value::Null)
    });
    world.operator().process().signal(Signal::STOP).unwrap();
    case.until("the rival to lead", || match holder(&world) {
        now if now != first_holder => Ok(()),
        now => Err(json!(now)),
    });
    case.ready("iamsak", "second");
    world.operator().process().signal(Signal::CONT).unwrap();
    let status = world.operator().process().wait(super::case::SOON).unwrap();
    assert!(status.is_some_and(|status| !status.success()), "the old one goes on: {status:?}");
    assert!(world.operator().log().contains("was taken over by"), "{}", world.operator().log());
    case.accepted("second");
    case.accepted("billing");

    // At SIGTERM it is given back at once.
    second.terminate(super::case::SOON).unwrap();
    assert_eq!(holder(&world), "");
    let transitions = lease(&world)["spec"]["leaseTransitions"].as_i64();
    assert_eq!(transitions, Some(1), "{}", lease(&world));
}
