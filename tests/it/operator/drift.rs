//! What others do to the Secret, the account and its keys: mended without a new key where the private half is still there,
//! and with one where it is not; what others added stays.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywheel::domain::Reason;
use keywheel_testbed::iam::IamOptions;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, data_of, entry};
use super::trial;
use super::world::{World, start_iam};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("drift::a_deleted_secret_wakes_its_key_at_once_and_comes_back_with_a_new_one", deleted),
        trial("drift::an_edited_credential_is_replaced_by_a_new_key", edited),
        trial("drift::the_credential_of_another_key_is_replaced", foreign_credential),
        trial("drift::what_can_be_mended_is_mended_without_a_new_key_and_strangers_data_stays", mended),
        trial(
            "drift::changed_entries_labels_and_annotations_reach_the_secret_without_a_new_key",
            respecified,
        ),
        trial("drift::an_old_key_whose_credential_was_put_back_is_not_ended_under_it", put_back),
        trial("drift::a_strangers_private_key_beside_ours_is_not_taken_for_it", beside),
        trial("drift::a_key_that_a_person_made_is_never_touched", their_key),
        trial("drift::a_suspended_wheel_stands_still_and_goes_on_when_it_is_released", suspended),
    ]
}

fn encoded(content: &[u8]) -> Value {
    json!(STANDARD.encode(content))
}

/// Waits until another key than `old` is active and nothing is under way.
fn replaced(case: &Case<'_>, old: &str) -> String {
    case.when("iamsak", "billing", "replaced", |key| {
        let status = &key["status"];
        status["activeKeyId"].is_string() && status["activeKeyId"] != old && status["pending"].is_null()
    });
    case.active("billing")
}

fn deleted() {
    let case = Case::new(World::shared(), "deleted");
    case.settled(&json!({"rotation": {"every": "30d", "overlap": "1h"}}));
    let old = case.active("billing");
    let old_file = case.data("billing")["key.json"].clone();
    let uid = case.get("secret", "billing")["metadata"]["uid"].clone();
    let begun = Instant::now();
    case.delete("secret", "billing");
    case.until("a new Secret", || match case.find("secret", "billing") {
        Some(secret) if secret["metadata"]["uid"] != uid => Ok(()),
        other => Err(other.unwrap_or_default()["metadata"]["uid"].clone()),
    });
    let took = begun.elapsed();
    eprintln!("a deleted Secret was published again after {took:.1?}");
    // Without the watch the next look would be an hour away; it is a second or two on an idle machine.
    assert!(took < Duration::from_secs(30), "{took:?}");
    let new = replaced(&case, &old);
    let key = case.ready("iamsak", "billing");
    assert_eq!(entry(&key, &new)["reason"], "SecretMissing");
    assert_eq!(
        entry(&key, &old)["phase"],
        "Overlap",
        "whoever still holds the old one keeps it for the overlap"
    );
    assert!(case.judge(&old_file).accepted());
    case.accepted("billing");
}

fn edited() {
    let case = Case::new(World::shared(), "edited");
    case.settled(&json!({"rotation": {"every": "30d", "overlap": "1h"}}));
    let old = case.active("billing");
    case.patch("secret", "billing", &json!({"data": {"key.json": encoded(b"{}")}}));
    let new = replaced(&case, &old);
    let key = case.ready("iamsak", "billing");
    assert_eq!(entry(&key, &new)["reason"], "SecretEdited");
    assert_eq!(entry(&key, &old)["phase"], "Overlap");
    case.accepted("billing");
    // Once more: the repair waits longer each time, says so, and comes.
    case.patch("secret", "billing", &json!({"data": {"key.json": null}}));
    let message = case.event("billing", Reason::BackingOff);
    assert!(message.contains("changed by somebody else"), "{message}");
    let third = replaced(&case, &new);
    case.ready("iamsak", "billing");
    case.accepted("billing");
    let ids: Vec<String> = case.person.keys(&case.name).into_iter().map(|key| key.id).collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert!(ids.contains(&third));
}

