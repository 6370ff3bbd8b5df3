//! Roles: whose members come and go by the operator's hand, and whether it remembers what it bound.

use std::collections::{BTreeMap, BTreeSet};

use keywheel::backend::policies::{Binding, Policy};
use serde_json::{Value, json};

use super::{Oracle, Violation};
use crate::actor::Kind;
use crate::api_server::watch::Shared;
use crate::api_server::{Change, ChangeKind};
use crate::iam::{AccountRecord, Iam, ghost, member};

/// What tells bindings apart: a role and its condition.
pub(super) type Bound = String;

/// What is known about the roles of accounts.
#[derive(Default)]
pub(super) struct Roles {
    /// The account of an object, by uid.
    accounts: BTreeMap<String, String>,
    /// Roles that an object ever asked for, by uid.
    asked: BTreeMap<String, BTreeSet<Bound>>,
    /// What the operator bound and nobody took away, by account.
    made: BTreeSet<(String, Bound)>,
}

impl Oracle {
    /// A process replaces the policy.
    pub(super) fn rebinds(&mut self, proposal: &Policy, api: &Shared, iam: &Iam) {
        if !iam.policy.is_current(proposal) {
            // It is refused.
            return;
        }
        let (now, then) = (members(iam.policy.now()), members(proposal));
        if iam.policy.now().audit_configs != proposal.audit_configs {
            self.report("No theft", "the audit settings of the project are changed".to_owned());
        }
        for (bound, member) in now.difference(&then) {
            let Some(record) = self.account_of(member, iam) else {
                self.report("No theft", format!("{member} leaves {bound}"));
                continue;
            };
            let held = (record.account.unique_id.clone(), bound.clone());
            if !self.roles.made.contains(&held) && !self.was_asked_for(&held, api) {
                let what = format!("{member} leaves {bound}, which the operator never gave it");
                self.report("No theft", what);
            }
        }
        for (bound, member) in then.difference(&now) {
            let Some(record) = self.account_of(member, iam).filter(|record| !record.deleted) else {
                self.report("No theft", format!("{member} enters {bound}"));
                continue;
            };
            let unique_id = record.account.unique_id.clone();
            if !objects(api).iter().any(|o| is_of(o, &unique_id) && recorded(o).contains(bound)) {
                self.report("Covered", format!("{member} enters {bound}, which is written down nowhere"));
            }
            self.roles.made.insert((unique_id, bound.clone()));
        }
    }

    /// A process gives an account its one role, in place of another one or of none.
    pub(super) fn enters(&mut self, named: &str, role: &str, replaces: bool, api: &Shared, iam: &Iam) {
        let is_named = |record: &&AccountRecord| {
            !record.deleted && (record.account.email == named || record.account.unique_id == named)
        };
        let Some(record) = iam.accounts.values().find(is_named) else { return };
        let unique_id = &record.account.unique_id;
        if iam.roles_of(unique_id, iam.policy.now()).is_empty() == replaces {
            // It is refused.
            return;
        }
        if self.account_of(&member(&record.account.email), iam).is_none() {
            self.report("No theft", format!("{named} enters {role}"));
        }
        if !objects(api).iter().any(|o| is_of(o, unique_id) && recorded(o).iter().any(|bound| bound == role))
        {
            self.report("Covered", format!("{named} enters {role}, which is written down nowhere"));
        }
        self.roles.made.insert((unique_id.clone(), role.to_owned()));
    }

    /// A process sends the end of a role: of one that it was told of and that is ours. What a person does between cannot be seen.
    pub(super) fn replaces(&mut self, actor: usize, account: &str, api: &Shared) {
        let told = self.told.roles.get(&(actor, account.to_owned())).cloned().unwrap_or_default();
        let ours = |role: &String| {
            let held = (account.to_owned(), role.clone());
            self.roles.made.contains(&held) || self.was_asked_for(&held, api)
        };
        if told.is_empty() || !told.iter().all(ours) {
            let what = format!("{account} leaves {told:?}, which the operator never gave it");
            self.report("No theft", what);
        }
    }

