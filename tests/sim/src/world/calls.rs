//! What becomes of a call: answered, refused, lost, late.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;

use super::{Underway, World};
use crate::api_server::{Change, Place, Refusal, Store};
use crate::fate::{Director, Fate, Loss, No, Offer, Waking};
use crate::wire::{Call, InFlight, Reply};

impl World {
    pub(super) fn perform(
        &mut self,
        offer: Offer,
        flight: InFlight,
        fate: Fate,
        director: &mut dyn Director,
    ) {
        let InFlight { actor, call, reply } = flight;
        if fate.is_fault() {
            self.counts.faults += u64::from(!offer.lease);
            self.note(&format!("A{actor} #{} {} FATE {fate:?}", offer.number, offer.summary));
        }
        self.actors[actor].answered += u64::from(!offer.lease);
        match fate {
            Fate::Deliver => {
                let answer = self.apply(&call, Some(actor), Some(director));
                self.oracle.told(actor, &call, &answer);
                drop(reply.send(answer));
            }
            Fate::Freeze(waking) => {
                let answer = self.apply(&call, Some(actor), Some(director));
                self.actors[actor].freeze();
                match waking {
                    Waking::Answered => {
                        self.oracle.told(actor, &call, &answer);
                        drop(reply.send(answer));
                    }
                    Waking::TimedOut => self.lose(&call, reply, Loss::Silence),
                }
            }
            Fate::Refuse(no) => drop(reply.send(refused(&call, no))),
            Fate::LoseAnswer(loss) => {
                self.apply(&call, Some(actor), Some(director));
                self.lose(&call, reply, loss);
            }
            Fate::LoseCall(loss) => self.lose(&call, reply, loss),
            Fate::Late(loss, after) => {
                self.underway.push(Underway { at: self.time.elapsed() + after, actor, call: call.clone() });
                self.lose(&call, reply, loss);
            }
            Fate::CrashBefore => self.kill(actor),
            Fate::CrashAfter => {
                self.apply(&call, Some(actor), Some(director));
                self.kill(actor);
            }
            Fate::CrashLate(after) => {
                self.underway.push(Underway { at: self.time.elapsed() + after, actor, call });
                self.kill(actor);
            }
            Fate::Stale(back) => {
                let answer =
                    self.stale(&call, back).unwrap_or_else(|| self.apply(&call, Some(actor), Some(director)));
                self.oracle.told(actor, &call, &answer);
                drop(reply.send(answer));
            }
        }
    }

    /// A list of keys or of accounts or a policy as it was a while ago. All other reads are quorum reads.
    pub(super) fn stale(&mut self, call: &Call, back: usize) -> Option<Reply> {
        let Call::Iam(asked) = call else { return None };
        let lag = Duration::from_secs(u64::try_from(back).ok()?).min(self.setup.timing.list_lag);
        let then = self.time.now() - jiff::SignedDuration::try_from(lag).ok()?;
        if matches!(**asked, crate::iam::Call::ReadPolicy { .. }) {
            let policy = Box::new(self.iam.policy.at(then).clone());
            return Some(Reply::Iam(Ok(crate::iam::Answer::Policy(policy))));
        }
        if let crate::iam::Call::ReadMember { account, .. } = &**asked {
            let roles = self.iam.roles_of(account, self.iam.policy.at(then));
            return Some(Reply::Iam(Ok(crate::iam::Answer::Roles(roles))));
        }
        let now = self.time.now();
        if matches!(**asked, crate::iam::Call::ListAccounts) {
            let Ok(crate::iam::Answer::Accounts { mut accounts, time }) = self.iam.apply(asked, now) else {
                return None;
            };
            accounts.retain(|account| self.iam.accounts[&account.unique_id].made_at <= then);
            return Some(Reply::Iam(Ok(crate::iam::Answer::Accounts { accounts, time })));
        }
        let crate::iam::Call::ListKeys { account } = &**asked else { return None };
        let Ok(crate::iam::Answer::Keys { keys, time }) =
            self.iam.apply(&crate::iam::Call::ListKeys { account: account.clone() }, now)
        else {
            return None;
        };
        let keys = keys.into_iter().filter(|k| k.created_at.is_none_or(|at| at <= then)).collect();
        Some(Reply::Iam(Ok(crate::iam::Answer::Keys { keys, time })))
    }

