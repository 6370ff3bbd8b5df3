//! `keywheel version`.

use std::io::Write as _;

/// Prints the version, and whether this build can be told other waits than a release has.
pub fn run() -> std::io::Result<()> {
    let timing = if cfg!(feature = "test-timing") { " (test-timing: not for production)" } else { "" };
    writeln!(std::io::stdout(), "keywheel {}{timing}", env!("CARGO_PKG_VERSION"))
}