fn foreign_credential() {
    let case = Case::new(World::shared(), "swapped");
    case.settled(&json!({}));
    let old = case.active("billing");
    let (theirs, file) = case.person.create_key(&case.name);
    case.patch("secret", "billing", &json!({"data": {"key.json": encoded(&file)}}));
    let new = replaced(&case, &old);
    assert_ne!(new, theirs);
    let key = case.ready("iamsak", "billing");
    assert!(entry(&key, &theirs).is_null(), "a key that a person made is none of ours");
    case.accepted("billing");
    assert!(case.judge(&file).accepted());
}

/// Waits until the Secret is as `holds` says.
fn secret_when(case: &Case<'_>, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    case.until(what, || {
        let secret = case.get("secret", "billing");
        if holds(&secret) { Ok(secret) } else { Err(secret["metadata"].clone()) }
    })
}

fn mended() {
    let case = Case::new(World::shared(), "mended");
    let entries =
        json!([{"key": "key.json", "format": "GoogleCredentials"}, {"key": "id", "format": "KeyId"}]);
    case.settled(
        &json!({"secret": {"labels": {"team": "pay"}, "annotations": {"note": "x"}, "entries": entries}}),
    );
    let (active, before) = (case.active("billing"), case.get("secret", "billing"));
    let original = data_of(&before);
    let file: Value = serde_json::from_slice(&original["key.json"]).unwrap();
    // What strangers add comes first, so that every repair has to carry it along.
    case.patch(
        "secret",
        "billing",
        &json!({
            "data": {"theirs": encoded(b"stay")},
            "metadata": {"labels": {"their": "label"}, "annotations": {"their/note": "stay"}},
        }),
    );
    for (what, patch) in [
        (
            "reformatted",
            json!({"data": {"key.json": encoded(serde_json::to_string(&file).unwrap().as_bytes())}}),
        ),
        ("a field of the file", {
            let mut other = file.clone();
            other["token_uri"] = json!("http://127.0.0.1:9/token");
            json!({"data": {"key.json": encoded(other.to_string().as_bytes())}})
        }),
        ("another entry", json!({"data": {"id": encoded(b"no id")}})),
        ("an entry gone", json!({"data": {"id": null}})),
        ("our mark gone", json!({"metadata": {"labels": {"keywheel.dev/owned": null}}})),
        ("a label gone", json!({"metadata": {"labels": {"team": null}}})),
        ("a label changed", json!({"metadata": {"labels": {"team": "other"}}})),
        ("an annotation gone", json!({"metadata": {"annotations": {"note": null}}})),
        ("the key id gone", json!({"metadata": {"annotations": {"keywheel.dev/key-id": null}}})),
    ] {
        case.patch("secret", "billing", &patch);
        let secret = secret_when(&case, what, |secret| {
            let (data, meta) = (data_of(secret), &secret["metadata"]);
            data.get("key.json") == original.get("key.json")
                && data.get("id") == original.get("id")
                && meta["labels"]["keywheel.dev/owned"] == "true"
                && meta["labels"]["team"] == "pay"
                && meta["annotations"]["note"] == "x"
                && meta["annotations"]["keywheel.dev/key-id"] == active.as_str()
        });
        let meta = &secret["metadata"];
        assert_eq!(data_of(&secret)["theirs"], b"stay", "{what}");
        assert_eq!(
            (&meta["labels"]["their"], &meta["annotations"]["their/note"]),
            (&json!("label"), &json!("stay"))
        );
        assert_eq!(meta["uid"], before["metadata"]["uid"], "{what}");
    }
    case.event("billing", Reason::SecretRepaired);
    let key = case.ready("iamsak", "billing");
    assert_eq!((case.active("billing"), case.count("keys.create")), (active, 1));
    assert_eq!(key["status"]["attempt"], 1);
    case.accepted("billing");
}

