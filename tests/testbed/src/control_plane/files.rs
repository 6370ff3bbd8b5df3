//! Files that the control plane reads.

use std::path::Path;

use serde_json::{Value, json};

use super::Error;
use crate::pki::{self, Pair};

/// Credentials of a kubeconfig's user by certificate.
pub(super) fn by_certificate(pair: &Pair) -> Value {
    json!({ "client-certificate": pair.certificate, "client-key": pair.key })
}

/// Writes a kubeconfig for one server and one user, readable by its owner only.
pub(super) fn write_kubeconfig(path: &Path, server: &str, ca: &Path, user: &Value) -> Result<(), Error> {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "keywheel", "cluster": { "server": server, "certificate-authority": ca } }],
        "users": [{ "name": "user", "user": user }],
        "contexts": [{ "name": "keywheel", "context": { "cluster": "keywheel", "user": "user" } }],
        "current-context": "keywheel",
    });
    // JSON is YAML.
    Ok(pki::write_private(path, format!("{kubeconfig:#}\n").as_bytes())?)
}

/// A node without a kubelet.
pub(super) fn kwok_node(name: &str, pods: u32) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": { "type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" },
        },
        "status": {
            "allocatable": { "cpu": "64", "memory": "256Gi", "pods": pods.to_string() },
            "capacity": { "cpu": "64", "memory": "256Gi", "pods": pods.to_string() },
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Scratch;

    #[test]
    fn a_kubeconfig_names_the_authority_and_never_skips_verification() {
        let scratch = Scratch::new("test").unwrap();
        let path = scratch.path().join("kubeconfig");
        let user = json!({ "token": "t" });
        write_kubeconfig(&path, "https://127.0.0.1:1", Path::new("/ca.crt"), &user).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["clusters"][0]["cluster"]["certificate-authority"], "/ca.crt");
        assert_eq!(value["users"][0]["user"]["token"], "t");
        assert!(!text.contains("insecure"));
    }
}
