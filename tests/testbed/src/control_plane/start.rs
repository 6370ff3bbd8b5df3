//! The start: one attempt with fresh ports, and another one only when somebody else took a port.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use super::launch::Launch;
use super::{ADMIN_USER, ControlPlane, Error, Options, Processes, files};
use crate::pki::{Authority, Pair};
use crate::process::{Process, Scratch};
use crate::tools::{Tool, Toolbox};
use crate::{audit, kubectl, pki, ports, wait};

/// Ports are asked for again only when the kernel says that they were taken.
const PORT_TRIES: u32 = 10;

/// Credentials and paths that outlive an attempt.
struct Ground<'a> {
    options: Options,
    toolbox: &'a Toolbox,
    folder: PathBuf,
    ca: PathBuf,
    etcd: Pair,
    etcd_client: Pair,
    serving: Pair,
    admin: Pair,
    signing: PathBuf,
    signing_public: PathBuf,
    admin_kubeconfig: PathBuf,
}

pub(super) fn start(options: Options, toolbox: Toolbox) -> Result<ControlPlane, Error> {
    let scratch = match &options.folder {
        Some(folder) => Scratch::lasting(folder)?,
        None => Scratch::new("control-plane")?,
    };
    let folder = scratch.path().to_path_buf();
    let authority = Authority::new(&folder)?;
    let hosts = ["127.0.0.1", "localhost"];
    let (signing, signing_public) = pki::signing_pair(&folder, "service-account")?;
    let ground = Ground {
        options,
        toolbox: &toolbox,
        ca: authority.certificate().to_path_buf(),
        etcd: authority.peer("etcd", &hosts)?,
        etcd_client: authority.client("etcd-client", "kube-apiserver", None)?,
        serving: authority.server("kube-apiserver", &hosts)?,
        admin: authority.client("admin", ADMIN_USER, Some("system:masters"))?,
        signing,
        signing_public,
        admin_kubeconfig: folder.join("admin.kubeconfig"),
        folder: folder.clone(),
    };
    write(&folder.join("audit-policy.yaml"), audit::POLICY)?;

    let started = Instant::now();
    let (mut processes, api_server, server) = ground.etcd_and_api_server()?;
    let started_in = started.elapsed();
    ground.others(&authority, &server, &mut processes)?;
    let (ca, admin_kubeconfig) = (ground.ca, ground.admin_kubeconfig);
    let kubectl = toolbox.get(Tool::Kubectl)?;
    Ok(ControlPlane {
        processes: Mutex::new(processes),
        api_server,
        server,
        toolbox,
        kubectl,
        admin_kubeconfig,
        ca,
        started_in,
        names: AtomicU32::new(1),
        scratch,
    })
}

