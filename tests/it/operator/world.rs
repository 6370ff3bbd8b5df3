//! Control plane, IAM server and operator: one of each shared by most tests, and whole ones of their own for those that
//! stop or starve the operator. An operator watches its whole cluster, so there is never a second one on a control plane.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use keywheel_testbed::control_plane::{ControlPlane, OPERATOR_NAMESPACE, Options};
use keywheel_testbed::iam::{IamOptions, IamServer};
use keywheel_testbed::operator::{Operator, OperatorOptions};
use keywheel_testbed::shared;
use serde_json::{Value, json};

use super::kube::{Kube, path};

/// The backend of the shared IAM server, open to every namespace.
pub const SHARED_BACKEND: &str = "shared";

/// Waits that make tests short. What is not named here is as in production: the horizon of lost attempts above all.
pub const HASTY: &str = r#"{"settle": 2000, "backoffBase": 500, "backoffCap": 4000, "retryBase": 200, "retryCap": 2000,
    "proofBase": 300, "driftBase": 15000, "driftCap": 30000, "probe": 5000, "documents": 2000}"#;

enum Bed {
    Shared(&'static ControlPlane),
    Own(Box<ControlPlane>),
}

/// Fields are dropped in this order: who depends on others ends first.
pub struct World {
    operator: Mutex<Operator>,
    pub iam: IamServer,
    pub kube: Kube,
    bed: Bed,
}

/// How an own world differs from the shared one.
#[derive(Default)]
pub struct Own {
    pub iam: IamOptions,
    pub timing: Option<&'static str>,
    pub log: Option<&'static str>,
    /// Duration of the Lease.
    pub lease: Option<&'static str>,
    /// Without the controllers that end namespaces.
    pub bare: bool,
}

impl World {
    /// The shared one, started by the first test that needs it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<World, String>> = OnceLock::new();
        let start = || {
            let cp = shared::control_plane().map_err(|error| error.to_string())?;
            let start = || Self::start(Bed::Shared(cp), Own::default());
            std::panic::catch_unwind(start).map_err(|_| "the shared operator did not start".to_owned())
        };
        SHARED.get_or_init(start).as_ref().unwrap()
    }

    /// One of a test's own.
    pub fn own(own: Own) -> Self {
        let options =
            if own.bare { Options::default() } else { Options::default().with_garbage_collection() };
        let cp = ControlPlane::start(options).unwrap();
        cp.install_keywheel().unwrap();
        Self::start(Bed::Own(Box::new(cp)), own)
    }

    fn start(bed: Bed, own: Own) -> Self {
        let cp = match &bed {
            Bed::Shared(cp) => cp,
            Bed::Own(cp) => &**cp,
        };
        let iam = IamServer::start(IamOptions { program: Some(program()), ..own.iam }).unwrap();
        let kube = Kube::connect(cp.admin_kubeconfig());
        add_backend(&kube, SHARED_BACKEND, &iam, &json!({"tenants": {"adoption": true}}));
        let operator = Operator::start(OperatorOptions {
            program: Some(program()),
            kubeconfig: cp.operator_kubeconfig().unwrap(),
            embedded_endpoint: Some(iam.url().to_owned()),
            args: vec!["--lease-duration".to_owned(), own.lease.unwrap_or("6s").to_owned()],
            test_timing: Some(own.timing.unwrap_or(HASTY).to_owned()),
            log: own.log.map(str::to_owned),
            // Where its pod's own account would be asked for.
            env: vec![("GCE_METADATA_HOST".to_owned(), iam.url().trim_start_matches("http://").to_owned())],
            ..OperatorOptions::default()
        });
        Self { operator: Mutex::new(operator.unwrap()), iam, kube, bed }
    }

    pub fn cp(&self) -> &ControlPlane {
        match &self.bed {
            Bed::Shared(cp) => cp,
            Bed::Own(cp) => cp,
        }
    }

    pub fn operator(&self) -> MutexGuard<'_, Operator> {
        self.operator.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The program under test.
pub fn program() -> String {
    env!("CARGO_BIN_EXE_keywheel").to_owned()
}

/// An IAM server of a test's own; its backend goes through the operator that is there.
pub fn start_iam(options: IamOptions) -> IamServer {
    IamServer::start(IamOptions { program: Some(program()), ..options }).unwrap()
}

/// A cluster-wide backend with its login Secret of the same name; `spec` adds to it.
pub fn add_backend(kube: &Kube, name: &str, iam: &IamServer, spec: &Value) {
    let login =
        if spec.get("disruptive").is_some() { iam.disruptive_admin_key_file() } else { iam.admin_key_file() };
    set_login(kube, OPERATOR_NAMESPACE, name, &std::fs::read(login).unwrap());
    let embedded = json!({"endpoint": iam.url(), "auth": {"secretRef": {"name": name}}});
    let system = if spec.get("google").or(spec.get("disruptive")).is_some() {
        json!({})
    } else {
        json!({"embedded": embedded})
    };
    let mut object = json!({
        "apiVersion": "keywheel.dev/v1alpha1", "kind": "ClusterIamBackend",
        "metadata": {"name": name}, "spec": system,
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    kube.create(&path("ciamb", "", ""), &object).unwrap();
}

/// Makes or changes a login Secret.
pub fn set_login(kube: &Kube, namespace: &str, name: &str, content: &[u8]) {
    use base64::Engine as _;
    let data = json!({"key.json": base64::engine::general_purpose::STANDARD.encode(content)});
    if kube.find(&path("secret", namespace, name)).is_some() {
        kube.patch(&path("secret", namespace, name), &json!({"data": data})).unwrap();
        return;
    }
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data});
    kube.create(&path("secret", namespace, ""), &secret).unwrap();
}
