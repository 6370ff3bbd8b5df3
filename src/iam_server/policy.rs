//! IAM policies: who has which role on a project or on an account, and the rules by which a policy is replaced.
//!
//! Version rules and etags as the API documents them (`Policy` in the discovery documents of IAM v1 and Resource
//! Manager v1 and v3): a policy is replaced whole, its etag guards the replacement, and conditions need version 3.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Most members of one policy, each counted as often as it is bound.
const MAX_MEMBERS: usize = 1500;
/// The version that knows conditions.
const WITH_CONDITIONS: i64 = 3;
/// Etag of a policy that nobody has written yet.
const NEVER_WRITTEN: &str = "ACAB";
/// What follows the role of a conditional binding where the reader does not know conditions.
const HIDDEN_CONDITION: &str = "_withcond_";

/// A policy as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    bindings: Vec<Binding>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    audit_configs: Vec<Value>,
    /// Counts the replacements; the etag.
    revision: u64,
}

/// Members who have a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Such as `roles/viewer`.
    pub role: String,
    /// Who has it.
    pub members: Vec<Member>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Member {
    /// A service account of this server. It is bound by its unique id: one that is made again under the same address
    /// has nothing.
    Account {
        /// Its unique id.
        unique_id: String,
        /// Its address, also when it is gone.
        email: String,
    },
    /// Somebody else, as written: `user:…`, `group:…`, `principalSet:…`.
    Other(String),
}

/// When a binding holds: an expression in CEL. This server stores it and does not evaluate it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The expression.
    #[serde(default)]
    pub expression: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where it stands, for messages.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub location: String,
}

/// A policy as a caller sends it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Proposal {
    /// 0, 1 or 3.
    pub version: i64,
    /// All bindings.
    pub bindings: Vec<ProposedBinding>,
    /// All audit configurations.
    #[serde(alias = "audit_configs")]
    pub audit_configs: Vec<Value>,
    /// Of the policy that was read; absent: whatever is there is replaced.
    pub etag: Option<String>,
}

/// A binding as a caller sends it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProposedBinding {
    /// The role.
    pub role: String,
    /// The members.
    pub members: Vec<String>,
    /// When it holds.
    pub condition: Option<Condition>,
}

/// Why a policy is not replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is malformed.
    #[error("{0}")]
    Invalid(String),
    /// It rests on another one than the one that is there.
    #[error(
        "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff."
    )]
    Stale,
}

impl Policy {
    /// Who has which role.
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// Changes with every replacement.
    pub fn etag(&self) -> String {
        if self.revision == 0 {
            return NEVER_WRITTEN.to_owned();
        }
        let mut bytes = self.revision.to_be_bytes();
        bytes[0] = 7;
        STANDARD.encode(bytes)
    }

    fn has_conditions(&self) -> bool {
        self.bindings.iter().any(|binding| binding.condition.is_some())
    }

    /// The policy for a caller that knows this version. `shown` writes a member.
    ///
    /// # Errors
    /// Those of `shown`.
    pub fn render<E>(
        &self,
        requested: i64,
        mut shown: impl FnMut(&Member) -> Result<String, E>,
    ) -> Result<Value, E> {
        let mut fields = Map::new();
        let full = requested >= WITH_CONDITIONS;
        if !self.bindings.is_empty() {
            let version = if full && self.has_conditions() { WITH_CONDITIONS } else { 1 };
            fields.insert("version".to_owned(), version.into());
            let bindings: Vec<Value> = self
                .bindings
                .iter()
                .map(|binding| binding.render(full, &mut shown))
                .collect::<Result<_, _>>()?;
            fields.insert("bindings".to_owned(), bindings.into());
        }
        if !self.audit_configs.is_empty() {
            fields.insert("auditConfigs".to_owned(), self.audit_configs.clone().into());
        }
        fields.insert("etag".to_owned(), self.etag().into());
        Ok(Value::Object(fields))
    }

