//! The control plane's programs: from a folder that is already there, from the cache, or built from pinned Go modules.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::progress::{self, say};
use crate::{process, repo};

/// A failure to get a program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no Go on this machine.
    #[error(
        "Go is not installed, and these programs have to be built from source: {names}. Install Go \
         (https://go.dev/dl), or get etcd, kube-apiserver and kubectl the quick way: \
         export KUBEBUILDER_ASSETS=\"$(setup-envtest use -p path)\""
    )]
    NoGo {
        /// The programs that are missing.
        names: String,
    },
    /// No cache folder.
    #[error("no cache folder: neither XDG_CACHE_HOME (an absolute path) nor HOME is set")]
    NoCache,
    /// There is no program with this name.
    #[error("there is no tool {name}; there are: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// The pins do not name a version.
    #[error("{path} pins no version of {module}")]
    NoPin {
        /// The pins.
        path: PathBuf,
        /// The module.
        module: &'static str,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The build failed.
    #[error("cannot build {name}")]
    Build {
        /// The program.
        name: &'static str,
        /// Why, with the end of the build's log.
        source: process::Error,
    },
}

/// A program of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// The store.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// The client.
    Kubectl,
    /// Nodes and pods that behave, without a kubelet.
    Kwok,
    /// Garbage collection, namespaces, Deployments.
    KubeControllerManager,
    /// Pods onto nodes.
    KubeScheduler,
    /// Charts.
    Helm,
}

