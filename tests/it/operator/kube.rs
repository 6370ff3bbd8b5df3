//! Plain requests to the API server as the administrator: a process of kubectl for each look would be too slow for tests
//! that look all the time.

use std::path::Path;
use std::sync::OnceLock;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use tokio::runtime::Runtime;

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    })
}

/// A refusal of the API server.
#[derive(Debug)]
pub struct Refused {
    pub code: u16,
    pub message: String,
}

pub struct Kube {
    client: Client,
}

impl Kube {
    pub fn connect(kubeconfig: &Path) -> Self {
        let client = runtime().block_on(async {
            let file = Kubeconfig::read_from(kubeconfig).unwrap();
            let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
            Client::try_from(config).unwrap()
        });
        Self { client }
    }

    fn send(&self, method: &str, path: &str, content_type: &str, body: Vec<u8>) -> Result<Value, Refused> {
        let request = http::Request::builder().method(method).uri(path).header("content-type", content_type);
        let request = request.body(body).unwrap();
        match runtime().block_on(self.client.request::<Value>(request)) {
            Ok(value) => Ok(value),
            Err(kube::Error::Api(status)) => {
                Err(Refused { code: status.code, message: status.message.clone() })
            }
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// The object, or none; an error while nobody answers, or while the server is not ready yet.
    pub fn look(&self, path: &str) -> Result<Option<Value>, kube::Error> {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        match runtime().block_on(self.client.request::<Value>(request)) {
            Ok(value) => Ok(Some(value)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The object, or none.
    pub fn find(&self, path: &str) -> Option<Value> {
        match self.send("GET", path, "", Vec::new()) {
            Ok(value) => Some(value),
            Err(Refused { code: 404, .. }) => None,
            Err(refused) => panic!("GET {path}: {refused:?}"),
        }
    }

    /// The items of a list.
    pub fn list(&self, path: &str) -> Vec<Value> {
        let list = self.find(path).unwrap_or_else(|| panic!("{path} is not served"));
        list["items"].as_array().cloned().unwrap_or_default()
    }

    pub fn create(&self, path: &str, object: &Value) -> Result<Value, Refused> {
        self.send("POST", path, "application/json", object.to_string().into_bytes())
    }

    pub fn replace(&self, path: &str, object: &Value) -> Result<Value, Refused> {
        self.send("PUT", path, "application/json", object.to_string().into_bytes())
    }

    pub fn patch(&self, path: &str, change: &Value) -> Result<Value, Refused> {
        self.send("PATCH", path, "application/merge-patch+json", change.to_string().into_bytes())
    }

    /// Does not wait; what is gone already is deleted.
    pub fn delete(&self, path: &str) {
        match self.send("DELETE", path, "application/json", Vec::new()) {
            Ok(_) | Err(Refused { code: 404, .. }) => {}
            Err(refused) => panic!("DELETE {path}: {refused:?}"),
        }
    }
}

/// The path of an object, or without a name of their list; kinds by their short names.
pub fn path(kind: &str, namespace: &str, name: &str) -> String {
    let (group, plural) = match kind {
        "iamsak" => ("apis/keywheel.dev/v1alpha1", "serviceaccountkeys"),
        "iamsa" => ("apis/keywheel.dev/v1alpha1", "serviceaccounts"),
        "iamb" => ("apis/keywheel.dev/v1alpha1", "iambackends"),
        "ciamb" => ("apis/keywheel.dev/v1alpha1", "clusteriambackends"),
        "secret" => ("api/v1", "secrets"),
        "configmap" => ("api/v1", "configmaps"),
        "namespace" => ("api/v1", "namespaces"),
        "deployment" => ("apis/apps/v1", "deployments"),
        "lease" => ("apis/coordination.k8s.io/v1", "leases"),
        "event" => ("apis/events.k8s.io/v1", "events"),
        "crd" => ("apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
        "webhook" => ("apis/admissionregistration.k8s.io/v1", "validatingwebhookconfigurations"),
        other => panic!("no path for {other}"),
    };
    let within = match kind {
        "ciamb" | "namespace" | "crd" | "webhook" => String::new(),
        _ => format!("namespaces/{namespace}/"),
    };
    let name = if name.is_empty() { String::new() } else { format!("/{name}") };
    format!("/{group}/{within}{plural}{name}")
}
