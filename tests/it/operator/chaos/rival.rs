//! Another process takes the Lease while the operator stands still; then the operator wakes.

use keywheel_testbed::control_plane::OPERATOR_NAMESPACE;
use keywheel_testbed::gate::Gate;
use keywheel_testbed::operator::{Operator, OperatorOptions};
use keywheel_testbed::process::Signal;
use serde_json::{Value, json};

use super::rows::{Row, Scene};
use super::{Chaos, LEASE, TIMING};
use crate::operator::case::{SOON, entry};
use crate::operator::gate::{annotation, guard_staging, is_of_a_key, unguard_staging};
use crate::operator::kube::path;
use crate::operator::world::{World, program};

/// How it came that the operator does not lead any more.
pub struct Deposed {
    /// Who leads now. It stands still.
    pub rival: Operator,
    /// What the operator staged too late.
    pub late: Option<Late>,
}

impl Deposed {
    /// What the next process finds by what happened here; no look at the objects could tell.
    pub fn rows(&self, scene: &Scene) -> Vec<Row> {
        let late = self.late.as_ref().is_some_and(|late| late.is_there(scene));
        [Some(Row::Woken), late.then_some(Row::StagedLate)].into_iter().flatten().collect()
    }
}

/// A staging Secret that was not there when its attempt was already seen as lost.
pub struct Late {
    secret: String,
    nonce: String,
    key: String,
    /// The object that it belongs to.
    owner: String,
}

impl Late {
    fn of(held: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{held}")).to_owned();
        let secret = &held["object"];
        Self {
            secret: text(&secret["metadata"]["name"]),
            nonce: text(annotation(secret, "nonce")),
            key: text(annotation(secret, "key-id")),
            owner: text(annotation(secret, "owner")),
        }
    }

    /// Whether the Secret is there, of an attempt that is neither open nor published.
    fn is_there(&self, scene: &Scene) -> bool {
        let staged = scene.secrets.iter().any(|secret| secret["metadata"]["name"] == self.secret.as_str());
        let owner = scene.objects.iter().find(|object| object["metadata"]["name"] == self.owner.as_str());
        let status = owner.map(|object| &object["status"]);
        let foreign = |status: &Value| {
            status["pending"]["nonce"] != self.nonce.as_str() && status["activeKeyId"] != self.key.as_str()
        };
        staged && status.is_some_and(foreign)
    }

    fn is_lost(&self, object: &Value) -> bool {
        let lost = object["status"]["lost"].as_array();
        lost.into_iter().flatten().any(|attempt| attempt["nonce"] == self.nonce.as_str())
    }
}

impl Chaos<'_> {
    /// Pauses the operator with an answer on its way, until another process leads and has given up its attempts; then
    /// lets it wake.
    pub fn depose(&self) -> Deposed {
        self.case.world.operator().process().signal(Signal::STOP).unwrap();
        let left: Vec<(Value, Value)> =
            self.attempts().into_iter().filter(|(_, nonce)| nonce.is_string()).collect();
        let rival = self.successor();
        self.case.until("the attempts to be given up", || {
            let open = self.attempts();
            if left.iter().any(|attempt| open.contains(attempt)) { Err(json!(open)) } else { Ok(()) }
        });
        rival.process().signal(Signal::STOP).unwrap();
        self.wake();
        Deposed { rival, late: None }
    }

    /// Pauses the operator while the API server still asks whether it may stage a key. Only when another process leads and
    /// has given up the attempt, the API server applies what it was asked for; then the operator wakes.
    pub fn depose_while_staging(&self) -> Deposed {
        let world = self.case.world;
        let gate = Gate::open().unwrap();
        guard_staging(&self.case, &gate);
        gate.hold_first(is_of_a_key);
        let held = gate.held_within(SOON);
        world.operator().process().signal(Signal::STOP).unwrap();
        unguard_staging(&self.case);
        let late = Late::of(&held.unwrap_or_else(|| panic!("nothing was staged")));

        let rival = self.successor();
        let seen_lost = || self.case.find("iamsak", &late.owner).filter(|object| late.is_lost(object));
        self.case.until("the attempt to be lost", || seen_lost().map(drop).ok_or(Value::Null));
        rival.process().signal(Signal::STOP).unwrap();
        // Nobody holds anything back for longer than the API server waits for its webhook.
        let in_time = self.case.find("secret", &late.secret).is_none();
        gate.lift();
        self.case.until("the late staging Secret", || {
            self.case.find("secret", &late.secret).map(drop).ok_or(Value::Null)
        });
        self.wake();
        Deposed { rival, late: in_time.then_some(late) }
    }

    /// What was staged too late is removed, and not before the ledger has its key.
    pub fn taken_in(&self, late: &Late) {
        self.case.gone("secret", &late.secret);
        // Read before the list: a key leaves the ledger only when it is gone there.
        let scene = self.scene();
        let owner = scene.objects.iter().find(|object| object["metadata"]["name"] == late.owner.as_str());
        let known = owner.is_some_and(|object| entry(object, &late.key).is_object());
        let listed = scene.listed.values().flatten().any(|key| key.id == late.key);
        assert!(known || !listed, "{} was staged too late, and {} has let go of it", late.key, late.owner);
    }

    /// Another process, that leads.
    fn successor(&self) -> Operator {
        let world = self.case.world;
        let before = holder(world);
        let rival = Operator::start(OperatorOptions {
            program: Some(program()),
            kubeconfig: world.cp().operator_kubeconfig().unwrap(),
            embedded_endpoint: Some(world.iam.url().to_owned()),
            args: vec!["--lease-duration".to_owned(), LEASE.to_owned()],
            test_timing: Some(TIMING.to_owned()),
            ..OperatorOptions::default()
        });
        let rival = rival.unwrap();
        self.case.until("another leader", || match holder(world) {
            now if now != before && !now.is_empty() => Ok(()),
            now => Err(json!(now)),
        });
        rival
    }

    /// Lets the paused operator go on, and end by itself.
    fn wake(&self) {
        let operator = self.case.world.operator();
        operator.process().signal(Signal::CONT).unwrap();
        let status = operator.process().wait(SOON).unwrap();
        assert!(status.is_some_and(|status| !status.success()), "the old leader goes on: {status:?}");
    }

    /// Objects with the nonces of their open attempts.
    fn attempts(&self) -> Vec<(Value, Value)> {
        let objects = self.case.world.kube.list(&self.case.path("iamsak", ""));
        objects
            .iter()
            .map(|o| (o["metadata"]["uid"].clone(), o["status"]["pending"]["nonce"].clone()))
            .collect()
    }
}

fn holder(world: &World) -> String {
    let lease = world.kube.find(&path("lease", OPERATOR_NAMESPACE, "keywheel")).unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}
