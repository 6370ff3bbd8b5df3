//! What each flow costs without faults, exactly (docs/architecture.md).

/// A number of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Writes to the API server; events and dry runs are none.
    pub api_writes: usize,
    /// Calls to the backend but for looks: changes of keys and accounts, exchanges.
    pub iam_calls: usize,
    /// Lists of keys: one an attempt, one a refused exchange, and audits, about one an hour of a flow. Reads of policies and
    /// services.
    pub lists: usize,
}

/// Finalizer, intent, stage, publish, record, unstage; list, create or upload, exchange.
const CREATE: Budget = Budget { api_writes: 6, iam_calls: 2, lists: 1 };
/// The same without the finalizer.
const ROTATE: Budget = Budget { api_writes: 5, iam_calls: 2, lists: 1 };
/// Disable, later delete, each recorded.
const RETIRE: Budget = Budget { api_writes: 2, iam_calls: 2, lists: 0 };
/// One end of a key, recorded.
const END: Budget = Budget { api_writes: 1, iam_calls: 1, lists: 0 };
/// Secret, end of the key, finalizer.
const DELETE: Budget = Budget { api_writes: 3, iam_calls: 1, lists: 0 };
/// The oldest key at once, a new one, then the key that it replaces.
const REVOKE: Budget = Budget { api_writes: 7, iam_calls: 4, lists: 1 };

/// Intent and record; the policy is read before each, and in the change.
const BIND: Budget = Budget { api_writes: 2, iam_calls: 1, lists: 3 };
/// What leaves first, then what comes: two intents, of which the second is the record of the first, and a record. A
/// reconcile reads the policy once, and each change once more.
const REBIND: Budget = Budget { api_writes: 3, iam_calls: 2, lists: 5 };
/// Nothing is written down before what is taken back.
const UNBIND: Budget = Budget { api_writes: 0, iam_calls: 1, lists: 2 };

const fn only(api_writes: usize, iam_calls: usize) -> Budget {
    Budget { api_writes, iam_calls, lists: 0 }
}

impl Budget {
    const fn and(self, other: Self) -> Self {
        Self {
            api_writes: self.api_writes + other.api_writes,
            iam_calls: self.iam_calls + other.iam_calls,
            lists: self.lists + other.lists,
        }
    }

    const fn writes(self, more: usize) -> Self {
        self.and(only(more, 0))
    }

    const fn calls(self, more: usize) -> Self {
        self.and(only(0, more))
    }

    const fn lists(self, more: usize) -> Self {
        Self { lists: self.lists + more, ..self }
    }
}

