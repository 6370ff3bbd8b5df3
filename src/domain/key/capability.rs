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
