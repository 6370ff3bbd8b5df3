//! What a spec asks for and the backend lacks: refused before anything is made.

use crate::api::v1alpha1::{KeySource, ServiceAccountKeySpec, VerificationMode};
use crate::domain::{Capabilities, Reason};

/// What is lacking, by the name of its field, and what to do.
pub(super) fn lacking(spec: &ServiceAccountKeySpec, can: &Capabilities) -> Option<(Reason, String)> {
    let rotation = spec.rotation.as_ref();
    let asked = [
        (
            spec.validity.is_some() && !can.upload_keys,
            "The backend takes no uploaded keys, and its own have no end: remove validity, and set keySource: Backend",
        ),
        (
            spec.key_source == KeySource::Local && !can.upload_keys,
            "The backend takes no uploaded keys: set keySource: Backend",
        ),
        (
            spec.algorithm.is_some() && can.algorithms.is_empty(),
            "The backend knows one kind of key: remove algorithm",
        ),
        (
            rotation.is_some_and(|r| r.delete_after.is_some()) && !can.disable_keys,
            "The backend cannot disable a key, it ends at the end of its overlap: remove rotation.deleteAfter",
        ),
        (
            rotation.is_some_and(|r| r.require_unused_for.is_some()) && !can.last_use,
            "The backend does not tell when a key was last used: remove rotation.requireUnusedFor",
        ),
        (
            spec.verification.mode == VerificationMode::TokenExchange && !can.token_exchange,
            "The backend exchanges no key for a token: set verification.mode: None",
        ),
    ];
    if let Some((_, message)) = asked.into_iter().find(|(lacking, _)| *lacking) {
        return Some((Reason::CapabilityMissing, message.to_owned()));
    }
    let algorithm = spec.algorithm.unwrap_or_default().as_str();
    if !can.algorithms.is_empty() && !can.algorithms.iter().any(|offered| offered == algorithm) {
        let message =
            format!("The backend does not offer {algorithm}; it offers {}", can.algorithms.join(", "));
        return Some((Reason::AlgorithmUnsupported, message));
    }
    let entry = spec.secret.entries.iter().find(|entry| !can.formats.contains(&entry.format))?;
    let offered: Vec<String> = can.formats.iter().map(|format| format!("{format:?}")).collect();
    let message = format!(
        "A key of the backend has no form {:?}, which secret.entries asks for as {}, if only by default: write entries of {}",
        entry.format,
        entry.key,
        offered.join(", ")
    );
    Some((Reason::CapabilityMissing, message))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(more: &Value, can: &Capabilities) -> Option<String> {
        let entries = json!([{"key": "id", "format": "KeyId"}, {"key": "e", "format": "Email"}]);
        let mut spec = json!({"serviceAccountRef": {"name": "a"}, "secret": {"entries": entries}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let spec: ServiceAccountKeySpec = serde_json::from_value(spec).unwrap();
        lacking(&spec, can).map(|(reason, message)| format!("{}: {message}", reason.as_str()))
    }

    #[test]
    fn each_field_is_named_where_it_is_lacking_and_taken_where_it_is_not() {
        let less = Capabilities::disruptive();
        let more = Capabilities { algorithms: vec!["RSA_2048".to_owned()], ..Capabilities::google() };
        for (asked, words) in [
            (json!({"keySource": "Local"}), "set keySource: Backend"),
            (json!({"keySource": "Local", "validity": "90d"}), "remove validity, and set keySource"),
            (json!({"algorithm": "RSA_2048"}), "remove algorithm"),
            (json!({"rotation": {"deleteAfter": "1h"}}), "remove rotation.deleteAfter"),
        ] {
            let refused = told(&asked, &less).unwrap();
            assert!(refused.starts_with("CapabilityMissing: ") && refused.contains(words), "{refused}");
            assert_eq!(told(&asked, &more), None, "{asked}");
        }
        let unused = json!({"rotation": {"requireUnusedFor": "1h"}});
        for (last_use, taken) in [(true, true), (false, false)] {
            let can = Capabilities { last_use, ..more.clone() };
            assert_eq!(told(&unused, &can).is_none(), taken);
        }
        assert_eq!((told(&json!({}), &less), told(&json!({}), &more)), (None, None));
    }

    #[test]
    fn no_token_is_asked_for_where_there_is_none() {
        let without = Capabilities { token_exchange: false, ..Capabilities::disruptive() };
        for (mode, taken) in [("TokenExchange", false), ("None", true)] {
            let asked = json!({"verification": {"mode": mode}});
            assert_eq!(told(&asked, &without).is_none(), taken, "{mode}");
            assert_eq!(told(&asked, &Capabilities::disruptive()), None);
        }
    }

    #[test]
    fn an_algorithm_and_a_form_are_among_those_on_offer() {
        let can = Capabilities { algorithms: vec!["RSA_2048".to_owned()], ..Capabilities::google() };
        let refused = told(&json!({"algorithm": "RSA_1024"}), &can).unwrap();
        assert!(refused.starts_with("AlgorithmUnsupported: ") && refused.contains("RSA_2048"), "{refused}");
        let google = json!({"secret": {"entries": [{"key": "key.json", "format": "GoogleCredentials"}]}});
        assert_eq!(told(&google, &can), None);
        let refused = told(&google, &Capabilities::disruptive()).unwrap();
        assert!(
            refused.contains("GoogleCredentials") && refused.contains("DisruptiveCredentials"),
            "{refused}"
        );
    }
}
