//! From what a pass has read to the production plan's observation, and from its answer to an effect.
//!
//! The plan is a pure function: an answer that was computed once is remembered. That is what makes millions of states
//! possible; every decision of the search is still one of the production plan.

use std::collections::HashMap;
use std::time::Duration;

use keywheel::api::v1alpha1::{
    DeletionPolicy, LedgerKey, LocalRef, Rotation, SecretTemplate, ServiceAccountKeySpec,
    ServiceAccountKeyStatus as Status, Span, Verification,
};
use keywheel::domain::key::{
    Account, AccountView, Credential, KeyList, ListedKey, Next, Observation, Plan, Preflight, Proof,
    Published, PutOff, Refusal, Requests, Secret, Siblings, Staged, Step, Window, plan,
};
use keywheel::domain::schedule::add;
use keywheel::domain::{Capabilities, Class, Reason, Timing, Trouble};

use crate::actor::{Effect, Listing, Memory, Need, Pass, Publish, Seen, Told};
use crate::names::{self, ACCOUNT, Key};
use crate::shared::{Fingerprint, Shared, fingerprint};
use crate::status::{Statuses, canonical, canonical_key};
use crate::time::{self, ANCIENT, DELETE_AFTER, FAR, OVERLAP, Time};
use crate::world::{Consumer, Life, Staging, World};

/// What the plan said.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The rule that matched.
    pub rule: &'static str,
    /// What to do.
    pub next: Wanted,
    /// The status afterwards, canonical.
    pub after: Shared<Status>,
}

/// What the plan wants.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Something to read.
    Need(Need),
    /// An effect.
    Effect(Effect),
    /// Nothing.
    Wait,
}

/// What the backend of a scenario can do, and what its CRs ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent terms")]
pub struct Terms {
    /// Whether a key can be disabled before it is deleted.
    pub can_disable: bool,
    /// How many keys fit into the account.
    pub key_limit: Option<u32>,
    /// Whether Secret and active key outlive their object.
    pub retain: bool,
    /// Whether a replaced key stays enabled for a while.
    pub overlaps: bool,
    /// Whether lists may miss a key that was just made.
    pub lists_lag: bool,
    /// Whether nobody else makes keys on the account: then what nobody claims is ours.
    pub exclusive: bool,
    /// Whether every pass may look for the keys of lost attempts: none has looked before.
    pub looks: bool,
    /// The objects that users and failures strike; a process works on the others undisturbed, but may be cut short with
    /// the rest of it.
    pub struck: [bool; 2],
    /// Whether the Secret outlives everything that can go wrong: then no key that it published is ever a mere suspect.
    pub secret_stays: bool,
}

/// Calls the plan.
pub struct Planner {
    terms: Terms,
    statuses: Statuses,
    timing: Timing,
    remembered: HashMap<Fingerprint, Decision>,
    ledgers: HashMap<Fingerprint, Shared<Vec<LedgerKey>>>,
}

impl Planner {
    /// For a scenario.
    pub fn new(terms: Terms, statuses: Statuses) -> Self {
        Self { terms, statuses, timing: time::timing(), remembered: HashMap::new(), ledgers: HashMap::new() }
    }

    /// Of the scenario.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// How many different observations were decided.
    pub fn decisions(&self) -> usize {
        self.remembered.len()
    }

    /// Decides a pass of a CR.
    pub fn decide(&mut self, cr: usize, pass: &Pass, memory: &Memory, fresh_nonce: u8) -> Decision {
        let seen = (&pass.secret.view, pass.life, &pass.status, &pass.staged);
        let asked = (&pass.keys, &pass.told, pass.proof, pass.secret_proof, pass.confirmed);
        let key = fingerprint(&(cr, seen, asked, memory, fresh_nonce));
        if let Some(decision) = self.remembered.get(&key) {
            return decision.clone();
        }
        let observation = self.observation(cr, pass, memory, fresh_nonce);
        let decision = self.decision(plan(&observation, time::at(0), &self.timing));
        self.remembered.insert(key, decision.clone());
        decision
    }