fn respecified() {
    let case = Case::new(World::shared(), "respec");
    let template = json!({"labels": {"team": "pay"}, "annotations": {"note": "x"}});
    case.settled(&json!({ "secret": template }));
    let active = case.active("billing");
    let file = case.data("billing")["key.json"].clone();
    case.patch("secret", "billing", &json!({"data": {"theirs": encoded(b"stay")}}));
    case.patch("iamsak", "billing", &json!({"spec": {"secret": {
        "labels": {"team": null, "squad": "bills"},
        "annotations": {"note": null},
        "entries": [{"key": "renamed.json", "format": "GoogleCredentials"}, {"key": "email", "format": "Email"}],
    }}}));
    let secret = secret_when(&case, "the new entries", |secret| {
        data_of(secret).keys().eq(["email", "renamed.json", "theirs"])
    });
    let (data, meta) = (data_of(&secret), &secret["metadata"]);
    assert_eq!((&data["renamed.json"], &data["theirs"]), (&file, &b"stay".to_vec()));
    assert_eq!(data["email"], case.email().into_bytes());
    assert_eq!((&meta["labels"]["team"], &meta["labels"]["squad"]), (&Value::Null, &json!("bills")));
    assert_eq!(meta["annotations"]["note"], Value::Null);
    case.ready("iamsak", "billing");
    assert_eq!((case.active("billing"), case.count("keys.create")), (active.clone(), 1));
    assert!(case.judge(&data["renamed.json"]).accepted());
    // And with the next key, too: nothing of the old one stays behind.
    case.patch("secret", "billing", &json!({"data": {"renamed.json": null}}));
    replaced(&case, &active);
    let data = case.data("billing");
    assert!(data.keys().eq(["email", "renamed.json", "theirs"]), "{:?}", data.keys());
    assert!(case.judge(&data["renamed.json"]).accepted());
}

/// While no new key can be made, what the Secret holds is all that workloads have.
fn put_back() {
    let case = Case::at(World::shared(), "putback", start_iam(IamOptions::default()), &json!({}));
    case.settled(&json!({"rotation": {"every": "10s", "overlap": "5s", "deleteAfter": "1h"}}));
    let old = case.active("billing");
    let old_file = case.data("billing")["key.json"].clone();
    case.when("iamsak", "billing", "rotated", |key| key["status"]["rotations"] == 1);
    let no = json!({"fail": {"status": 403, "canonical": "PERMISSION_DENIED", "message": "not now"}});
    let fault = json!({"operation": "keys.create", "action": no, "times": 1000, "match": case.email()});
    case.iam().fault(&fault).unwrap();
    case.patch("secret", "billing", &json!({"data": {"key.json": encoded(&old_file)}}));
    case.told("iamsak", "billing", "Ready", "False", Reason::PermissionMissing);
    let key = case.get("iamsak", "billing");
    assert_eq!(super::case::condition(&key, "SecretPublished")["reason"], Reason::SecretEdited.as_str());
    let due = super::case::time(&entry(&key, &old)["disableAt"]);
    // Two more refusals after the end of the overlap: it was looked at, and left alone.
    let refusals = |after: jiff::Timestamp| {
        case.requests()
            .iter()
            .filter(|call| call.operation == "keys.create" && super::case::time(&call.raw["time"]) > after)
            .count()
    };
    case.until("tries after the overlap", || match refusals(due) {
        0 | 1 => Err(json!(due.to_string())),
        _ => Ok(()),
    });
    assert_eq!(entry(&case.get("iamsak", "billing"), &old)["phase"], "Overlap");
    case.accepted("billing");
    case.iam().clear_faults().unwrap();
    case.when("iamsak", "billing", "a new key", |key| key["status"]["rotations"] == 2);
    case.accepted("billing");
    case.when("iamsak", "billing", "the old key's end", |key| entry(key, &old)["phase"] == "Disabled");
}

