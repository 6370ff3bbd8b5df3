//! What an account publishes in `ConfigMaps`: the public halves of its keys, and a credentials file without a key. A name is
//! written down before its `ConfigMap` is written, and stays so until that is gone.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use super::plan::Table;
use super::{Next, Plan, Step};
use crate::api::v1alpha1::{ServiceAccountSpec, ServiceAccountStatus};
use crate::domain::conditions::{self, CONFIG_MAPS_PUBLISHED, Conditions, Is};
use crate::domain::{Event, Reason, Trouble};

const JWKS: &str = "jwks.json";
const X509: &str = "x509.json";
const CREDENTIALS: &str = "credentials.json";
/// The data keys of a `ConfigMap` of ours that are Keywheel's; all others are left alone.
pub const DATA_KEYS: [&str; 3] = [JWKS, X509, CREDENTIALS];

/// Texts by data key.
pub type Data = BTreeMap<String, String>;

/// The public halves of the valid keys of an account: the same bytes for the same keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKeys {
    /// A JSON Web Key Set.
    pub jwks: String,
    /// Certificates (PEM) by key id, as JSON.
    pub x509: String,
}

/// What is there to be published, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documents {
    /// The `ConfigMaps` that were asked for.
    pub maps: Vec<ConfigMapView>,
    /// The public keys, where the spec asks for them.
    pub public_keys: Option<Result<PublicKeys, Trouble>>,
    /// The credentials file, where the spec asks for it.
    pub federation: Option<String>,
}

/// A `ConfigMap` as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMapView {
    /// Its name.
    pub name: String,
    /// What is there.
    pub state: ConfigMapState,
}

/// What there is under the name of a `ConfigMap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigMapState {
    /// Nothing.
    Absent,
    /// One without the mark of this object.
    Foreign {
        /// The `ServiceAccount` that it says to belong to.
        owner: Option<String>,
    },
    /// The API server does not let us look.
    Refused(String),
    /// One of this object.
    Ours(OurConfigMap),
}

/// A `ConfigMap` of this object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OurConfigMap {
    /// Its uid.
    pub uid: String,
    /// The version that was read.
    pub resource_version: String,
    /// What stands under [`DATA_KEYS`].
    pub data: Data,
    /// Whether its labels, annotations and owner are as we write them.
    pub marked: bool,
    /// Whether it is being deleted already: somebody's finalizer holds it.
    pub deleting: bool,
}

/// What goes wrong, and how soon it is tried again.
struct Problem {
    reason: Reason,
    message: String,
    retry: Duration,
}

/// What one `ConfigMap` shall hold, or why that is not known.
type Wanted<'o> = (&'o str, Result<Data, &'o Trouble>);

/// The names that the spec gives.
fn names(spec: &ServiceAccountSpec) -> Vec<&str> {
    let keys = spec.public_keys.iter().map(|keys| keys.config_map_name.as_str());
    keys.chain(spec.federation.iter().map(|file| file.config_map_name.as_str())).collect()
}

fn data<const N: usize>(entries: [(&str, &String); N]) -> Data {
    entries.into_iter().map(|(key, text)| (key.to_owned(), text.clone())).collect()
}

impl Documents {
    fn wanted<'o>(&'o self, spec: &'o ServiceAccountSpec) -> Vec<Wanted<'o>> {
        let keys = spec.public_keys.as_ref().zip(self.public_keys.as_ref()).map(|(to, told)| {
            let wanted = told.as_ref().map(|keys| data([(JWKS, &keys.jwks), (X509, &keys.x509)]));
            (to.config_map_name.as_str(), wanted)
        });
        let file = spec.federation.as_ref().zip(self.federation.as_ref());
        let file = file.map(|(to, file)| (to.config_map_name.as_str(), Ok(data([(CREDENTIALS, file)]))));
        keys.into_iter().chain(file).collect()
    }

    fn state(&self, name: &str) -> Option<&ConfigMapState> {
        self.maps.iter().find(|view| view.name == name).map(|view| &view.state)
    }
}