    fn decision(&mut self, plan: Plan) -> Decision {
        // A search of what is refused proves nothing.
        let refused = plan.status.conditions.iter().find(|c| c.reason == Reason::CapabilityMissing.as_str());
        assert_eq!(refused.map(|condition| &condition.message), None, "the scenario asks for too much");
        let next = match plan.next {
            Next::Wait => Wanted::Wait,
            Next::Need(need) => Wanted::Need(wanted(&need)),
            Next::Act(step) => Wanted::Effect(self.effect(step)),
        };
        Decision { rule: plan.rule, next, after: self.statuses.keep(canonical(plan.status)) }
    }

    fn effect(&mut self, step: Step) -> Effect {
        match step {
            Step::AddFinalizer => Effect::AddFinalizer,
            Step::RemoveFinalizer => Effect::RemoveFinalizer,
            Step::WriteStatus => Effect::WriteStatus,
            Step::Create { nonce } => Effect::Create(known_nonce(&nonce)),
            Step::Publish(publication) => Effect::Publish(Publish {
                staged: publication.staged_nonce.as_deref().map(known_nonce),
                key: Key::parse(&publication.key_id),
                attempt: small(publication.attempt),
                published: time::of(publication.published_at),
                ledger: self.ledger(&publication.ledger),
            }),
            Step::Unstage { name, .. } => Effect::Unstage(known_nonce(&name)),
            Step::Fence { .. } => Effect::Fence,
            Step::EnableKey { id } => Effect::Enable(Key::parse(&id)),
            Step::DisableKey { id } => Effect::Disable(Key::parse(&id)),
            Step::DeleteKey { id } => Effect::Delete(Key::parse(&id)),
            Step::DeleteSecret { .. } => Effect::DeleteSecret,
            Step::StagePair { .. }
            | Step::Upload { .. }
            | Step::TakeOver { .. }
            | Step::DeleteFormer { .. }
            | Step::Restart { .. } => panic!("no spec of this model asks for {step:?}"),
        }
    }

    fn ledger(&mut self, keys: &[LedgerKey]) -> Shared<Vec<LedgerKey>> {
        let ledger = Shared::new(keys.iter().map(|k| canonical_key(k, true)).collect::<Vec<_>>());
        self.ledgers.entry(ledger.fingerprint()).or_insert(ledger).clone()
    }

    /// What the controller's `observe` would make of these reads.
    fn observation(&self, cr: usize, pass: &Pass, memory: &Memory, fresh_nonce: u8) -> Observation {
        let pending = pass.status.as_ref().and_then(|s| s.pending.as_ref());
        let pending = pending.and_then(|p| names::parse_nonce(&p.nonce));
        let remembered = memory.proved.is_some() && memory.proved == pending;
        let proof = pass.proof.or(remembered.then_some(Seen::Accepted));
        Observation {
            name: names::object(cr),
            uid: names::object(cr),
            generation: Some(1),
            created_at: time::at(ANCIENT),
            deleting: pass.life == Life::Deleting,
            has_finalizer: matches!(pass.life, Life::Living | Life::Deleting),
            requests: Requests::default(),
            spec: spec(self.terms),
            status: pass.status.as_deref().cloned(),
            secret: pass.secret.view.as_ref().map_or(Secret::Absent, |s| Secret::Ours(published(s, pass))),
            renamed_from: None,
            former: Vec::new(),
            staged: pass.staged.iter().map(staged).collect(),
            account: AccountView::Usable(account(self.terms)),
            keys: pass.keys.as_ref().map(listed),
            // No audit is due: what it would find is found by the lists of attempts.
            audited: None,
            looked_at: time::at(if self.terms.looks { ANCIENT } else { FAR }),
            siblings: pass.told.as_ref().filter(|told| told.whole).map(siblings),
            rollout: None,
            last_use: std::collections::BTreeMap::new(),
            public_halves: std::collections::BTreeSet::new(),
            fresh_pair: None,
            staged_here: None,
            upload: None,
            // Always accepted: it reads nothing that the search could change.
            preflight: Some(Preflight::Accepted),
            proof: proof.map(answered),
            secret_proof: pass.secret_proof.map(answered),
            confirmed: pass.confirmed,
            own_finalizer: memory.own_finalizer,
            own_intent: memory.own_intent.map(names::nonce),
            sent: memory.sent.map(names::nonce),
            refused: memory.refused.then(|| Refusal::ByBackend(forbidden())),
            rewrites_resume: None,
            put_off: PutOff::new(),
            fresh_nonce: names::nonce(fresh_nonce),
        }
    }
}

