//! What this process has started and made, so that all of it ends with the process.
//!
//! A value's `Drop` ends its own child. What `Drop` cannot reach (statics, Ctrl-C, SIGTERM) is reached
//! from here: one list of live children and scratch folders, emptied in reverse order.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::process::Live;

struct Belongings {
    /// Set when the end has begun: nothing may be started any more, or it would outlive us.
    closing: bool,
    children: Vec<Arc<Live>>,
    folders: Vec<PathBuf>,
}

static BELONGINGS: Mutex<Belongings> =
    Mutex::new(Belongings { closing: false, children: Vec::new(), folders: Vec::new() });

static HANDLER: Once = Once::new();

fn belongings() -> MutexGuard<'static, Belongings> {
    // The list stays usable after a panic elsewhere; that is when it is needed most.
    BELONGINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends every child and removes every scratch folder of this process when it is dropped.
///
/// Keep one in `main`, outside of everything else: it also reaches values in statics, which Rust never drops.
#[must_use = "children in statics are ended when this is dropped"]
#[derive(Debug)]
pub struct Session(());

impl Session {
    /// Installs the handlers of SIGINT, SIGTERM and SIGHUP: they end the children, then the process with 128 + signal.
    ///
    /// # Errors
    /// When a signal handler cannot be installed.
    pub fn begin() -> io::Result<Self> {
        let mut outcome = Ok(());
        HANDLER.call_once(|| outcome = install_handler());
        outcome.map(|()| Self(()))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        end_everything();
    }
}

fn install_handler() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            end_everything();
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}

/// Ends every child that still lives, the youngest first, and removes the scratch folders. Nothing starts afterwards.
pub fn end_everything() {
    let (mut children, folders) = {
        let mut all = belongings();
        all.closing = true;
        (std::mem::take(&mut all.children), std::mem::take(&mut all.folders))
    };
    while let Some(child) = children.pop() {
        child.end();
    }
    for folder in folders.iter().rev() {
        crate::process::remove_folder(folder);
    }
}

/// Spawns under the list's lock, so that no child can slip in between the end's beginning and its registration.
pub(crate) fn register_child(spawn: impl FnOnce() -> io::Result<Live>) -> io::Result<Arc<Live>> {
    let mut all = belongings();
    if all.closing {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "this process is ending"));
    }
    let live = Arc::new(spawn()?);
    all.children.push(Arc::clone(&live));
    Ok(live)
}

pub(crate) fn forget_child(live: &Arc<Live>) {
    belongings().children.retain(|other| !Arc::ptr_eq(other, live));
}

pub(crate) fn register_folder(folder: PathBuf) {
    belongings().folders.push(folder);
}

pub(crate) fn forget_folder(folder: &std::path::Path) {
    belongings().folders.retain(|other| other != folder);
}
