//! Members: an account has one role in the project.

use jiff::Timestamp;
use keywheel::backend::policies::{Binding, Policy};

use super::call::{Answer, Call, Refusal};
use super::model::Iam;
use super::policy::member;

impl Iam {
    /// A call about a member.
    pub(super) fn member(&mut self, call: &Call, now: Timestamp) -> Result<Answer, Refusal> {
        match call {
            Call::ReadMember { account, .. } => Ok(Answer::Roles(self.roles_of(account, self.policy.now()))),
            Call::CreateMember { email, role, .. } => {
                let account = self.handled(email).ok_or_else(Refusal::invalid)?.account.unique_id.clone();
                if self.is_no_member(&account) {
                    self.give(&account, Some(role), now)
                } else {
                    Err(Refusal::already_exists())
                }
            }
            Call::PatchMember { account, .. } | Call::DeleteMember { account, .. }
                if self.is_no_member(account) =>
            {
                Err(Refusal::not_found())
            }
            Call::PatchMember { account, role, .. } => self.give(account, Some(role), now),
            Call::DeleteMember { account, .. } => self.give(account, None, now),
            _ => Err(Refusal::unsupported()),
        }
    }

    fn is_no_member(&self, account: &str) -> bool {
        self.roles_of(account, self.policy.now()).is_empty()
    }

    /// The roles of a member by what a policy said.
    pub fn roles_of(&self, account: &str, policy: &Policy) -> Vec<String> {
        let Some(record) = self.accounts.get(account) else { return Vec::new() };
        let member = member(&record.account.email);
        let of = policy.bindings.iter().filter(|binding| binding.members.contains(&member));
        of.map(|binding| binding.role.clone()).collect()
    }

    /// A member gets this role in place of the one that it has, or leaves.
    pub fn give(&mut self, account: &str, role: Option<&str>, now: Timestamp) -> Result<Answer, Refusal> {
        let email = self.account_mut(account)?.account.email.clone();
        self.policy.leave(&email, now);
        if let Some(role) = role {
            self.policy.edit(now, |policy| {
                policy.bindings.push(Binding::new().set_role(role).set_members([member(&email)]));
            });
        }
        Ok(Answer::Done)
    }
}