impl Ground<'_> {
    fn etcd_and_api_server(&self) -> Result<(Processes, Launch, String), Error> {
        let mut wished = self.options.ports;
        for _ in 0..PORT_TRIES {
            let [client, peer, secure] = wished.take().map_or_else(ports::free, Ok).map_err(Error::Port)?;
            let mut processes = Processes::default();
            processes.0.push(self.etcd(client, peer)?.spawn()?);
            let api_server = self.api_server(client, secure)?;
            processes.0.push(api_server.spawn()?);
            let server = format!("https://127.0.0.1:{secure}");
            let user = files::by_certificate(&self.admin);
            files::write_kubeconfig(&self.admin_kubeconfig, &server, &self.ca, &user)?;
            match api_server.ready(&processes.0, &server) {
                Ok(()) => return Ok((processes, api_server, server)),
                // Ended by the kernel's word: nothing was started there that could hide another fault.
                Err(_) if processes.0.iter().any(|process| ports::taken(&process.tail())) => {
                    drop(processes);
                    self.clear()?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::PortsTaken { tries: PORT_TRIES })
    }

    /// What a broken attempt left behind: logs that tell of its ports, and a store with its addresses.
    fn clear(&self) -> Result<(), Error> {
        let gone = |outcome: std::io::Result<()>, path: PathBuf| match outcome {
            // etcd may have ended before it made its folder.
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::Write { path, source })
            }
            _ => Ok(()),
        };
        for name in ["etcd.log", "kube-apiserver.log", "audit.log"] {
            let path = self.folder.join(name);
            gone(std::fs::remove_file(&path), path)?;
        }
        let path = self.folder.join("etcd");
        gone(std::fs::remove_dir_all(&path), path)
    }

    fn launch(&self, tool: Tool, arguments: &[(&str, String)]) -> Result<Launch, Error> {
        Launch::new(self.toolbox, tool, &self.folder, arguments)
    }

    /// TLS with our own authority on both sides, so that an API server can never talk to a stranger's store.
    fn etcd(&self, client: u16, peer: u16) -> Result<Launch, Error> {
        let (client, peer) = (format!("https://127.0.0.1:{client}"), format!("https://127.0.0.1:{peer}"));
        let mut arguments = vec![
            ("data-dir", shown(&self.folder.join("etcd"))),
            ("listen-client-urls", client.clone()),
            ("advertise-client-urls", client),
            ("listen-peer-urls", peer.clone()),
            ("initial-advertise-peer-urls", peer.clone()),
            ("initial-cluster", format!("default={peer}")),
            ("client-cert-auth", "true".into()),
            ("trusted-ca-file", shown(&self.ca)),
            ("cert-file", shown(&self.etcd.certificate)),
            ("key-file", shown(&self.etcd.key)),
            ("peer-client-cert-auth", "true".into()),
            ("peer-trusted-ca-file", shown(&self.ca)),
            ("peer-cert-file", shown(&self.etcd.certificate)),
            ("peer-key-file", shown(&self.etcd.key)),
            ("log-level", "warn".into()),
        ];
        if !self.options.fsync {
            arguments.push(("unsafe-no-fsync", "true".into()));
        }
        self.launch(Tool::Etcd, &arguments)
    }

    fn api_server(&self, etcd: u16, secure: u16) -> Result<Launch, Error> {
        let mut arguments = vec![
            ("etcd-servers", format!("https://127.0.0.1:{etcd}")),
            ("etcd-cafile", shown(&self.ca)),
            ("etcd-certfile", shown(&self.etcd_client.certificate)),
            ("etcd-keyfile", shown(&self.etcd_client.key)),
            ("bind-address", "127.0.0.1".into()),
            ("advertise-address", "127.0.0.1".into()),
            ("secure-port", secure.to_string()),
            // The endpoints of the `kubernetes` Service may not be loopback addresses; nobody needs them here.
            ("endpoint-reconciler-type", "none".into()),
            ("cert-dir", shown(&self.folder.join("kube-apiserver"))),
            ("tls-cert-file", shown(&self.serving.certificate)),
            ("tls-private-key-file", shown(&self.serving.key)),
            ("client-ca-file", shown(&self.ca)),
            ("anonymous-auth", "false".into()),
            ("authorization-mode", "RBAC".into()),
            ("service-account-issuer", "https://kubernetes.default.svc".into()),
            ("service-account-key-file", shown(&self.signing_public)),
            ("service-account-signing-key-file", shown(&self.signing)),
            ("service-cluster-ip-range", "10.0.0.0/24".into()),
            ("audit-policy-file", shown(&self.folder.join("audit-policy.yaml"))),
            ("audit-log-path", shown(&self.folder.join("audit.log"))),
            // Megabytes. A rotated log would make marks point into nowhere.
            ("audit-log-maxsize", "65536".into()),
            ("profiling", "false".into()),
        ];
        if self.options.controllers.is_empty() {
            // It waits for service accounts that nobody would make.
            arguments.push(("disable-admission-plugins", "ServiceAccount".into()));
        }
        self.launch(Tool::KubeApiserver, &arguments)
    }

    /// kube-controller-manager, kube-scheduler and kwok, each under an identity of its own. None of them opens a port.
    fn others(&self, authority: &Authority, server: &str, processes: &mut Processes) -> Result<(), Error> {
        let kubeconfig = |tool: Tool, user: &str, group| -> Result<String, Error> {
            let path = self.folder.join(format!("{}.kubeconfig", tool.name()));
            let pair = authority.client(tool.name(), user, group)?;
            files::write_kubeconfig(&path, server, &self.ca, &files::by_certificate(&pair))?;
            Ok(shown(&path))
        };
        if !self.options.controllers.is_empty() {
            let tool = Tool::KubeControllerManager;
            let arguments = [
                ("kubeconfig", kubeconfig(tool, "system:kube-controller-manager", None)?),
                ("controllers", self.options.controllers.join(",")),
                // Each controller gets the identity and the rights that it has in a real cluster.
                ("use-service-account-credentials", "true".into()),
                ("service-account-private-key-file", shown(&self.signing)),
                ("root-ca-file", shown(&self.ca)),
                ("leader-elect", "false".into()),
                ("secure-port", "0".into()),
                // Deleting a namespace must not wait for a client's own throttle.
                ("kube-api-qps", "200".into()),
                ("kube-api-burst", "400".into()),
            ];
            processes.0.push(self.launch(tool, &arguments)?.spawn()?);
        }
        if self.options.scheduler {
            let tool = Tool::KubeScheduler;
            let arguments = [
                ("kubeconfig", kubeconfig(tool, "system:kube-scheduler", None)?),
                ("leader-elect", "false".into()),
                ("secure-port", "0".into()),
            ];
            processes.0.push(self.launch(tool, &arguments)?.spawn()?);
        }
        if self.options.kwok {
            let tool = Tool::Kwok;
            let mut arguments = vec![
                ("kubeconfig", kubeconfig(tool, "kwok", Some("system:masters"))?),
                ("manage-all-nodes", "true".into()),
                ("node-lease-duration-seconds", "40".into()),
            ];
            let stages = self.toolbox.kwok_stages();
            let listing =
                std::fs::read_dir(&stages).map_err(|source| Error::Write { path: stages, source })?;
            arguments.extend(listing.flatten().map(|entry| ("config", shown(&entry.path()))));
            processes.0.push(self.launch(tool, &arguments)?.spawn()?);
        }
        if self.options.controllers.contains(&"serviceaccount-controller") {
            self.controllers_work(processes)?;
        }
        Ok(())
    }

    /// The first sign of kube-controller-manager's life is the default service account.
    fn controllers_work(&self, processes: &Processes) -> Result<(), Error> {
        let program = self.toolbox.get(Tool::Kubectl)?;
        let ask = || {
            processes.0.iter().try_for_each(Process::must_live).map_err(|error| error.to_string())?;
            let command =
                kubectl::command(&program, &self.admin_kubeconfig, &self.folder.join("kubectl-cache"));
            let args = ["get", "serviceaccount", "default", "--namespace", "default"];
            kubectl::run(command, &args, None).map_err(|error| error.to_string())
        };
        wait::wait_until("the default service account", super::PATIENCE, ask)?;
        Ok(())
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|source| Error::Write { path: path.to_path_buf(), source })
}