    /// What becomes of it if a caller replaces it. `member` reads a member; audit configurations are replaced only if
    /// the caller's mask names them.
    ///
    /// # Errors
    /// [`Refusal`], and those of `member`.
    pub fn replaced<E: From<Refusal>>(
        &self,
        proposal: Proposal,
        with_audit: bool,
        mut member: impl FnMut(&str) -> Result<Member, E>,
    ) -> Result<Self, E> {
        let etag = proposal.etag.as_deref().filter(|etag| !etag.is_empty());
        if let Some(etag) = etag {
            if STANDARD.decode(etag).is_err() {
                return Err(
                    invalid("Invalid value at 'policy.etag' (TYPE_BYTES), Base64 decoding failed.").into()
                );
            }
            if etag != self.etag() {
                return Err(Refusal::Stale.into());
            }
        }
        if !matches!(proposal.version, 0 | 1 | WITH_CONDITIONS) {
            return Err(invalid(format!("Policy version {} is not valid.", proposal.version)).into());
        }
        let wants = proposal.bindings.iter().any(|binding| binding.condition.is_some());
        // Without an etag the caller overwrites what it may never have seen, conditions included.
        if proposal.version < WITH_CONDITIONS && (wants || etag.is_some() && self.has_conditions()) {
            return Err(invalid("Policies with conditional role bindings must specify version 3.").into());
        }
        let mut bindings: Vec<Binding> = Vec::new();
        for proposed in proposal.bindings {
            let binding = proposed.checked(&mut member)?;
            match bindings.iter_mut().find(|b| b.role == binding.role && b.condition == binding.condition) {
                Some(same) => same.members.extend(binding.members),
                None => bindings.push(binding),
            }
        }
        for binding in &mut bindings {
            let mut seen = BTreeSet::new();
            binding.members.retain(|member| seen.insert(member.clone()));
        }
        bindings.retain(|binding| !binding.members.is_empty());
        bindings.sort_by(|a, b| (&a.role, &a.condition).cmp(&(&b.role, &b.condition)));
        if bindings.iter().map(|binding| binding.members.len()).sum::<usize>() > MAX_MEMBERS {
            return Err(invalid(format!(
                "The number of members in the policy is larger than {MAX_MEMBERS}."
            ))
            .into());
        }
        let audit_configs = if with_audit { proposal.audit_configs } else { self.audit_configs.clone() };
        Ok(Self { bindings, audit_configs, revision: self.revision + 1 })
    }
}

impl Binding {
    fn render<E>(
        &self,
        full: bool,
        shown: &mut impl FnMut(&Member) -> Result<String, E>,
    ) -> Result<Value, E> {
        let members = self.members.iter().map(shown).collect::<Result<Vec<String>, E>>()?;
        Ok(match &self.condition {
            None => json!({"role": self.role, "members": members}),
            Some(condition) if full => {
                json!({"role": self.role, "members": members, "condition": condition})
            }
            Some(condition) => {
                let mark = crc(&condition.expression);
                json!({"role": format!("{}{HIDDEN_CONDITION}{mark:08x}", self.role), "members": members})
            }
        })
    }
}

