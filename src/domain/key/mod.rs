//! The lifecycle of a key, as a pure function: [`plan`] of an [`Observation`].
//!
//! | module | what |
//! |---|---|
//! | [`observation`] | all that was read, as data |
//! | `step` | all that a plan can say |
//! | [`plan`](mod@plan) | the decision table, rule by rule |
//! | `deleting` | the rules of a deleting object |
//! | `rebuild` | rule 2: a status that was lost |
//! | `record` | rule 7: the status follows what is written elsewhere |
//! | `capability` | what the backend lacks of what the spec asks for |
//! | `attempt` | rules 8 and 9: the open attempt, and staged keys that none claims |
//! | `mint`, `need` | rule 10: whether a key is needed, and the gates before one is made |
//! | `publish` | rules 8c and 11: what the consumer Secret shall say |
//! | `lost` | rules 12, 14, 15: attempts whose answer was lost |
//! | `rollout` | workloads that are restarted for a new key |
//! | `retire` | rule 13: which old key may be ended |
//! | `audit` | what somebody else did to our keys |
//! | `requests` | rotate, revoke, claim and disown, by annotation |
//! | `takeover` | a Secret that an earlier object left; an account that was made again |
//! | `put_off` | steps that were refused, and hold up nothing else |
//! | `siblings` | what other objects on the account say about keys |
//! | `table` | what all rules share: ways to wait, to hold, to fail |
//! | [`ledger`] | the ledger's own operations |
//! | `story` | conditions that tell what a decision means |

mod attempt;
mod audit;
mod capability;
mod deleting;
mod last_use;
pub mod ledger;
mod lost;
mod mint;
mod need;
pub mod observation;
pub mod plan;
mod publish;
mod put_off;
mod rebuild;
mod record;
mod requests;
mod retire;
mod rollout;
mod siblings;
mod step;
mod story;
mod table;
mod takeover;
#[cfg(test)]
mod tests;

pub use last_use::LastUse;
pub use observation::{
    Account, AccountView, Credential, Former, KeyList, ListedKey, Observation, Preflight, Proof, Published,
    Refusal, Requests, Rollout, RolloutState, Secret, Staged, Upload,
};
pub use plan::plan;
pub use put_off::{PutOff, Refused, Subject};
pub use siblings::{Siblings, Window};
pub use step::{Need, Next, Plan, Publication, Step};
pub use story::failed_step;
