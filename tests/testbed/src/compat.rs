//! The table of clients that were seen to work: each test adds its row, `make compat` prints them.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::repo;

fn folder() -> PathBuf {
    repo::root().join("target").join("compat")
}

/// Forgets the rows of earlier runs.
///
/// # Errors
/// The system's.
pub fn forget() -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A client did everything that was asked of it.
///
/// # Errors
/// The system's.
pub fn record(client: &str, version: &str, calls: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(folder())?;
    let name: String = client.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    std::fs::write(folder().join(name), format!("| {client} | {version} | {calls} | passed |\n"))
}

/// All rows.
///
/// # Errors
/// The system's.
pub fn table() -> std::io::Result<String> {
    let mut rows = Vec::new();
    match std::fs::read_dir(folder()) {
        Ok(entries) => {
            for entry in entries {
                rows.push(std::fs::read_to_string(entry?.path())?);
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    rows.sort();
    let mut text = "| client | version | calls | result |\n|---|---|---|---|\n".to_owned();
    for row in rows {
        // Writing to a string cannot fail.
        write!(text, "{row}").ok();
    }
    Ok(text)
}
