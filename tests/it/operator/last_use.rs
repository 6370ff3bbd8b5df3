//! The gate before an old key is disabled: what Policy Analyzer tells of its use.

use keywheel::domain::Reason;
use keywheel_testbed::iam::IamOptions;
use libtest_mimic::Trial;
use serde_json::json;

use super::case::{Case, entry, soon};
use super::trial;
use super::world::{World, start_iam};

pub fn trials() -> Vec<Trial> {
    vec![trial("last_use::a_key_that_was_used_today_stays_and_one_that_was_not_is_disabled", gate)]
}

fn gate() {
    let case = Case::at(World::shared(), "last-use", start_iam(IamOptions::default()), &json!({}));
    // Uses are told at once: the proof of each key is one.
    case.iam().settings(&json!({"activityLag": "0s"})).unwrap();
    case.settled(&json!({"rotation": {"overlap": "1s", "requireUnusedFor": "1h"}}));
    let old = case.active("billing");
    let rotate = json!({"keywheel.dev/rotate-at": soon()});
    case.patch("iamsak", "billing", &json!({"metadata": {"annotations": rotate}}));
    let message = case.told("iamsak", "billing", "Rotating", "True", Reason::KeyInUse);
    assert!(message.contains(&old) && message.contains("1h"), "{message}");
    let key = case.get("iamsak", "billing");
    assert_eq!((entry(&key, &old)["phase"].as_str(), case.count("keys.disable")), (Some("Overlap"), 0));

    // As at Google, where uses of today are told in some days.
    case.iam().settings(&json!({"activityLag": "48h"})).unwrap();
    case.patch("iamsak", "billing", &json!({"metadata": {"annotations": {"example.com/look": "again"}}}));
    case.when("iamsak", "billing", "the old key to be disabled", |key| {
        entry(key, &old)["phase"] == "Disabled"
    });
}
