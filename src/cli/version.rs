//! `keywheel version`.

use std::io::Write as _;

/// Prints the version, and what sets this build apart from a release: other waits, wrong variants.
pub fn run() -> std::io::Result<()> {
    let timing = if cfg!(feature = "test-timing") { " (test-timing: not for production)" } else { "" };
    let defects = if cfg!(feature = "defects") { " (defects: not for production)" } else { "" };
    writeln!(std::io::stdout(), "keywheel {}{timing}{defects}", env!("CARGO_PKG_VERSION"))
}