    /// The account that a member is, if an object has it or its mark is on it.
    fn account_of<'i>(&self, named: &str, iam: &'i Iam) -> Option<&'i AccountRecord> {
        let is_ours = |record: &&AccountRecord| {
            let known = self.roles.accounts.values().any(|id| *id == record.account.unique_id);
            known || record.account.description.contains("keywheel:sim/")
        };
        iam.accounts.values().filter(is_ours).find(|record| {
            !record.deleted && named == member(&record.account.email) || named == ghost(&record.account)
        })
    }

    /// Whether an object that made the account ever asked for a role: then what is there is its own.
    fn was_asked_for(&self, (unique_id, bound): &(String, Bound), api: &Shared) -> bool {
        objects(api).iter().filter(|o| is_of(o, unique_id) && o["status"]["origin"] == "Created").any(|o| {
            let uid = o["metadata"]["uid"].as_str().unwrap_or_default();
            self.roles.asked.get(uid).is_some_and(|asked| asked.contains(bound))
        })
    }

    /// The object of an account changed.
    pub(super) fn saw_roles(&mut self, change: &Change) {
        let object = &*change.object;
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        if let Some(unique_id) = object["status"]["uniqueId"].as_str() {
            self.roles.accounts.insert(uid.clone(), unique_id.to_owned());
        }
        self.roles.asked.entry(uid.clone()).or_default().extend(asked(object));
        let policy = object["spec"]["deletionPolicy"].as_str();
        let stays = policy.is_some_and(|p| p != "Delete") || object["status"]["origin"] == "Adopted";
        if change.kind == ChangeKind::Deleted && (stays || self.let_go.contains(&uid)) {
            let left = self.roles.accounts.get(&uid);
            self.roles.made.retain(|(unique_id, _)| Some(unique_id) != left);
        }
    }

    /// Whatever the operator bound and is still there is written down, and gone with its object.
    pub(super) fn remembered(&mut self, api: &Shared, iam: &Iam) {
        if self.roles.made.is_empty() {
            return;
        }
        let held = members(iam.policy.now());
        let is_there = |unique_id: &String, bound: &Bound| {
            iam.accounts.get(unique_id).is_some_and(|record| {
                let named =
                    if record.deleted { ghost(&record.account) } else { member(&record.account.email) };
                held.contains(&(bound.clone(), named))
            })
        };
        self.roles.made.retain(|(unique_id, bound)| is_there(unique_id, bound));
        let objects = objects(api);
        let forgotten = self.roles.made.iter().filter(|(unique_id, bound)| {
            !objects.iter().any(|o| is_of(o, unique_id) && recorded(o).contains(bound))
        });
        for (unique_id, bound) in forgotten {
            let what = format!("account {unique_id} has {bound}, which is written down nowhere any more");
            let violation = Violation { invariant: "Covered", what };
            if !self.violations.contains(&violation) {
                self.violations.push(violation);
            }
        }
    }

    /// At rest an account has exactly the roles of its spec that it may have, and what others gave it; the services are on.
    pub(super) fn roles_at_rest(&self, api: &Shared, iam: &Iam, now: jiff::Timestamp) -> Vec<String> {
        let held = members(iam.policy.now());
        let rules = |name: &str| tenants(api, name);
        let (roles, services) = (rules("roles"), rules("services"));
        let mut found = Vec::new();
        for object in objects(api) {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
            if !object["metadata"]["deletionTimestamp"].is_null() {
                if !has_keys(api, name) {
                    found.push(format!("the account {name} is still being deleted"));
                }
                continue;
            }
            let Some(record) = self.roles.accounts.get(uid).and_then(|id| iam.accounts.get(id)) else {
                continue;
            };
            if record.deleted {
                continue;
            }
            let may = |role: &Value, rules: &[String]| {
                let role = role.as_str().unwrap_or_default();
                let fits = |rule: &String| match rule.strip_suffix('*') {
                    Some(beginning) => role.starts_with(beginning),
                    None => rule == role,
                };
                rules.iter().any(fits)
            };
            let wanted: BTreeSet<Bound> =
                listed(&object).filter(|r| may(&r["role"], &roles)).map(bound_of).collect();
            let has = |bound: &Bound| held.contains(&(bound.clone(), member(&record.account.email)));
            // The place of the one role that it can have is taken by one that others gave it.
            let theirs =
                |role: &String| !self.roles.made.contains(&(record.account.unique_id.clone(), role.clone()));
            let taken = iam.can.one_role
                && iam.roles_of(&record.account.unique_id, iam.policy.now()).iter().any(theirs);
            let missing = wanted.iter().filter(|bound| !has(bound) && !taken);
            found.extend(missing.map(|bound| format!("the account {name} lacks {bound}")));
            let made = self.roles.made.iter().filter(|(id, _)| *id == record.account.unique_id);
            let extra = made.map(|(_, bound)| bound).filter(|bound| !wanted.contains(*bound));
            found.extend(extra.map(|bound| format!("the account {name} still has {bound}")));
            let lingers = recorded(&object).into_iter().filter(|bound| !wanted.contains(bound) && !taken);
            found.extend(lingers.map(|bound| format!("the account {name} still remembers {bound}")));
            let lets_in = object["spec"]["disruptive"]["basicAuth"] == true;
            if iam.can.basic_auth && record.account.basic_auth != lets_in {
                found.push(format!("basic auth of the account {name} is not as the spec says"));
            }
            let asked = object["spec"]["services"].as_array().cloned().unwrap_or_default();
            let off = asked.iter().filter(|s| may(s, &services)).filter_map(Value::as_str);
            let off = off.filter(|service| !iam.services.is_enabled(service, now));
            found.extend(off.map(|service| format!("{service} is not enabled")));
        }
        found
    }
}