/// The budget of a flow.
#[expect(clippy::match_same_arms, reason = "the same numbers for other reasons")]
pub fn of(flow: &str) -> Option<Budget> {
    Some(match flow {
        // Lives.
        "create" | "local-create" => CREATE,
        // The status says once that it waits; ten exchanges are refused, each with a look whether the key is there,
        // then three must succeed in a row.
        "verification-waits" => CREATE.writes(1).calls(12).lists(10),
        "rotate" | "local-rotate" | "rotate-at" | "down-for-weeks" => ROTATE,
        // An audit falls into it.
        "local-expiry" => ROTATE.lists(1),
        "drift-secret-deleted" | "drift-secret-emptied" => ROTATE,
        "retire" => RETIRE.lists(7),
        "delete-only-retire" => END.lists(1),
        "delete" => DELETE,
        "delete-in-overlap" => DELETE.and(END),
        // The Secret alone.
        "drift-secret-relabelled" => only(1, 0),
        // The Secret, and the generation that it is of.
        "spec-changed" => only(2, 0),
        // The key that is published again is recorded first.
        "old-credential-restored" => ROTATE.writes(1),
        // Rebuilt; fence and its record; the old key disabled; when the active key was made, from the first list; close.
        "status-lost" => only(5, 0).and(END).lists(4),
        // Finalizer, intent, record.
        "account-create" => only(3, 1),
        // Finalizer, record.
        "account-adopt" => only(2, 0),
        // The account says that it waits for the key, ends after it, and its finalizer goes.
        "account-delete" => DELETE.and(only(2, 1)),
        // The same; the namespace takes the Secret.
        "namespace-delete" => END.writes(1).and(only(2, 1)),

        // Pairs made here.
        // As above with nine refusals, and one look for a second upload.
        "local-lagging" => CREATE.writes(1).calls(11).lists(10),
        "local-delete-early" => CREATE.and(DELETE),

        // What people ask for.
        // The restart of one workload; the old key is disabled, and not deleted yet.
        "rollout" => ROTATE.writes(1).and(END).lists(2),
        // The same; the status says once what the old key waits for.
        "rollout-beyond-overlap" => ROTATE.writes(2).and(END).lists(2),
        "revoke" => REVOKE,
        // The first attempt: finalizer, intent, stage, the wait, given up with its key in the ledger, unstage; a create,
        // eight refused exchanges, two lists. Then a second one, the end of the first key, a look for what else there is.
        "revoke-in-create" => only(6, 9).lists(10).and(ROTATE).and(END),
        "revoke-in-rotation" => ROTATE.and(REVOKE),
        // The restart, and that it is owed no more.
        "revoke-in-stuck-rollout" => REVOKE.writes(2),
        // What was seen; a restart, and what the old key waits for now; the end of the first key.
        "ended-in-stuck-rollout" => ROTATE.writes(3).and(END).lists(3),
        // The former name, the new Secret, its record; the former Secret's end, recorded.
        "rename" => only(5, 0).lists(1),
        // The previous credential leaves the Secret first.
        "previous" => RETIRE.writes(1).lists(7),
        // The status says that it is suspended.
        "suspend" => RETIRE.writes(1).lists(9),
        // The Secret and the finalizer.
        "retain-key" => only(2, 0),
        // The finalizer.
        "retain-all" => only(1, 0),
        // Finalizer; the Secret, after a proof; the status begun, rebuilt, and the next rotation in it.
        "take-over" => only(5, 1),
        // Finalizer, the Secret, the status begun; rebuilt with the intent of a new key.
        "take-over-dead" => only(3, 1).and(ROTATE),

        // Odd cases.
        // The key of the lost attempt is adopted before the flow begins, its window closed in it.
        "orphan" => RETIRE.and(RETIRE).writes(1).lists(9),
        // The claim.
        "claim" => RETIRE.writes(1).lists(7),
        // The account as created; the old key dropped without a call, once the other account is known.
        "account-made-again" => only(3, 1).and(ROTATE).writes(2),
        // Four looks find no room, each a failure that the next wait is counted from.
        "account-full" => ROTATE.writes(4).lists(4),
        // The account's record of whose keys there are.
        "account-nearly-full" => ROTATE.writes(1).lists(1),
        // The backend and the key say that the clocks differ, and that they agree again.
        "clock-ahead" => RETIRE.writes(4).lists(8),
        // The key says the second one with the end that waited for it.
        "clock-back" => RETIRE.writes(3).lists(8),
        // The second repair waits for its distance, and says so.
        "secret-deleted-twice" => ROTATE.and(ROTATE).writes(1),
        // Two nights; the first key retires, the second is disabled.
        "dst-forward" => ROTATE.and(ROTATE).and(RETIRE).and(END).lists(38),
        "dst-back" => ROTATE.and(ROTATE).and(RETIRE).and(END).lists(39),

        // What comes back. The Secret's key is recorded, the old one is in its overlap again; when the key was made, from the
        // next audit.
        "status-restored" => only(2, 1).lists(2),
        // A create that waits for its proof; the Secret, after one of its own; its key in the status, and that this waits.
        "secret-restored" => CREATE.writes(4).calls(17).lists(14),
        "secret-deleted-when-full" => ROTATE.and(END).lists(1),

        // Keys that nobody owns. The account tells of the key.
        "unmanaged-report" => only(1, 0).lists(4),
        // The same, and what became of it.
        "unmanaged-disable" | "unmanaged-delete" => only(2, 1).lists(4),
        // Two tellings of the account; the backend and the key say that the clocks differ, and that they agree again.
        "unmanaged-clock-ahead" => only(6, 1).lists(6),
        // The suspect; the account tells of the key.
        "disown" => only(2, 0).lists(3),
        // The Secret, why the key is still there, the finalizer.
        "abandon" => only(3, 0),

        // Where ids are not chosen, and secrets are shared.
        // Finalizer, intent, record, note, readiness; a list, a create, the name.
        "unnamed-account-create" => only(5, 3),
        "unnamed-account-status-lost" => only(1, 0),
        // That the answer was lost, record, note, readiness; a list, the name; a look at its keys and its roles.
        "unnamed-account-found" => only(4, 2).lists(2),
        // That the answer was lost, the suspect, the wait for what may still show itself; then the attempt is closed, and intent,
        // record, note and readiness of another one. A list each five minutes, a create, the name; two looks at each suspect list.
        "unnamed-account-used" => only(8, 21).lists(7),
        // That the answer was lost, the suspect, record, note, readiness; a list each five minutes, the name.
        "unnamed-account-member" => only(5, 5).lists(8),
        // Basic auth comes and goes with them.
        "one-role" => BIND.and(BIND).and(UNBIND).and(only(1, 3)),
        "one-role-person" => BIND.calls(1),
        // The audit.
        "basic-auth" => only(0, 1).lists(1),
        "unnamed-account-delete-early" => only(6, 4),
        "unnamed-account-delete" => DELETE.and(only(2, 1)),
        "shared-secret-create" | "shared-secret-create-alone" => CREATE,
        "shared-secret-rotate" | "shared-secret-edited" => ROTATE,
        "shared-secret-retire" => END.lists(1),
        "shared-secret-revoke" => REVOKE,
        "shared-secret-delete" => DELETE.and(END),

        // Roles and services.
        // The finalizer and the account.
        "roles" => BIND.and(REBIND).and(UNBIND).and(only(1, 1)),
        "roles-dropped-at-once" => BIND.and(BIND).and(only(1, 1)),
        "roles-deleted-at-once" => BIND.and(UNBIND).and(only(1, 1)),
        "roles-person" => REBIND,
        // Finalizer, intent, what is waited for, that it is on, that the project is registered. The account, one service; twelve
        // looks at both, ten seconds apart while it is being enabled; three at the registration.
        "services" => only(6, 2).lists(25),
        _ => return None,
    })
}
