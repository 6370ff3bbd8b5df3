//! The moments of the kills: has the operator stand where a row of the crash table begins.

use std::time::{Duration, Instant};

use keywheel_testbed::process::Signal;
use serde_json::{Value, json};

use super::rival::Deposed;
use super::rows::Row;
use super::{Chaos, PATIENCE};
use crate::operator::case::SOON;

impl Chaos<'_> {
    /// Waits until a kill is likely to hit there. What it hit is read afterwards; how long after the last sign is what is
    /// tried out. How the operator was deposed, if it was.
    pub fn provoke(&self, wanted: Row, victim: Option<&str>, n: usize) -> Option<Deposed> {
        let offset = Duration::from_millis(u64::try_from(n % 12).unwrap_or(0));
        let mark = self.case.iam().mark().unwrap();
        // Looked for without a pause: what lies between two requests lasts a few milliseconds.
        let called = |operation: &str| {
            let patience = Instant::now() + SOON;
            loop {
                let calls = self.case.iam().requests_since(mark).unwrap();
                // The client's exchanges are not what is waited for.
                let ours = |agent: &Value| !agent.as_str().is_some_and(|a| a.starts_with("ureq/"));
                if calls.iter().any(|c| c.operation == operation && ours(&c.raw["user_agent"])) {
                    return;
                }
                assert!(Instant::now() < patience, "no {operation} in {} requests", calls.len());
            }
        };
        match wanted {
            Row::Lost => {
                self.lose_an_answer();
                return None;
            }
            Row::Intent | Row::Staged => {
                let patience = Instant::now() + PATIENCE;
                while Instant::now() < patience && !self.scene().rows().contains(&wanted) {}
                return None;
            }
            Row::Fenced => {
                self.step_to(wanted);
                return None;
            }
            Row::Woken => {
                called("keys.create");
                return Some(self.depose());
            }
            Row::StagedLate => return Some(self.depose_while_staging()),
            Row::Created => called("keys.create"),
            Row::Published | Row::Recorded => called("token"),
            Row::Ended => called(if n.is_multiple_of(2) { "keys.disable" } else { "keys.delete" }),
            Row::SecretDeleted => {
                let name = victim.unwrap_or_default();
                self.case.delete("iamsak", name);
                self.case.gone("secret", name);
                return None;
            }
        }
        // No synchronization: the moment of the kill is what is tried out.
        std::thread::sleep(offset * if wanted == Row::Recorded { 3 } else { 1 });
        None
    }

    /// Makes keys of which nobody hears, one after the other, until an attempt is seen that was given up and not fenced yet.
    fn lose_an_answer(&self) {
        let iam = self.case.iam();
        let patience = Instant::now() + PATIENCE * 4;
        while Instant::now() < patience {
            let mark = iam.mark().unwrap();
            // The oldest fault hits first.
            iam.clear_faults().unwrap();
            iam.fault(&json!({"operation": "keys.create", "action": "apply_then_drop"})).unwrap();
            self.slow_down();
            let lost =
                || iam.requests_since(mark).unwrap().iter().any(|r| r.raw["fault"] == "apply_then_drop");
            while Instant::now() < patience && !lost() {}
            let marked = Instant::now() + PATIENCE / 2;
            while Instant::now() < marked {
                if self.any_lost() {
                    return;
                }
            }
        }
    }

    /// Whether an attempt is marked lost that is not fenced. Of the status alone: a whole scene takes longer than a fence.
    fn any_lost(&self) -> bool {
        let objects = self.case.world.kube.list(&self.case.path("iamsak", ""));
        let mut lost = objects.iter().flat_map(|o| o["status"]["lost"].as_array().into_iter().flatten());
        lost.any(|attempt| attempt["fenced"] != true)
    }

    /// Lets the operator run for a millisecond at a time until it stands there: what lies between two requests passes too
    /// fast to be seen otherwise.
    fn step_to(&self, wanted: Row) {
        let world = self.case.world;
        self.lose_an_answer();
        let patience = Instant::now() + PATIENCE * 2;
        loop {
            world.operator().process().signal(Signal::STOP).unwrap();
            if self.scene().rows().contains(&wanted) || Instant::now() > patience {
                return;
            }
            world.operator().process().signal(Signal::CONT).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
