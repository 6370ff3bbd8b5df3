//! What people ask for by annotation.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::v1alpha1::meta;
use crate::domain::key::Requests;

/// Reads the annotations. What cannot be understood is told, not guessed.
pub fn read(annotations: &BTreeMap<String, String>) -> Requests {
    let mut invalid = Vec::new();
    let mut time = |name: &str| {
        let text = annotations.get(name)?;
        match text.trim().parse::<Timestamp>() {
            Ok(time) => Some(time),
            Err(_) => {
                invalid.push(format!("{name}: {text:?} is no time; write it as 2026-01-31T12:00:00Z"));
                None
            }
        }
    };
    let (rotate_at, revoke_at) = (time(meta::ROTATE_AT), time(meta::REVOKE_AT));
    let ids = |name: &str| {
        let listed = annotations.get(name).map(String::as_str).unwrap_or_default();
        listed.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect()
    };
    Requests {
        abandon: annotations.contains_key(meta::ABANDON),
        rotate_at,
        revoke_at,
        claim: ids(meta::CLAIM_KEY),
        disown: ids(meta::DISOWN_KEY),
        invalid: (!invalid.is_empty()).then(|| invalid.join("; ")),
    }
}