/// Tells conditions apart; nobody computes it but this server.
fn crc(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl ProposedBinding {
    fn checked<E: From<Refusal>>(
        self,
        member: &mut impl FnMut(&str) -> Result<Member, E>,
    ) -> Result<Binding, E> {
        if !is_role(&self.role) {
            return Err(
                invalid(format!("Role ({}) does not exist in the resource's hierarchy.", self.role)).into()
            );
        }
        if self.condition.as_ref().is_some_and(|c| c.expression.is_empty() || c.title.is_empty()) {
            return Err(invalid("A condition must have an expression and a title.").into());
        }
        let members = self.members.iter().map(|text| member(text)).collect::<Result<_, _>>()?;
        Ok(Binding { role: self.role, members, condition: self.condition })
    }
}

/// `roles/x`, `projects/p/roles/x` or `organizations/o/roles/x`.
fn is_role(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let (["roles", name] | ["projects" | "organizations", _, "roles", name]) = parts.as_slice() else {
        return false;
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._".contains(&byte);
    !name.is_empty() && name.bytes().all(plain) && !name.contains(HIDDEN_CONDITION)
}

fn invalid(reason: impl Into<String>) -> Refusal {
    Refusal::Invalid(reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(text: &str) -> Member {
        match text.strip_prefix("serviceAccount:") {
            Some(id) => Member::Account { unique_id: id.to_owned(), email: format!("{id}@p1") },
            None => Member::Other(text.to_owned()),
        }
    }

    fn rendered(policy: &Policy, requested: i64) -> Value {
        let shown = |member: &Member| {
            Ok::<_, Refusal>(match member {
                Member::Account { unique_id, .. } => format!("serviceAccount:{unique_id}"),
                Member::Other(text) => text.clone(),
            })
        };
        policy.render(requested, shown).unwrap()
    }

    fn proposal(value: Value) -> Proposal {
        serde_json::from_value(value).unwrap()
    }

    fn replace(policy: &Policy, value: Value) -> Result<Policy, Refusal> {
        policy.replaced(proposal(value), false, |text| Ok::<_, Refusal>(member(text)))
    }

    fn conditional() -> Policy {
        let bindings = json!([{"role": "roles/viewer", "members": ["serviceAccount:1"],
            "condition": {"title": "night", "expression": "request.time.getHours() < 6"}}]);
        replace(&Policy::default(), json!({"version": 3, "bindings": bindings})).unwrap()
    }

    #[test]
    fn a_policy_that_nobody_wrote_is_its_etag() {
        assert_eq!(rendered(&Policy::default(), 3), json!({"etag": "ACAB"}));
    }

    #[test]
    fn an_etag_guards_the_replacement() {
        let first = replace(&Policy::default(), json!({"etag": "ACAB"})).unwrap();
        assert_ne!(first.etag(), Policy::default().etag());
        assert_eq!(STANDARD.decode(first.etag()).unwrap().len(), 8);
        assert_eq!(replace(&first, json!({"etag": "ACAB"})), Err(Refusal::Stale));
        replace(&first, json!({"etag": first.etag()})).unwrap();
        replace(&first, json!({})).unwrap();
        assert!(matches!(replace(&first, json!({"etag": "AC"})), Err(Refusal::Invalid(_))));
    }

    #[test]
    fn conditions_need_version_3() {
        let policy = conditional();
        assert_eq!(rendered(&policy, 3)["version"], 3);
        let plain = json!({"bindings": [{"role": "roles/viewer", "members": ["user:a@b"]}]});
        let mut guarded = plain.clone();
        guarded["etag"] = policy.etag().into();
        assert!(matches!(replace(&policy, guarded.clone()), Err(Refusal::Invalid(_))));
        guarded["version"] = 3.into();
        let without = replace(&policy, guarded).unwrap();
        assert_eq!(rendered(&without, 3)["version"], 1, "no conditions remain");
        // Nothing guards a caller that echoes no etag.
        assert!(!replace(&policy, plain).unwrap().has_conditions());
        let with = json!({"version": 1, "bindings": [{"role": "roles/viewer", "members": ["user:a@b"],
            "condition": {"title": "t", "expression": "true"}}]});
        assert!(matches!(replace(&Policy::default(), with), Err(Refusal::Invalid(_))));
        assert!(replace(&Policy::default(), json!({"version": 2})).is_err());
    }

    #[test]
    fn a_reader_that_knows_no_conditions_cannot_write_back_what_it_read() {
        let policy = conditional();
        let read = rendered(&policy, 1);
        assert_eq!(read["version"], 1);
        let role = read["bindings"][0]["role"].as_str().unwrap();
        assert!(role.starts_with("roles/viewer_withcond_"), "{role}");
        assert!(matches!(replace(&policy, read), Err(Refusal::Invalid(_))));
    }

    #[test]
    fn bindings_are_kept_in_one_order_and_merged() {
        let policy = replace(
            &Policy::default(),
            json!({"bindings": [
                {"role": "roles/viewer", "members": ["user:b@x", "user:a@x"]},
                {"role": "roles/editor", "members": []},
                {"role": "roles/browser", "members": ["user:a@x"]},
                {"role": "roles/viewer", "members": ["user:a@x", "user:c@x"]},
            ]}),
        )
        .unwrap();
        assert_eq!(
            rendered(&policy, 3)["bindings"],
            json!([
                {"role": "roles/browser", "members": ["user:a@x"]},
                {"role": "roles/viewer", "members": ["user:b@x", "user:a@x", "user:c@x"]},
            ])
        );
    }

    #[test]
    fn audit_configurations_stay_unless_the_mask_names_them() {
        let audit = json!({"auditConfigs": [{"service": "allServices"}]});
        let policy =
            Policy::default().replaced(proposal(audit), true, |text| Ok::<_, Refusal>(member(text))).unwrap();
        let kept = replace(&policy, json!({})).unwrap();
        assert_eq!(rendered(&kept, 1)["auditConfigs"][0]["service"], "allServices");
    }

    #[test]
    fn roles() {
        for good in ["roles/viewer", "roles/iam.serviceAccountAdmin", "projects/p1/roles/mine"] {
            assert!(is_role(good), "{good}");
        }
        for bad in ["viewer", "roles/", "roles/a/b", "projects/p1/mine", "roles/viewer_withcond_1"] {
            assert!(!is_role(bad), "{bad}");
        }
    }
}
