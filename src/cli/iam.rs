//! `keywheel iam`: the embedded IAM server.

use clap::Args;

/// Options of the embedded IAM server.
#[derive(Debug, Args)]
pub struct IamArgs {}

/// Runs the server until it is told to stop.
pub fn run(_args: IamArgs) -> Result<(), std::io::Error> {
    Ok(())
}
