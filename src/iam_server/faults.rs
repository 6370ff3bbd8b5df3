//! Faults that tests ask for: the server fails, waits or hangs up instead of behaving. Off unless the server was
//! started with `--enable-fault-api`.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::disruptive;
use super::wire::operation::Operation;

/// A fault as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The method that it hits, such as `keys.create`.
    pub operation: String,
    /// What happens.
    pub action: Action,
    /// How many calls it hits; when shown, how many are left.
    #[serde(default = "once")]
    pub times: u32,
    /// Only calls about the account with this address.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

fn once() -> u32 {
    1
}

/// What happens to a call, after its caller was let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// This error is answered, and nothing is done.
    Fail {
        /// HTTP status, 400 to 599.
        status: u16,
        /// Canonical code; on the token endpoints the OAuth2 error code. Disruptive Technologies have none: there it is not
        /// told.
        canonical: String,
        /// Message.
        message: String,
        /// Details of an error of the API, as google.rpc types.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        details: Vec<Value>,
        /// The header `Retry-After`: seconds, or a time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<String>,
    },
    /// The call waits this long and then goes on, whether or not its client is still there.
    Delay {
        /// Milliseconds.
        millis: u64,
    },
    /// The connection is closed without an answer, and nothing is done.
    DropBefore,
    /// The call is carried out, durably, and then the connection is closed without an answer.
    ApplyThenDrop,
}

impl Action {
    /// For the request log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fail { .. } => "fail",
            Self::Delay { .. } => "delay",
            Self::DropBefore => "drop_before",
            Self::ApplyThenDrop => "apply_then_drop",
        }
    }
}

/// A fault that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// There is no such method.
    #[error("operation {operation:?} is none of {known}", known = known_operations())]
    Operation {
        /// What was asked for.
        operation: String,
    },
    /// An answer that is no error.
    #[error("status {status} is not an error status from 400 to 599")]
    Status {
        /// What was asked for.
        status: u16,
    },
    /// A fault that hits nothing.
    #[error("times must be at least 1")]
    Times,
}

fn known_operations() -> String {
    operations().collect::<Vec<_>>().join(", ")
}

fn operations() -> impl Iterator<Item = &'static str> {
    let google = Operation::ALL.iter().map(|operation| operation.name);
    google.chain(disruptive::Operation::ALL.iter().map(|operation| operation.name))
}

/// The faults that wait for their calls, oldest first.
#[derive(Debug, Default)]
pub struct Faults {
    waiting: Mutex<VecDeque<Fault>>,
}

impl Faults {
    /// Adds a fault behind those that wait.
    ///
    /// # Errors
    /// [`FaultError`].
    pub fn add(&self, fault: Fault) -> Result<(), FaultError> {
        if !operations().any(|known| known == fault.operation) {
            return Err(FaultError::Operation { operation: fault.operation });
        }
        if let Action::Fail { status, .. } = fault.action
            && !StatusCode::from_u16(status)
                .is_ok_and(|code| code.is_client_error() || code.is_server_error())
        {
            return Err(FaultError::Status { status });
        }
        if fault.times == 0 {
            return Err(FaultError::Times);
        }
        self.lock().push_back(fault);
        Ok(())
    }

    /// The action that hits this call, which uses it up once.
    pub fn take(&self, operation: &str, account: Option<&str>) -> Option<Action> {
        let mut waiting = self.lock();
        let index = waiting.iter().position(|fault| {
            fault.operation == operation
                && fault.account.as_deref().is_none_or(|wanted| Some(wanted) == account)
        })?;
        let fault = waiting.get_mut(index)?;
        let action = fault.action.clone();
        fault.times -= 1;
        if fault.times == 0 {
            waiting.remove(index);
        }
        Some(action)
    }

    /// Whether any fault waits, without which accounts need not be looked up.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Those that wait.
    pub fn show(&self) -> Vec<Fault> {
        self.lock().iter().cloned().collect()
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Fault>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_fault_hits_as_often_as_asked_and_only_what_it_names() {
        let faults = Faults::default();
        let text = r#"{"operation":"keys.create","action":"apply_then_drop","times":2,"match":"a@p1"}"#;
        faults.add(fault(text)).unwrap();
        assert_eq!(faults.take(Operation::KEYS_LIST.name, Some("a@p1")), None);
        assert_eq!(faults.take(Operation::KEYS_CREATE.name, Some("b@p1")), None);
        assert_eq!(faults.take(Operation::KEYS_CREATE.name, None), None);
        assert_eq!(faults.take(Operation::KEYS_CREATE.name, Some("a@p1")), Some(Action::ApplyThenDrop));
        assert_eq!(faults.show().first().map(|fault| fault.times), Some(1));
        assert_eq!(faults.take(Operation::KEYS_CREATE.name, Some("a@p1")), Some(Action::ApplyThenDrop));
        assert!(faults.is_empty());
    }

    #[test]
    fn no_two_operations_have_one_name() {
        let mut names: Vec<&str> = operations().collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn older_faults_go_first() {
        let faults = Faults::default();
        faults.add(fault(r#"{"operation":"token","action":{"delay":{"millis":5}}}"#)).unwrap();
        faults.add(fault(r#"{"operation":"token","action":"drop_before"}"#)).unwrap();
        assert_eq!(faults.take(Operation::TOKEN.name, None), Some(Action::Delay { millis: 5 }));
        assert_eq!(faults.take(Operation::TOKEN.name, None), Some(Action::DropBefore));
        assert_eq!(faults.take(Operation::TOKEN.name, None), None);
    }

    #[test]
    fn nonsense_is_refused() {
        let faults = Faults::default();
        let fail = |status: u16| {
            fault(&format!(
                r#"{{"operation":"token","action":{{"fail":{{"status":{status},"canonical":"X","message":"m"}}}}}}"#
            ))
        };
        assert!(matches!(faults.add(fail(200)), Err(FaultError::Status { status: 200 })));
        faults.add(fail(503)).unwrap();
        let unknown = fault(r#"{"operation":"keys.burn","action":"drop_before"}"#);
        assert!(matches!(faults.add(unknown), Err(FaultError::Operation { .. })));
        let never = fault(r#"{"operation":"token","action":"drop_before","times":0}"#);
        assert!(matches!(faults.add(never), Err(FaultError::Times)));
        assert!(
            serde_json::from_str::<Fault>(r#"{"operation":"token","action":"drop_before","x":1}"#).is_err()
        );
    }
}
