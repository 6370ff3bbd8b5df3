//! Secrets that a person edited.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywheel::domain::Reason;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{account, case, key, token};
use crate::operator::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("disruptive::edits::the_file_of_another_backend_is_no_credential", foreign),
        trial("disruptive::edits::nor_is_it_in_a_secret_that_stayed", retained),
    ]
}

fn foreign() {
    let case = case("foreign", &json!({}));
    account(&case, &json!({}));
    case.key("billing", &key(&json!({"rotation": {"every": "30d", "overlap": "1h"}})));
    case.ready("iamsak", "billing");
    let first = case.active("billing");
    let file = case.data("billing")["credentials.json"].clone();
    let theirs = std::fs::read(case.iam().admin_key_file()).unwrap();
    let data = json!({"credentials.json": STANDARD.encode(theirs), "DT_SERVICE_ACCOUNT_SECRET": null});
    case.patch("secret", "billing", &json!({"data": data}));
    let second = case.until("another key", || match case.active("billing") {
        id if id == first => Err(json!(id)),
        id => Ok(id),
    });
    let after = case.ready("iamsak", "billing");
    let entry = |id: &str| {
        let keys = after["status"]["keys"].as_array().unwrap();
        keys.iter().find(|key| key["id"] == id).cloned().unwrap_or(Value::Null)
    };
    assert_eq!(entry(&second)["reason"], Reason::SecretEdited.to_string());
    assert_eq!(entry(&first)["phase"], "Overlap");
    token(case.iam(), &case.data("billing")["credentials.json"]).unwrap();
    token(case.iam(), &file).unwrap();
}

/// No status says any more what the Secret held.
fn retained() {
    let case = case("retained", &json!({}));
    account(&case, &json!({}));
    let mut spec = key(&json!({"deletionPolicy": "Retain"}));
    spec["secret"]["deletionPolicy"] = json!("Retain");
    case.key("billing", &spec);
    case.ready("iamsak", "billing");
    let first = case.active("billing");
    case.delete("iamsak", "billing");
    case.gone("iamsak", "billing");
    let theirs = std::fs::read(case.iam().admin_key_file()).unwrap();
    let data = json!({"credentials.json": STANDARD.encode(theirs), "DT_SERVICE_ACCOUNT_SECRET": null});
    case.patch("secret", "billing", &json!({"data": data}));
    case.key("billing", &spec);
    case.ready("iamsak", "billing");
    assert_ne!(case.active("billing"), first);
    token(case.iam(), &case.data("billing")["credentials.json"]).unwrap();
}