/// Who is in which binding.
fn members(policy: &Policy) -> BTreeSet<(Bound, String)> {
    let bound = |binding: &Binding| {
        let condition = binding.condition.as_ref();
        let part = |of: fn(&google_cloud_type::model::Expr) -> &String| {
            condition.map(of).cloned().unwrap_or_default()
        };
        named(&binding.role, [part(|c| &c.title), part(|c| &c.description), part(|c| &c.expression)])
    };
    policy.bindings.iter().flat_map(|b| b.members.iter().map(move |m| (bound(b), m.clone()))).collect()
}

fn named(role: &str, condition: [String; 3]) -> Bound {
    if condition.iter().all(String::is_empty) {
        role.to_owned()
    } else {
        json!([role, condition]).to_string()
    }
}

/// A role in a spec or in a status.
fn bound_of(role: &Value) -> Bound {
    let part = |name: &str| role["condition"][name].as_str().unwrap_or_default().to_owned();
    named(role["role"].as_str().unwrap_or_default(), ["title", "description", "expression"].map(part))
}

fn asked(object: &Value) -> BTreeSet<Bound> {
    listed(object).map(bound_of).collect()
}

/// What a spec lists, memberships included.
fn listed(object: &Value) -> impl Iterator<Item = &Value> {
    let lists = [&object["spec"]["roles"], &object["spec"]["disruptive"]["memberships"]];
    lists.into_iter().filter_map(Value::as_array).flatten()
}

fn recorded(object: &Value) -> BTreeSet<Bound> {
    object["status"]["boundRoles"].as_array().into_iter().flatten().map(bound_of).collect()
}

fn is_of(object: &Value, unique_id: &str) -> bool {
    object["status"]["uniqueId"] == unique_id
}

fn objects(api: &Shared) -> Vec<std::sync::Arc<Value>> {
    api.with(|s| s.store.list(Kind::Account.stored(), None).map(|(_, o)| o.clone()).collect())
}

fn has_keys(api: &Shared, account: &str) -> bool {
    api.with(|s| {
        let mut keys = s.store.list(Kind::Key.stored(), None);
        keys.any(|(_, key)| key["spec"]["serviceAccountRef"]["name"] == account)
    })
}

/// What the one backend lets namespaces ask for.
fn tenants(api: &Shared, what: &str) -> Vec<String> {
    api.with(|s| {
        let backends = s.store.list(Kind::ClusterBackend.stored(), None);
        let listed =
            backends.flat_map(|(_, b)| b["spec"]["tenants"][what].as_array().cloned().unwrap_or_default());
        listed.filter_map(|rule| rule.as_str().map(str::to_owned)).collect()
    })
}
