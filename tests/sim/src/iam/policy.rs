//! The policy of the project: who has which role. It is replaced as a whole, guarded by its etag.

use google_cloud_iam_v1::model::AuditConfig;
use google_cloud_type::model::Expr;
use jiff::Timestamp;
use keywheel::backend::policies::{Binding, Policy};
use keywheel::domain::account::Account;

use super::call::Refusal;

/// The policy of the project, with what it was before.
pub struct ProjectPolicy {
    now: Policy,
    revision: u64,
    /// What it was, and until when.
    earlier: Vec<(Timestamp, Policy)>,
}

impl Default for ProjectPolicy {
    /// Other people are there already: in bindings of roles that accounts ask for, too.
    fn default() -> Self {
        let bound =
            |role: &str, members: &[&str]| Binding::new().set_role(role).set_members(members.iter().copied());
        let until =
            Expr::new().set_title("until").set_expression("request.time < timestamp('2030-01-01T00:00:00Z')");
        let now = Policy::new()
            .set_version(3)
            .set_etag(etag(0))
            .set_audit_configs([AuditConfig::new().set_service("allServices")])
            .set_bindings([
                bound(
                    "roles/viewer",
                    &["user:ann@example.com", "serviceAccount:build@other.iam.gserviceaccount.com"],
                ),
                bound("roles/viewer", &["user:guest@example.com"]).set_condition(until),
                bound("roles/editor", &["group:ops@example.com"]),
                bound("roles/owner", &["user:ann@example.com"]),
            ]);
        Self { now, revision: 0, earlier: Vec::new() }
    }
}

impl ProjectPolicy {
    /// What it says.
    pub fn now(&self) -> &Policy {
        &self.now
    }

    /// What it said at a moment.
    pub fn at(&self, then: Timestamp) -> &Policy {
        self.earlier.iter().find(|(until, _)| then < *until).map_or(&self.now, |(_, policy)| policy)
    }

    /// Whether a proposal rests on what the policy now says, or on nothing.
    pub fn is_current(&self, proposal: &Policy) -> bool {
        proposal.etag.is_empty() || proposal.etag == self.now.etag
    }

    /// Replaces it.
    pub fn replace(
        &mut self,
        proposal: &Policy,
        is_there: impl Fn(&str) -> bool,
        now: Timestamp,
    ) -> Result<Policy, Refusal> {
        if !self.is_current(proposal) {
            return Err(Refusal::aborted());
        }
        let members = |policy: &Policy| -> Vec<String> {
            policy.bindings.iter().flat_map(|binding| binding.members.clone()).collect()
        };
        let known = members(&self.now);
        // Who was never there, or is there no more, is bound to nothing.
        let strange = |member: &String| {
            let of_account = member.strip_prefix("serviceAccount:").is_some_and(|email| !is_there(email));
            (of_account || member.starts_with("deleted:")) && !known.contains(member)
        };
        let is_empty = |binding: &Binding| binding.members.is_empty();
        if proposal.bindings.iter().any(is_empty) || members(proposal).iter().any(strange) {
            return Err(Refusal::invalid());
        }
        self.edit(now, |policy| {
            policy.bindings.clone_from(&proposal.bindings);
            policy.audit_configs.clone_from(&proposal.audit_configs);
        });
        Ok(self.now.clone())
    }

    /// Somebody else changes it.
    pub fn edit(&mut self, now: Timestamp, change: impl FnOnce(&mut Policy)) {
        self.earlier.push((now, self.now.clone()));
        self.revision += 1;
        change(&mut self.now);
        self.now.bindings.retain(|binding| !binding.members.is_empty());
        self.now.etag = etag(self.revision);
    }

    /// A member leaves all that it is in.
    pub fn leave(&mut self, email: &str, now: Timestamp) {
        let gone = member(email);
        if self.now.bindings.iter().any(|binding| binding.members.contains(&gone)) {
            self.edit(now, |policy| {
                policy.bindings.iter_mut().for_each(|binding| binding.members.retain(|m| *m != gone));
            });
        }
    }

    /// An account was deleted, or came back: its bindings stay, under another name.
    pub(super) fn rename(&mut self, account: &Account, deleted: bool, now: Timestamp) {
        let (living, ghost) = (member(&account.email), ghost(account));
        let (from, to) = if deleted { (living, ghost) } else { (ghost, living) };
        if self.now.bindings.iter().any(|binding| binding.members.contains(&from)) {
            self.edit(now, |policy| {
                let all = policy.bindings.iter_mut().flat_map(|binding| &mut binding.members);
                all.filter(|member| **member == from).for_each(|member| member.clone_from(&to));
            });
        }
    }
}

fn etag(revision: u64) -> bytes::Bytes {
    bytes::Bytes::from(format!("etag-{revision}"))
}

/// How a policy names an account.
pub fn member(email: &str) -> String {
    format!("serviceAccount:{email}")
}

/// How it names one that was deleted.
pub fn ghost(account: &Account) -> String {
    format!("deleted:serviceAccount:{}?uid={}", account.email, account.unique_id)
}
