//! The stage: control plane, IAM and operator, each in its place, with Keywheel installed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keywheel_testbed::control_plane::{ControlPlane, OPERATOR_NAMESPACE, Options};
use keywheel_testbed::iam::{IamOptions, IamServer};
use keywheel_testbed::operator::{Operator, OperatorOptions};
use keywheel_testbed::process::Detached;
use keywheel_testbed::repo;
use keywheel_testbed::tools::{Tool, Toolbox};

use super::narrator::Narrator;
use super::platform::Platform;
use super::refuted;
use crate::Outcome;

/// The project that the demo's IAM serves.
const PROJECT: &str = "keywheel-demo";
/// Namespace of the samples.
pub(super) const NAMESPACE: &str = "billing";
const READY: Duration = Duration::from_mins(1);

/// Fields are dropped in this order: who depends on others ends first.
pub(super) struct Stage {
    operator: Operator,
    pub(super) iam: IamServer,
    pub(super) cp: ControlPlane,
    pub(super) platform: Platform,
}

impl Stage {
    /// Starts all of it, in `folder` if it is to stay.
    pub(super) fn start(
        program: &Path,
        folder: Option<&Path>,
        platform: Platform,
        narrator: &Narrator,
    ) -> Outcome<Self> {
        let within = |name: &str| folder.map(|folder| folder.join(name));
        let program = program.to_string_lossy().into_owned();

        narrator.step("The stage: real etcd, kube-apiserver, IAM and operator")?;
        let mut options = Options { folder: within("control-plane"), ..Options::default() };
        if Toolbox::from_env()?.find(Tool::KubeControllerManager).is_some() {
            // Not worth a build for the demo, but where it is, namespaces can be deleted.
            options = options.with_garbage_collection();
        }
        let cp = ControlPlane::start(options)?;
        narrator.ok(&format!("/readyz of {} after {:.1} s", cp.server(), cp.started_in().as_secs_f64()))?;
        let iam = IamServer::start(IamOptions {
            program: Some(program.clone()),
            project: PROJECT.into(),
            faults: false,
            folder: within("iam"),
            ..IamOptions::default()
        })?;
        narrator.ok(&format!("keywheel iam serves {}", iam.url()))?;
        cp.install_keywheel()?;
        let login = format!("--from-file=key.json={}", platform.login(&iam).display());
        cp.kubectl_ok(&[
            "create",
            "secret",
            "generic",
            platform.login_secret(),
            "--namespace",
            OPERATOR_NAMESPACE,
            &login,
        ])?;
        narrator.ok(
            "crds/, deploy/namespace.yaml and deploy/rbac.yaml are applied, and the IAM login is a Secret",
        )?;
        let operator = Operator::start(OperatorOptions {
            program: Some(program),
            kubeconfig: cp.operator_kubeconfig()?,
            embedded_endpoint: Some(iam.url().to_owned()),
            folder: within("operator"),
            ..OperatorOptions::default()
        })?;
        narrator.ok(
            "keywheel controller is ready, under the service account and the rules of deploy/rbac.yaml",
        )?;
        Ok(Self { operator, iam, cp, platform })
    }

    /// Applies `deploy/samples`, with the address that the demo's IAM really has.
    pub(super) fn apply_samples(&self) -> Outcome<String> {
        let mut said = String::new();
        for sample in self.platform.samples() {
            let path: PathBuf = repo::deploy().join("samples").join(sample);
            let mut yaml = std::fs::read_to_string(&path)?;
            if sample.contains("backend") {
                for (usual, here) in self.platform.addresses(&self.iam) {
                    if !yaml.contains(usual) {
                        return Err(refuted(
                            &format!("the sample of the backend says {usual}"),
                            path.display(),
                        ));
                    }
                    yaml = yaml.replace(usual, &here);
                }
            }
            said.push_str(&self.cp.apply_yaml(&yaml)?);
        }
        Ok(said)
    }

    /// Waits until every sample is Ready.
    pub(super) fn wait_for_samples(&self) -> Outcome {
        for object in ["iamsa/billing", "iamsak/billing", "iamsak/fast-wheel"] {
            self.cp.wait_condition(NAMESPACE, object, "Ready", READY)?;
        }
        Ok(())
    }

    /// All processes in the order of their start.
    pub(super) fn identities(&self) -> Vec<Detached> {
        [self.cp.identities(), self.iam.identities(), self.operator.identities()].concat()
    }

    /// The last lines of the operator's log.
    pub(super) fn operator_tail(&self) -> String {
        self.operator.process().tail()
    }

    /// Lets all of it run on.
    pub(super) fn detach(self) {
        self.operator.detach();
        self.iam.detach();
        self.cp.detach();
    }
}
