//! Integration tests: one binary, one link.

use std::process::ExitCode;

use keywheel_testbed::Session;

mod chart;
mod control_plane;
mod operator;
mod wire;

fn main() -> ExitCode {
    // Ends what the trials share, also on Ctrl-C.
    let Ok(_session) = Session::begin() else { return ExitCode::FAILURE };
    if std::env::var_os(control_plane::HOLD).is_some() {
        return control_plane::hold().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let trials = [wire::trials(), chart::trials(), control_plane::trials(), operator::trials()]
        .into_iter()
        .flatten()
        .collect();
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials).exit_code()
}
