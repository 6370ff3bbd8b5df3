//! A real etcd and kube-apiserver, and more of the control plane where a test needs it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::audit::{self, Audit};
use crate::process::{Detached, Process, Scratch};
use crate::tools::{self, Tool, Toolbox};
use crate::{kubectl, pki, process, repo, wait};

mod files;
mod launch;
mod start;
mod waits;

/// The operator's user name at the API server, as `deploy/` makes it.
pub const OPERATOR_USER: &str = "system:serviceaccount:keywheel-system:keywheel";
/// The namespace that the operator lives in.
pub const OPERATOR_NAMESPACE: &str = "keywheel-system";
/// The name of the operator's Kubernetes service account in [`OPERATOR_NAMESPACE`].
pub const OPERATOR_SERVICE_ACCOUNT: &str = "keywheel";
/// The user name of [`ControlPlane::kubectl`].
pub const ADMIN_USER: &str = "testbed-admin";

/// A failure of the control plane.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program is missing.
    #[error("the control plane's programs are not there")]
    Tools(#[from] tools::Error),
    /// Certificates.
    #[error("the control plane's certificates could not be made")]
    Pki(#[from] pki::Error),
    /// A process did not start, or ended.
    #[error("a process of the control plane failed")]
    Process(#[from] process::Error),
    /// kubectl said no.
    #[error(transparent)]
    Kubectl(#[from] kubectl::Error),
    /// Something did not happen in time.
    #[error(transparent)]
    TimedOut(#[from] wait::TimedOut),
    /// The audit log could not be read.
    #[error(transparent)]
    Audit(#[from] audit::Error),
    /// No port from the kernel.
    #[error("the kernel gave no port")]
    Port(#[source] std::io::Error),
    /// Every port that the kernel gave was taken by others before it could be used.
    #[error("{tries} times in a row another process took a port before it could be used")]
    PortsTaken {
        /// How often new ports were asked for.
        tries: u32,
    },
    /// A file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What to start, beside etcd and kube-apiserver.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Controllers that kube-controller-manager runs; none = it is not started.
    pub controllers: Vec<&'static str>,
    /// Start kube-scheduler.
    pub scheduler: bool,
    /// Start kwok, which plays the nodes.
    pub kwok: bool,
    /// Keep etcd's fsync: for tests that kill it.
    pub fsync: bool,
    /// A folder that stays, instead of a scratch folder.
    pub folder: Option<PathBuf>,
    /// Ports to try first, of etcd's clients, etcd's peers and the API server. Otherwise, and when one of them is
    /// taken, the kernel chooses.
    pub ports: Option<[u16; 3]>,
}

impl Options {
    /// With the controllers that end things: namespaces and garbage collection.
    #[must_use]
    pub fn with_garbage_collection(mut self) -> Self {
        self.controllers.extend([
            "namespace-controller",
            "garbage-collector-controller",
            "serviceaccount-controller",
        ]);
        self
    }

    /// With Deployments that roll out on kwok's nodes.
    #[must_use]
    pub fn with_pods(mut self) -> Self {
        self = self.with_garbage_collection();
        self.controllers.extend([
            "deployment-controller",
            "replicaset-controller",
            "root-ca-certificate-publisher-controller",
            // A new node carries the taint not-ready until this one takes it away.
            "node-lifecycle-controller",
        ]);
        Self { scheduler: true, kwok: true, ..self }
    }

    /// The programs that this needs.
    pub fn tools(&self) -> Vec<Tool> {
        let mut tools = vec![Tool::Etcd, Tool::KubeApiserver, Tool::Kubectl];
        tools.extend((!self.controllers.is_empty()).then_some(Tool::KubeControllerManager));
        tools.extend(self.scheduler.then_some(Tool::KubeScheduler));
        tools.extend(self.kwok.then_some(Tool::Kwok));
        tools
    }
}

/// A running control plane; dropping it ends its processes, the youngest first, and removes its folder.
#[derive(Debug)]
pub struct ControlPlane {
    // Declared in the order of dropping: processes before the folder that they write to.
    processes: Mutex<Processes>,
    api_server: launch::Launch,
    server: String,
    toolbox: Toolbox,
    kubectl: PathBuf,
    admin_kubeconfig: PathBuf,
    ca: PathBuf,
    started_in: Duration,
    names: AtomicU32,
    scratch: Scratch,
}

/// Children in the order of their start; they end in reverse.
#[derive(Debug, Default)]
struct Processes(Vec<Process>);

impl Drop for Processes {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

impl ControlPlane {
    /// Starts it and waits until `/readyz` is 200: seconds, once the programs are there (minutes before, when they are built).
    pub fn start(options: Options) -> Result<Self, Error> {
        let toolbox = Toolbox::from_env()?;
        toolbox.ensure(&options.tools())?;
        start::start(options, toolbox)
    }

    /// The folder with logs, certificates and kubeconfigs.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The API server's address, `https://127.0.0.1:PORT`.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// A kubeconfig of a member of `system:masters`.
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    /// The kubectl program itself.
    pub fn kubectl_program(&self) -> &Path {
        &self.kubectl
    }

    /// The programs that this control plane was started from.
    pub fn toolbox(&self) -> &Toolbox {
        &self.toolbox
    }

    /// From the start of etcd to the first 200 of `/readyz`.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// kubectl as the administrator.
    pub fn kubectl(&self) -> Command {
        self.kubectl_as(&self.admin_kubeconfig)
    }

    /// kubectl as whoever this kubeconfig is for.
    pub fn kubectl_as(&self, kubeconfig: &Path) -> Command {
        kubectl::command(&self.kubectl, kubeconfig, &self.folder().join("kubectl-cache"))
    }

    /// Runs kubectl as the administrator; returns its standard output.
    pub fn kubectl_ok(&self, args: &[&str]) -> Result<String, Error> {
        Ok(kubectl::run(self.kubectl(), args, None)?)
    }

    /// `kubectl ARGS -o json`, parsed.
    pub fn get_json(&self, args: &[&str]) -> Result<serde_json::Value, Error> {
        let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
        let text = kubectl::run(self.kubectl(), &args, None)?;
        Ok(serde_json::from_str(&text)
            .map_err(|source| kubectl::Error::Json { args: args.join(" "), source })?)
    }

    /// `kubectl apply -f -`, as a user does it.
    pub fn apply_yaml(&self, yaml: &str) -> Result<String, Error> {
        Ok(kubectl::run(self.kubectl(), &["apply", "-f", "-"], Some(yaml))?)
    }

    /// `kubectl apply` that the API server only checks, unknown fields included.
    pub fn check_yaml(&self, yaml: &str) -> Result<String, Error> {
        let args = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        Ok(kubectl::run(self.kubectl(), &args, Some(yaml))?)
    }

    /// A new namespace, `PREFIX-NUMBER`; the number differs for each on this control plane.
    pub fn create_namespace(&self, prefix: &str) -> Result<String, Error> {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{number}");
        self.kubectl_ok(&["create", "namespace", &name])?;
        Ok(name)
    }

    /// A kubeconfig with a bearer token of a service account that exists; the token lives 24 h.
    pub fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf, Error> {
        let token =
            self.kubectl_ok(&["create", "token", name, "--namespace", namespace, "--duration", "24h"])?;
        // A file of its own each time: somebody may be reading an earlier one.
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        let path = self.folder().join(format!("{namespace}.{name}.{number}.kubeconfig"));
        let user = serde_json::json!({ "token": token.trim() });
        files::write_kubeconfig(&path, &self.server, &self.ca, &user)?;
        Ok(path)
    }

    /// The operator's own kubeconfig; [`Self::install_keywheel`] first.
    pub fn operator_kubeconfig(&self) -> Result<PathBuf, Error> {
        self.service_account_kubeconfig(OPERATOR_NAMESPACE, OPERATOR_SERVICE_ACCOUNT)
    }

    /// Applies `crds/` and waits until the API server serves them.
    pub fn install_crds(&self) -> Result<(), Error> {
        let crds = repo::crds().to_string_lossy().into_owned();
        // The descriptions make the CRDs longer than the annotation that a client-side apply keeps.
        self.kubectl_ok(&["apply", "--server-side", "-f", &crds])?;
        self.kubectl_ok(&["wait", "--for=condition=Established", "--timeout=60s", "-f", &crds])?;
        Ok(())
    }

    /// Applies what a cluster needs before the operator runs: CRDs, the namespace and the RBAC rules of `deploy/`.
    /// The Deployment is left out: the operator under test is a process of the test's own.
    pub fn install_keywheel(&self) -> Result<(), Error> {
        let file = |name: &str| repo::deploy().join(name).to_string_lossy().into_owned();
        self.kubectl_ok(&[
            "apply",
            "--server-side",
            "-f",
            &file("namespace.yaml"),
            "-f",
            &file("rbac.yaml"),
        ])?;
        self.install_crds()
    }

    /// A Node for kwok, with room for `pods` pods.
    pub fn add_kwok_node(&self, name: &str, pods: u32) -> Result<(), Error> {
        self.apply_yaml(&files::kwok_node(name, pods))?;
        self.wait_condition("", &format!("node/{name}"), "Ready", Duration::from_secs(30))
    }

    /// The audit log.
    pub fn audit(&self) -> Audit {
        Audit::new(&self.folder().join("audit.log"))
    }

    /// Its processes in the order of their start, as others can recognize them.
    pub fn identities(&self) -> Vec<Detached> {
        self.processes().0.iter().map(Process::identity).collect()
    }

    /// Lets the processes run on after this value and this process; returns them in the order of their start.
    ///
    /// Only sensible with [`Options::folder`]: a scratch folder vanishes with this value.
    pub fn detach(self) -> Vec<Detached> {
        std::mem::take(&mut self.processes().0).into_iter().map(Process::detach).collect()
    }

    /// Ends the API server as a crash would, and starts it again at the same address; etcd and the controllers go on.
    pub fn restart_api_server(&self) -> Result<(), Error> {
        let mut processes = self.processes();
        for process in processes.0.iter_mut().filter(|p| p.name() == Tool::KubeApiserver.name()) {
            process.kill9()?;
            *process = self.api_server.spawn()?;
        }
        self.api_server.ready(&processes.0, &self.server)
    }

    fn processes(&self) -> MutexGuard<'_, Processes> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a part of the control plane may take to come up on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}