impl Table<'_> {
    /// What is done about the `ConfigMaps` of an account of this status. It goes on, with when they are looked at again, if there
    /// is nothing to be done now.
    pub(super) fn publish(
        &self,
        status: &mut ServiceAccountStatus,
        events: &[Event],
    ) -> ControlFlow<Plan, Option<Duration>> {
        let obs = self.obs;
        let names = names(&obs.spec);
        let recorded = &mut status.config_maps;
        let before = recorded.len();
        for name in &names {
            if !recorded.iter().any(|known| known == name) {
                recorded.push((*name).to_owned());
            }
        }
        if recorded.len() > before {
            // Before anything is written: whoever goes on after a crash knows what to delete.
            let (status, events) = (status.clone(), events.to_vec());
            let plan = Plan { next: Next::Wait, status, requeue: Duration::ZERO, events };
            return ControlFlow::Break(plan);
        }
        let former: Vec<String> =
            recorded.iter().filter(|name| !names.contains(&name.as_str())).cloned().collect();
        if recorded.is_empty() {
            Conditions::of(&mut status.conditions, obs.generation, self.now).clear(CONFIG_MAPS_PUBLISHED);
            return ControlFlow::Continue(None);
        }
        let known = obs.status.observed_generation == obs.generation;
        let published = conditions::is(&obs.status.conditions, CONFIG_MAPS_PUBLISHED, Is::True);
        if known && published && former.is_empty() && !obs.documents_due {
            return ControlFlow::Continue(None);
        }
        let Some(documents) = &obs.documents else {
            let names = recorded.clone();
            return ControlFlow::Break(Plan { next: Next::NeedDocuments { names }, ..self.keep() });
        };
        let mut problems = Vec::new();
        for (name, wanted) in documents.wanted(&obs.spec) {
            match self.written(name, wanted, documents) {
                Ok(None) => {}
                Ok(Some(step)) => return ControlFlow::Break(self.act(step)),
                Err(problem) => problems.push(problem),
            }
        }
        // What takes the place of a former one is there first.
        let in_place = problems.is_empty();
        for name in &former {
            match self.removed(name, documents) {
                Ok(None) => status.config_maps.retain(|known| known != name),
                Ok(Some(step)) if in_place => return ControlFlow::Break(self.act(step)),
                Ok(Some(_)) => {}
                Err(problem) => problems.push(problem),
            }
        }
        // What cannot be read now is read soon, whatever is published.
        let unread = matches!(documents.public_keys, Some(Err(_))).then_some(self.timing.retry_cap);
        let due = problems.iter().map(|problem| problem.retry).chain(unread).min();
        let mut conditions = Conditions::of(&mut status.conditions, obs.generation, self.now);
        match problems.first() {
            Some(first) => {
                let all: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
                conditions.set(CONFIG_MAPS_PUBLISHED, Is::False, first.reason, all.join(". "))
            }
            None if names.is_empty() => conditions.clear(CONFIG_MAPS_PUBLISHED),
            None => {
                // Whoever trusts these keys should know that nobody looks after them.
                let stale = documents.public_keys.as_ref().and_then(|keys| keys.as_ref().err()).map(|trouble| {
                    let reason = trouble.class.reason();
                    format!(". The public keys cannot be read now ({reason}): those that were read before stand")
                });
                let stale = stale.unwrap_or_default();
                let message = format!("{} hold what the account publishes{stale}", names.join(", "));
                conditions.set(CONFIG_MAPS_PUBLISHED, Is::True, Reason::ConfigMapsPublished, message)
            }
        };
        ControlFlow::Continue(due)
    }

    /// The write that a `ConfigMap` needs; none where it is as it shall be, or as good as can be known.
    fn written(
        &self,
        name: &str,
        wanted: Result<Data, &Trouble>,
        documents: &Documents,
    ) -> Result<Option<Step>, Problem> {
        self.may_touch(name)?;
        let there = match documents.state(name) {
            Some(ConfigMapState::Absent) | None => None,
            Some(ConfigMapState::Ours(map)) => Some(map),
            Some(ConfigMapState::Refused(message)) => return Err(self.refused_map(name, message)),
            Some(ConfigMapState::Foreign { owner }) => return Err(self.conflict(name, owner.as_deref())),
        };
        match (wanted, there) {
            (Ok(data), Some(map)) if map.marked && map.data == data => Ok(None),
            (Ok(data), there) => {
                let over = there.map(|map| map.resource_version.clone());
                Ok(Some(Step::WriteConfigMap { name: name.to_owned(), data, over }))
            }
            // What is published is as true as it was.
            (Err(_), Some(map)) if [JWKS, X509].iter().all(|&key| map.data.contains_key(key)) => Ok(None),
            (Err(trouble), _) => Err(Problem {
                reason: trouble.class.reason(),
                message: format!(
                    "The public keys for the ConfigMap {name} cannot be read: {}",
                    trouble.message
                ),
                // A new account does not show its keys at once.
                retry: self.timing.settle,
            }),
        }
    }

    /// The deletion of a `ConfigMap` that the spec no longer names; none where there is none of ours.
    fn removed(&self, name: &str, documents: &Documents) -> Result<Option<Step>, Problem> {
        self.may_touch(name)?;
        match documents.state(name) {
            Some(ConfigMapState::Refused(message)) => Err(self.refused_map(name, message)),
            Some(ConfigMapState::Ours(map)) if map.deleting => {
                let message = format!(
                    "The ConfigMap {name}, which the spec no longer names, is being deleted and held by finalizers of others. \
                     Whoever put them there must take them off"
                );
                Err(Problem { reason: Reason::ConfigMapHeld, message, retry: self.timing.retry_cap })
            }
            Some(ConfigMapState::Ours(map)) => Ok(Some(Step::DeleteConfigMap {
                name: name.to_owned(),
                uid: map.uid.clone(),
                resource_version: map.resource_version.clone(),
            })),
            Some(ConfigMapState::Absent | ConfigMapState::Foreign { .. }) | None => Ok(None),
        }
    }

    /// What was refused in this reconcile is not tried again at once.
    fn may_touch(&self, name: &str) -> Result<(), Problem> {
        let refused = self.obs.done.refused_maps.iter().find(|(refused, _)| refused == name);
        refused.map_or(Ok(()), |(_, message)| Err(self.refused_map(name, message)))
    }

    fn refused_map(&self, name: &str, message: &str) -> Problem {
        Problem {
            reason: Reason::ConfigMapRefused,
            message: format!("The ConfigMap {name}: {message}"),
            retry: self.timing.retry_cap,
        }
    }

    fn conflict(&self, name: &str, owner: Option<&str>) -> Problem {
        let (whose, retry) = match owner {
            None => {
                let whose = "carries no mark of ours (annotation keywheel.dev/owner-uid)".to_owned();
                (whose, self.timing.retry_cap)
            }
            // It goes with that one, if nobody kept it.
            Some(owner) if owner == self.obs.name => {
                ("belongs to an earlier object of this name".to_owned(), self.timing.settle)
            }
            Some(owner) => (format!("belongs to the ServiceAccount {owner}"), self.timing.retry_cap),
        };
        let message = format!(
            "The ConfigMap {name} is there already and {whose}: it is not touched. Remove it, or choose another configMapName"
        );
        Problem { reason: Reason::ConfigMapConflict, message, retry }
    }
}