impl Tool {
    /// All of them, in the order of building: first what lets a user see something early.
    pub const ALL: [Self; 7] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::Kubectl,
        Self::Kwok,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Helm,
    ];

    /// The program's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::Kubectl => "kubectl",
            Self::Kwok => "kwok",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Helm => "helm",
        }
    }

    /// The Go package of its `main`.
    const fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Kwok => "sigs.k8s.io/kwok/cmd/kwok",
            Self::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::KubeScheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Self::Helm => "helm.sh/helm/v4/cmd/helm",
        }
    }

    /// The tool with this name.
    pub fn parse(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|tool| tool.name() == name).ok_or_else(|| Error::Unknown {
            name: name.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// Where the programs are, or would be built to.
#[derive(Debug, Clone)]
pub struct Toolbox {
    assets: Option<PathBuf>,
    cache: PathBuf,
    module: PathBuf,
}

impl Toolbox {
    /// As the environment says: `KUBEBUILDER_ASSETS` first, then the cache folder of this state of the Go module.
    pub fn from_env() -> Result<Self, Error> {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty());
        Self::new(assets.as_deref(), &repo::cache().ok_or(Error::NoCache)?, &repo::control_plane_module())
    }

    fn new(assets: Option<&OsStr>, cache: &Path, module: &Path) -> Result<Self, Error> {
        let mut hash = Sha256::new();
        for name in ["go.mod", "go.sum"] {
            hash.update(read(&module.join(name))?);
        }
        let checksum = hex::encode(hash.finalize());
        let short = checksum.get(..16).unwrap_or(&checksum);
        Ok(Self {
            assets: assets.map(PathBuf::from),
            cache: cache.join(format!("controlplane-{short}")),
            module: module.to_path_buf(),
        })
    }

    /// The folder that builds go to.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The folder with kwok's stages; there once kwok was built.
    pub fn kwok_stages(&self) -> PathBuf {
        self.cache.join("kwok-stages")
    }

    /// The program, if it is there.
    pub fn find(&self, tool: Tool) -> Option<PathBuf> {
        let beside = |folder: &Path| Some(folder.join(tool.name())).filter(|path| path.is_file());
        self.assets.as_deref().and_then(beside).or_else(|| beside(&self.cache))
    }

    /// The program; it is built first if it is missing.
    pub fn get(&self, tool: Tool) -> Result<PathBuf, Error> {
        self.ensure(&[tool])?;
        Ok(self.find(tool).unwrap_or_else(|| self.cache.join(tool.name())))
    }

    /// Builds what is missing of `tools`, one after the other; every long build says how far it is.
    pub fn ensure(&self, tools: &[Tool]) -> Result<(), Error> {
        let missing = |box_: &Self| -> Vec<Tool> {
            Tool::ALL.into_iter().filter(|tool| tools.contains(tool) && box_.find(*tool).is_none()).collect()
        };
        let wanted = missing(self);
        if wanted.is_empty() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.cache).map_err(|source| Error::File {
            action: "make the folder",
            path: self.cache.clone(),
            source,
        })?;
        let _turn = lock(&self.cache.join(".lock"), "another build of the control plane")?;
        // Another process may have built them while we waited for our turn.
        let wanted = missing(self);
        if wanted.is_empty() {
            return Ok(());
        }
        if Command::new("go").arg("version").output().is_err() {
            return Err(Error::NoGo {
                names: wanted.iter().map(|tool| tool.name()).collect::<Vec<_>>().join(", "),
            });
        }
        say(&format!(
            "building {} from source into {}",
            wanted.iter().map(|tool| tool.name()).collect::<Vec<_>>().join(", "),
            self.cache.display()
        ));
        wanted.into_iter().try_for_each(|tool| self.build(tool))
    }

    fn build(&self, tool: Tool) -> Result<(), Error> {
        let name = tool.name();
        let log = self.cache.join(format!(".{name}.log"));
        let file = |action, path: &Path| {
            let path = path.to_path_buf();
            move |source| Error::File { action, path, source }
        };
        File::create(&log).map_err(file("write", &log))?;
        // Under the lock there is one build at a time, so a file of this name is left over from a broken one.
        let unfinished = self.cache.join(format!(".{name}.unfinished"));
        let mut command = Command::new("go");
        command
            .current_dir(&self.module)
            .args(["build", "-v", "-trimpath", "-ldflags", &self.linker_flags()?, "-o"])
            .arg(&unfinished)
            .arg(tool.package());
        say(&format!("  {name}: building {}", tool.package()));
        let duration =
            progress::run(name, command, &log, |log| format!("{} Go packages compiled", packages(log)))
                .map_err(|source| Error::Build { name, source })?;
        if tool == Tool::Kwok {
            self.copy_kwok_stages()?;
        }
        let done = self.cache.join(name);
        std::fs::rename(&unfinished, &done).map_err(file("move into place", &done))?;
        std::fs::remove_file(&log).map_err(file("remove", &log))?;
        say(&format!("  {name}: built in {} s", duration.as_secs()));
        Ok(())
    }

    /// Without these, clients see the version v0.0.0-master.
    fn linker_flags(&self) -> Result<String, Error> {
        let path = self.module.join("go.mod");
        let pins = String::from_utf8_lossy(&read(&path)?).into_owned();
        let module = "k8s.io/kubernetes";
        let version = pinned(&pins, module).ok_or(Error::NoPin { path, module })?;
        let mut flags = "-s -w".to_owned();
        for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
            // Writing to a String cannot fail.
            write!(flags, " -X {package}.gitVersion={version}").ok();
        }
        Ok(flags)
    }

    /// kwok does nothing without stages; they are files in its module, not in its program.
    fn copy_kwok_stages(&self) -> Result<(), Error> {
        const STAGES: [&str; 5] = [
            "node/fast/node-initialize.yaml",
            "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
            "pod/fast/pod-ready.yaml",
            "pod/fast/pod-delete.yaml",
            "pod/fast/pod-complete.yaml",
        ];
        let listing = Command::new("go")
            .current_dir(&self.module)
            .args(["list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok"])
            .output()
            .map_err(|source| Error::File {
                action: "list the module in",
                path: self.module.clone(),
                source,
            })?;
        let source_folder =
            PathBuf::from(String::from_utf8_lossy(&listing.stdout).trim()).join("kustomize/stage");
        let target_folder = self.kwok_stages();
        std::fs::create_dir_all(&target_folder).map_err(|source| Error::File {
            action: "make the folder",
            path: target_folder.clone(),
            source,
        })?;
        for stage in STAGES {
            let from = source_folder.join(stage);
            let to = target_folder.join(Path::new(stage).file_name().unwrap_or_default());
            let bytes = read(&from)?;
            std::fs::write(&to, bytes).map_err(|source| Error::File { action: "write", path: to, source })?;
        }
        Ok(())
    }
}