/// The name of the stranger's entry sorts before ours.
fn beside() {
    let case = Case::new(World::shared(), "beside");
    case.settled(&json!({}));
    let active = case.active("billing");
    let (_, file) = case.person.create_key(&case.name);
    case.patch("secret", "billing", &json!({"data": {"a.json": encoded(&file)}}));
    // A repair from the private half shows that the right one was found.
    let before = case.data("billing")["key.json"].clone();
    let mut broken: Value = serde_json::from_slice(&before).unwrap();
    broken["client_email"] = json!("nobody@nowhere.test");
    case.patch("secret", "billing", &json!({"data": {"key.json": encoded(broken.to_string().as_bytes())}}));
    let secret = secret_when(&case, "repaired", |secret| data_of(secret)["key.json"] == before);
    assert_eq!(data_of(&secret)["a.json"], file);
    assert_eq!(
        (case.active("billing"), case.get("iamsak", "billing")["status"]["attempt"].clone()),
        (active, json!(1))
    );
    case.accepted("billing");
}

fn their_key() {
    let case = Case::new(World::shared(), "theirs");
    case.account(&json!({}));
    case.ready("iamsa", "billing");
    let (before, before_file) = case.person.create_key(&case.name);
    case.key("billing", &json!({"rotation": {"every": "10s", "overlap": "2s", "deleteAfter": "1s"}}));
    case.ready("iamsak", "billing");
    let first = case.active("billing");
    let (during, during_file) = case.person.create_key(&case.name);
    // One that they disabled stays disabled.
    let (off, off_file) = case.person.create_key(&case.name);
    case.person.disable_key(&case.name, &off);
    let key = case.when("iamsak", "billing", "a whole turn", |key| {
        key["status"]["rotations"] == 1 && entry(key, &first).is_null()
    });
    for id in [&before, &during, &off] {
        assert!(entry(&key, id).is_null(), "{id} is in the ledger");
    }
    assert_eq!(key["status"]["suspects"], Value::Null);
    case.delete("iamsak", "billing");
    case.gone("iamsak", "billing");
    let mut left: Vec<(String, bool)> =
        case.person.keys(&case.name).into_iter().map(|key| (key.id, key.disabled)).collect();
    let mut expected = vec![(before, false), (during, false), (off, true)];
    left.sort();
    expected.sort();
    assert_eq!(left, expected);
    assert!(case.judge(&before_file).accepted() && case.judge(&during_file).accepted());
    case.refused(&off_file);
}

fn suspended() {
    let case = Case::new(World::shared(), "suspend");
    case.settled(
        &json!({"rotation": {"every": "10s", "overlap": "2s", "deleteAfter": "1h", "suspend": true}}),
    );
    let first = case.active("billing");
    let due = super::case::time(&case.get("iamsak", "billing")["status"]["nextRotationTime"]);
    // The repair of a lost Secret goes on.
    case.delete("secret", "billing");
    let second = replaced(&case, &first);
    let overlap = super::case::time(&entry(&case.ready("iamsak", "billing"), &first)["disableAt"]);
    // Well past both times: a write of the spec makes it look again, and it does nothing.
    case.until("both times to pass", || {
        let now = jiff::Timestamp::now();
        let last = due.max(overlap) + jiff::SignedDuration::from_secs(2);
        if now > last { Ok(()) } else { Err(json!(now.to_string())) }
    });
    case.patch("iamsak", "billing", &json!({"spec": {"verification": {"timeout": "11m"}}}));
    let key = case.ready("iamsak", "billing");
    assert_eq!(
        (case.active("billing"), entry(&key, &first)["phase"].clone()),
        (second.clone(), json!("Overlap"))
    );
    assert!(case.person.keys(&case.name).iter().all(|key| !key.disabled));
    case.patch("iamsak", "billing", &json!({"spec": {"rotation": {"suspend": false}}}));
    replaced(&case, &second);
    case.when("iamsak", "billing", "the first key disabled", |key| entry(key, &first)["phase"] == "Disabled");
    case.accepted("billing");
}