fn wanted(need: &keywheel::domain::key::Need) -> Need {
    use keywheel::domain::key::Need as Production;
    match need {
        Production::Confirm => Need::Confirm,
        Production::Keys => Need::Keys,
        Production::Siblings => Need::Siblings,
        Production::Proof { nonce, .. } => Need::Proof(known_nonce(nonce)),
        Production::SecretProof => Need::SecretProof,
        Production::Preflight => panic!("it was answered beforehand"),
        Production::Fingerprints
        | Production::Audit
        | Production::Pair
        | Production::Find { .. }
        | Production::LastUse { .. }
        | Production::PublicHalf { .. }
        | Production::Rollout => panic!("no spec of this model asks for {need:?}"),
    }
}

fn answered(seen: Seen) -> Proof {
    match seen {
        Seen::Accepted => Proof::Accepted { times: 3 },
        Seen::Refused => Proof::Refused { message: "invalid_grant".to_owned() },
        Seen::Unavailable => Proof::Unavailable(forbidden()),
    }
}

fn known_nonce(name: &str) -> u8 {
    names::parse_nonce(name).expect("a nonce of the model")
}

fn small(n: u32) -> u8 {
    u8::try_from(n).expect("few attempts")
}

fn forbidden() -> Trouble {
    Trouble::new(Class::Forbidden, "403")
}

/// Whether the Secret is as the spec asks, as the controller judges it: by its mark, against the object that was read.
fn published(secret: &Consumer, pass: &Pass) -> Published {
    let active = pass.status.as_ref().and_then(|s| s.active_key_id.clone());
    let id = secret.key.id();
    let sha = secret.key.sha();
    Published {
        uid: "s".to_owned(),
        resource_version: "1".to_owned(),
        attempt: secret.attempt.into(),
        published_at: Some(time::at(secret.published)),
        account: Some(ACCOUNT.to_owned()),
        ledger: secret.ledger.to_vec(),
        credential: if secret.readable {
            Credential::Readable { public_key_sha256: sha }
        } else {
            Credential::Missing
        },
        previous_key_id: None,
        public_ids: Vec::new(),
        as_specified: secret.intact && active.as_ref() == Some(&id),
        immutable: false,
        held_by: None,
        key_id: Some(id),
    }
}

fn staged(staging: &Staging) -> Staged {
    Staged {
        // The name carries the nonce, and nothing but the nonce differs here.
        name: names::nonce(staging.nonce),
        uid: names::nonce(staging.nonce),
        nonce: names::nonce(staging.nonce),
        attempt: staging.attempt.into(),
        key_id: Some(staging.key.id()),
        account: ACCOUNT.to_owned(),
        public_key_sha256: Some(staging.key.sha()),
        created_at: Some(time::at(staging.created)),
        expires_at: None,
        held_by: None,
    }
}

fn listed(listing: &Listing) -> KeyList {
    match listing {
        Listing::Unreadable => KeyList::Unreadable(forbidden()),
        Listing::Keys { at, keys } => KeyList::Listed {
            backend_time: time::at(*at),
            keys: keys
                .iter()
                .map(|(key, created, enabled)| ListedKey {
                    id: key.id(),
                    created_at: Some(time::at(*created)),
                    expires_at: None,
                    disabled: !enabled,
                    made_by_backend: true,
                    disable_reason: None,
                    extended_status: None,
                    public_key_sha256: None,
                    nonce: None,
                })
                .collect(),
        },
    }
}

