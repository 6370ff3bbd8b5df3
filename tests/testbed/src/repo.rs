//! Where the parts of the repository lie.

use std::path::{Path, PathBuf};

/// The top folder of the repository that this crate was built from.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// The generated custom resource definitions.
pub fn crds() -> PathBuf {
    root().join("crds")
}

/// The generated manifests: namespace, RBAC, Deployment, samples.
pub fn deploy() -> PathBuf {
    root().join("deploy")
}

/// The Go module that pins the control plane.
pub fn control_plane_module() -> PathBuf {
    root().join("tests").join("controlplane")
}

/// Scripts that run unmodified Python clients, and their pins.
pub fn python() -> PathBuf {
    root().join("tests").join("compat")
}

/// Keywheel's folder in the user's cache folder: `$XDG_CACHE_HOME/keywheel`, else `~/.cache/keywheel`.
///
/// `None` where neither `XDG_CACHE_HOME` nor a home folder is known.
pub fn cache() -> Option<PathBuf> {
    let xdg = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    xdg.or_else(|| std::env::home_dir().map(|home| home.join(".cache"))).map(|base| base.join("keywheel"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_folder_with_the_workspace_manifest() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
        assert!(control_plane_module().join("go.mod").is_file());
    }
}