/// Waits for our turn; the lock goes with the file, also when this process is killed.
pub(crate) fn lock(path: &Path, what: &str) -> Result<File, Error> {
    let error = |source| Error::File { action: "lock", path: path.to_path_buf(), source };
    let file = File::options().create(true).append(true).open(path).map_err(error)?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => say(&format!("waiting for {what} to finish")),
        Err(std::fs::TryLockError::Error(source)) => return Err(error(source)),
    }
    file.lock().map_err(error)?;
    Ok(file)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File { action: "read", path: path.to_path_buf(), source })
}

/// How many packages the log of `go build -v` names: one a line, downloads and warnings apart.
fn packages(log: &str) -> usize {
    log.lines().filter(|line| !line.is_empty() && !line.contains(' ')).count()
}

/// The version that a go.mod requires of a module.
fn pinned<'a>(pins: &'a str, module: &str) -> Option<&'a str> {
    pins.lines().filter(|line| !line.contains("=>")).find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_ascii_whitespace();
        (words.next() == Some(module)).then(|| words.next()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Scratch;

    fn module(scratch: &Scratch, sum: &str) -> PathBuf {
        let module = scratch.path().join("module");
        std::fs::create_dir_all(&module).unwrap();
        std::fs::write(module.join("go.mod"), "module m\nrequire k8s.io/kubernetes v1.2.3 // indirect\n")
            .unwrap();
        std::fs::write(module.join("go.sum"), sum).unwrap();
        module
    }

    #[test]
    fn another_checksum_is_another_folder() {
        let scratch = Scratch::new("test").unwrap();
        let one = Toolbox::new(None, scratch.path(), &module(&scratch, "a")).unwrap();
        let same = Toolbox::new(None, scratch.path(), &module(&scratch, "a")).unwrap();
        let other = Toolbox::new(None, scratch.path(), &module(&scratch, "b")).unwrap();
        assert_eq!(one.cache(), same.cache());
        assert_ne!(one.cache(), other.cache());
    }

    #[test]
    fn an_assets_folder_comes_first_and_only_what_it_lacks_is_looked_for_in_the_cache() {
        let scratch = Scratch::new("test").unwrap();
        let assets = scratch.path().join("assets");
        let toolbox = Toolbox::new(Some(assets.as_os_str()), scratch.path(), &module(&scratch, "a")).unwrap();
        for (folder, name) in [(&assets, "etcd"), (&toolbox.cache, "etcd"), (&toolbox.cache, "kubectl")] {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join(name), "").unwrap();
        }
        assert_eq!(toolbox.find(Tool::Etcd), Some(assets.join("etcd")));
        assert_eq!(toolbox.find(Tool::Kubectl), Some(toolbox.cache.join("kubectl")));
        assert_eq!(toolbox.find(Tool::Helm), None);
        toolbox.ensure(&[Tool::Etcd, Tool::Kubectl]).unwrap();
    }

    #[test]
    fn the_version_comes_from_the_pins() {
        let scratch = Scratch::new("test").unwrap();
        let toolbox = Toolbox::new(None, scratch.path(), &module(&scratch, "a")).unwrap();
        assert!(toolbox.linker_flags().unwrap().contains("component-base/version.gitVersion=v1.2.3 "));
        let real = Toolbox::new(None, scratch.path(), &repo::control_plane_module()).unwrap();
        assert!(real.linker_flags().unwrap().contains("gitVersion=v1."));
    }

    #[test]
    fn compiled_packages_are_counted_without_downloads() {
        assert_eq!(packages("go: downloading x v1\nnet/http\nk8s.io/api/core/v1\n\n"), 2);
    }

    #[test]
    fn an_unknown_tool_is_told_with_the_known_ones() {
        let message = Tool::parse("kubelet").unwrap_err().to_string();
        assert!(message.contains("kubelet") && message.contains("kube-apiserver"), "{message}");
        assert_eq!(Tool::parse("helm").unwrap(), Tool::Helm);
    }
}
