//! Integration tests: one binary, one link.

use std::process::ExitCode;

use keywheel_testbed::Session;

mod chart;
mod cluster;
mod compat;
mod control_plane;
mod docs;
mod fuzz;
mod operator;
mod wire;

/// Trials that run at once, unless the command line says otherwise.
const THREADS: usize = 4;

fn main() -> ExitCode {
    // Ends what the trials share, also on Ctrl-C.
    let Ok(_session) = Session::begin() else { return ExitCode::FAILURE };
    if std::env::var_os(control_plane::HOLD).is_some() {
        return control_plane::hold().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let trials = [
        wire::trials(),
        docs::trials(),
        fuzz::trials(),
        chart::trials(),
        control_plane::trials(),
        operator::trials(),
        compat::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut arguments = libtest_mimic::Arguments::from_args();
    // Most trials wait for clocks, so more of them run at once than there are cores.
    arguments.test_threads.get_or_insert(THREADS);
    libtest_mimic::run(&arguments, trials).exit_code()
}
