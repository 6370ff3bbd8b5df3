//! Folders for things that nobody needs afterwards.

use std::path::{Path, PathBuf};

use super::Error;
use crate::session;

/// A folder of our own (mode 0700) that is removed with everything in it when it is dropped.
///
/// With `KEYWHEEL_TESTBED_KEEP` set it stays, and its path is printed at the end.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    owned: bool,
}

impl Scratch {
    /// A new folder in the system's folder for temporary files; the name starts with `keywheel-PREFIX-`.
    pub fn new(prefix: &str) -> Result<Self, Error> {
        let make = |source| Error::Make { path: std::env::temp_dir(), source };
        let dir = tempfile::Builder::new().prefix(&format!("keywheel-{prefix}-")).tempdir().map_err(make)?;
        let path = dir.keep();
        session::register_folder(path.clone());
        Ok(Self { path, owned: true })
    }

    /// A folder at a given place that stays.
    pub fn lasting(path: &Path) -> Result<Self, Error> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| Error::Make { path: path.to_path_buf(), source })?;
        Ok(Self { path: path.to_path_buf(), owned: false })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.owned {
            remove_folder(&self.path);
            session::forget_folder(&self.path);
        }
    }
}

pub(crate) fn remove_folder(path: &Path) {
    if std::env::var_os("KEYWHEEL_TESTBED_KEEP").is_some() {
        crate::progress::say(&format!("kept: {}", path.display()));
    } else {
        // A folder that stays behind in the system's temporary folder is no reason to fail a test.
        std::fs::remove_dir_all(path).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_folder_vanishes() {
        let scratch = Scratch::new("test").unwrap();
        let path = scratch.path().to_path_buf();
        std::fs::write(path.join("file"), "x").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
