//! Events as data.

use super::Reason;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// As planned.
    Normal,
    /// Somebody should look.
    Warning,
}

/// What people see in `kubectl describe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// How much it matters.
    pub severity: Severity,
    /// Stable reason.
    pub reason: Reason,
    /// What happened and, if something is wrong, what to do.
    pub note: String,
}

impl Event {
    /// As planned.
    pub fn normal(reason: Reason, note: impl Into<String>) -> Self {
        Self { severity: Severity::Normal, reason, note: note.into() }
    }

    /// Somebody should look.
    pub fn warning(reason: Reason, note: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, reason, note: note.into() }
    }
}