/// What the other objects' statuses say, as the controller adds it up.
pub fn objects(world: &World, cr: usize) -> Told {
    let mut said = Siblings::default();
    for (i, object) in world.crs.iter().enumerate().filter(|(_, cr)| cr.exists()) {
        said.add(object.status.as_deref(), i == cr);
    }
    // Bounds are inclusive, and keys are made at whole units only.
    let up = Duration::from_secs(3599);
    let window =
        |w: &Window| (w.from.map_or(ANCIENT, |at| time::of(add(at, up))), w.until.map_or(FAR, time::of));
    Told {
        claimed: said.claimed.iter().map(|id| Key::parse(id)).collect(),
        suspected: said.suspected.iter().map(|id| Key::parse(id)).collect(),
        windows: said.windows.iter().map(window).collect(),
        fenced: u8::try_from(said.fenced_attempts).expect("few attempts"),
        whole: false,
    }
}

/// The same, with what their Secrets name.
pub fn secrets(world: &World, cr: usize, told: &Told) -> Told {
    let mut told = Told { whole: true, ..told.clone() };
    for other in world.crs.iter().enumerate().filter(|(i, _)| *i != cr).map(|(_, other)| other) {
        told.claimed.extend(other.staged.iter().map(|s| s.key));
        if let Some(secret) = &other.secret {
            told.claimed.push(secret.key);
            told.claimed.extend(secret.ledger.iter().map(|k| Key::parse(&k.id)));
        }
    }
    told.claimed.sort_unstable();
    told.claimed.dedup();
    told
}

fn siblings(told: &Told) -> Siblings {
    let bound = |at: Time, none| (at != none).then(|| time::at(at));
    let window =
        |(from, until): &(Time, Time)| Window { from: bound(*from, ANCIENT), until: bound(*until, FAR) };
    Siblings {
        claimed: told.claimed.iter().map(|key| key.id()).collect(),
        suspected: told.suspected.iter().map(|key| key.id()).collect(),
        windows: told.windows.iter().map(window).collect(),
        fenced_attempts: told.fenced.into(),
        account_shared: false,
    }
}

fn account(terms: Terms) -> Account {
    Account {
        project: "p".to_owned(),
        email: "a@p".to_owned(),
        unique_id: "100".to_owned(),
        can: Capabilities {
            disable_keys: terms.can_disable,
            key_limit: terms.key_limit,
            last_use: false,
            algorithms: vec!["RSA_2048".to_owned()],
            ..Capabilities::google()
        },
        basic_auth: false,
        exclusive: terms.exclusive,
        clock_skew: Some(std::time::Duration::ZERO),
    }
}

fn spec(terms: Terms) -> ServiceAccountKeySpec {
    let hours = |units| Span::new(format!("{units}h"));
    let kept = if terms.retain { DeletionPolicy::Retain } else { DeletionPolicy::Delete };
    ServiceAccountKeySpec {
        service_account_ref: LocalRef { name: "account".to_owned() },
        key_source: keywheel::api::v1alpha1::KeySource::default(),
        algorithm: None,
        rotation: Some(Rotation {
            every: Some(hours(time::FAR)),
            overlap: hours(if terms.overlaps { OVERLAP } else { 0 }),
            // Where nothing can be disabled it is refused.
            delete_after: terms.can_disable.then(|| hours(DELETE_AFTER)),
            ..Rotation::default()
        }),
        verification: Verification::default(),
        validity: None,
        rollout_restart: Vec::new(),
        secret: SecretTemplate { deletion_policy: kept, ..SecretTemplate::default() },
        deletion_policy: kept,
    }
}
