//! Names that are derived, so that two passes find the same object.

/// Name of the staging Secret of one attempt. The nonce is random: a counter could come back after the status
/// was lost and find the Secret of another attempt.
pub fn staging_secret(uid: &str, nonce: &str) -> String {
    let short: String = uid.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    format!("kw-{short}-{nonce}")
}

/// The account as annotations name it.
pub fn account(project: &str, unique_id: &str) -> String {
    format!("{project}/{unique_id}")
}

/// The project of a resource name, `projects/<project>/...`.
pub fn project_of(resource_name: &str) -> Option<&str> {
    resource_name.strip_prefix("projects/").and_then(|rest| rest.split('/').next())
}

/// Whether a resource name, `projects/<project>/...`, is of this project. A name that is not known yet is.
pub fn is_in_project(resource_name: Option<&str>, project: &str) -> bool {
    resource_name.is_none_or(|name| project_of(name) == Some(project))
}

/// A number that is stable for a text and differs between texts (FNV-1a, 64 bits): for jitter, not for
/// security.
pub fn stable_hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The part of an account's description at the backend that says whose it is: cluster and object.
pub fn owner_mark(cluster_id: &str, uid: &str) -> String {
    format!("keywheel:{cluster_id}/{uid}")
}

/// Splits a description into the user's text and the owner mark, if it ends in one.
pub fn split_mark(description: &str) -> (&str, Option<&str>) {
    match description.rfind("keywheel:") {
        Some(at) => {
            let (text, mark) = description.split_at(at);
            let whole = mark.split('/').count() == 2 && !mark.contains(char::is_whitespace);
            if whole && (text.is_empty() || text.ends_with(' ')) {
                (text.trim_end(), Some(mark))
            } else {
                (description, None)
            }
        }
        None => (description, None),
    }
}

/// The description with its mark behind it.
pub fn join_mark(text: &str, mark: &str) -> String {
    if text.is_empty() { mark.to_owned() } else { format!("{text} {mark}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staging_name_is_a_valid_object_name() {
        assert_eq!(staging_secret("1b4e28ba-2fa1-11d2", "k3j4"), "kw-1b4e28ba-k3j4");
    }

    #[test]
    fn a_resource_name_tells_its_project() {
        let name = "projects/farm/serviceAccounts/a@farm.example";
        assert_eq!(project_of(name), Some("farm"));
        assert_eq!(project_of("organizations/farm/roles/a"), None);
        assert!(is_in_project(Some(name), "farm") && !is_in_project(Some(name), "far"));
        assert!(is_in_project(None, "far"), "not known yet");
    }

    #[test]
    fn the_mark_survives_the_round_trip() {
        let mark = owner_mark("c-1", "u-2");
        for text in ["", "billing exports", "talks about keywheel: yes"] {
            let whole = join_mark(text, &mark);
            assert_eq!(split_mark(&whole), (text, Some(mark.as_str())), "{whole}");
        }
    }

    #[test]
    fn a_text_that_only_mentions_us_is_no_mark() {
        for text in ["keywheel: is nice/bad", "see keywheel:docs", "xkeywheel:a/b"] {
            assert_eq!(split_mark(text), (text, None));
        }
    }
}
