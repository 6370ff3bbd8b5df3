//! One control plane for all trials of a test binary: started by the first that needs it.

use std::sync::{Arc, OnceLock};

use crate::control_plane::{ControlPlane, Error, Options};

/// The shared control plane could not be started; every trial that needs it fails with the same reason.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the shared control plane did not start: {}", chain(.0.as_ref()))]
pub struct NotStarted(pub Arc<Error>);

static CONTROL_PLANE: OnceLock<Result<ControlPlane, NotStarted>> = OnceLock::new();

/// The shared control plane, with garbage collection and Keywheel's CRDs and RBAC rules installed.
///
/// Statics are never dropped: keep a [`crate::Session`] in `main`, it ends the processes.
pub fn control_plane() -> Result<&'static ControlPlane, NotStarted> {
    let start = || {
        let cp = ControlPlane::start(Options::default().with_garbage_collection())?;
        cp.install_keywheel()?;
        Ok(cp)
    };
    let outcome = CONTROL_PLANE.get_or_init(|| start().map_err(|error: Error| NotStarted(Arc::new(error))));
    outcome.as_ref().map_err(Clone::clone)
}

/// An error with all of its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Transparent variants repeat their cause's words.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
