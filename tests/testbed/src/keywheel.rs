//! Which `keywheel` program is under test.

use std::path::PathBuf;

use crate::repo;

/// The program is nowhere.
#[derive(Debug, thiserror::Error)]
#[error("no keywheel program: KEYWHEEL_BIN is not set and there is none at {}", looked.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or "))]
pub struct NoProgram {
    /// Where it was looked for.
    pub looked: Vec<PathBuf>,
}

/// The program that `KEYWHEEL_BIN` names; else `given` (a test passes `env!("CARGO_BIN_EXE_keywheel")`);
/// else the younger one of the workspace's release and debug builds.
pub fn program(given: Option<&str>) -> Result<PathBuf, NoProgram> {
    if let Some(path) = std::env::var_os("KEYWHEEL_BIN").filter(|value| !value.is_empty()) {
        return Ok(path.into());
    }
    if let Some(path) = given {
        return Ok(path.into());
    }
    let target = target_folder();
    let looked: Vec<PathBuf> =
        ["release", "debug"].map(|profile| target.join(profile).join("keywheel")).into();
    let modified = |path: &PathBuf| path.metadata().and_then(|data| data.modified()).ok();
    let youngest = looked.iter().filter(|path| path.is_file()).max_by_key(|path| modified(path)).cloned();
    youngest.ok_or(NoProgram { looked })
}

/// Cargo's folder for what it builds.
pub fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repo::root().join("target"), PathBuf::from)
}