    pub(super) fn lose(&mut self, call: &Call, reply: oneshot::Sender<Reply>, loss: Loss) {
        match loss {
            Loss::Reset => drop(reply),
            Loss::Silence => self.silenced.push(reply),
            Loss::Failure => {
                let no = match call {
                    Call::Api(_) => No::Api(504, "Timeout"),
                    Call::Iam(_) => No::Iam(7),
                };
                drop(reply.send(refused(call, no)));
            }
        }
    }

    /// Applies a call of a process, checks what must hold, and tells everybody who watches.
    pub(super) fn apply(
        &mut self,
        call: &Call,
        actor: Option<usize>,
        director: Option<&mut dyn Director>,
    ) -> Reply {
        let now = self.time.now();
        self.oracle.before(actor, call, &self.api, &self.iam, now);
        let (reply, outcome, body) = match call {
            Call::Api(request) => {
                let answer = self.api.with(|s| s.handle(request, now));
                let outcome = answer.0.to_string();
                let body = match &request.body {
                    Value::Null => String::new(),
                    body => serde_json::to_string(body).expect("a value is a document"),
                };
                (Reply::Api(answer), outcome, body)
            }
            Call::Iam(asked) => {
                let answer = self.iam.apply(asked, now);
                let outcome = match &answer {
                    Ok(_) => "ok".to_owned(),
                    Err(refusal) => refusal.status.to_string(),
                };
                (Reply::Iam(answer), outcome, String::new())
            }
        };
        if call.is_about_lease() {
            let line = format!("A{actor:?} {} -> {outcome}", call.summary());
            self.trace.note_silently(self.time.elapsed(), &line, &body);
            self.changes_seen = self.api.with(|s| s.store.version());
            return reply;
        }
        if !call.is_event()
            && let Some(actor) = actor
        {
            self.counts.count(call, &reply);
            let line = format!("A{actor} {} -> {outcome}", call.summary());
            self.trace.note(self.time.elapsed(), line, &body);
        }
        self.settle(actor, call.is_mutating(), director);
        self.oracle.after_call(actor, call, &reply);
        reply
    }

    /// After a change: the cluster's own controllers, the watches, the oracle.
    pub(super) fn settle(
        &mut self,
        actor: Option<usize>,
        changed: bool,
        director: Option<&mut dyn Director>,
    ) {
        let now = self.time.now();
        if self.api.with(|s| s.store.version()) != self.changes_seen {
            while self.api.with(|s| s.collect(now)) {}
        }
        let changes: Vec<Change> = self.api.with(|s| s.store.since(self.changes_seen).to_vec());
        if let Some(last) = changes.last() {
            self.changes_seen = last.version;
        }
        if changes.is_empty() && !changed {
            return;
        }
        for change in &changes {
            self.oracle.saw(actor, change, &self.api, &self.iam, now);
        }
        self.tell(&changes, director);
        let report = self.oracle.check(&self.api, &self.iam, actor, now);
        for line in report {
            self.note(&line);
        }
    }

    /// A call in the name of a process that its code never made: for the proof that somebody would notice.
    pub fn forge(&mut self, actor: usize, call: Call) -> Reply {
        self.oracle.sent(actor, &call, &self.api, self.time.now());
        if self.setup.lease.is_some() {
            self.oracle.sends(actor, &call, &self.api);
        }
        let reply = self.apply(&call, Some(actor), None);
        self.oracle.told(actor, &call, &reply);
        reply
    }
}

/// An object as a process remembers it that did not hear of its last changes.
pub(super) fn remembered(store: &Store, place: &Place, now: &Arc<Value>, behind: usize) -> Arc<Value> {
    let before = (1..=behind).rev().filter_map(|back| store.earlier(place, back));
    let same = |o: &Arc<Value>| o["metadata"]["uid"] == now["metadata"]["uid"];
    before.into_iter().find(same).unwrap_or_else(|| now.clone())
}

fn refused(call: &Call, no: No) -> Reply {
    match (call, no) {
        (Call::Api(_), No::Api(code, reason)) => {
            Reply::Api((code, Refusal::failure(code, reason, format!("a fault: {reason}")).body()))
        }
        (Call::Iam(_), No::Iam(index)) => Reply::Iam(Err(No::refusal(index))),
        (Call::Api(_), No::Iam(_)) => {
            Reply::Api((503, Refusal::failure(503, "ServiceUnavailable", "a fault").body()))
        }
        (Call::Iam(_), No::Api(..)) => Reply::Iam(Err(No::refusal(7))),
    }
}
