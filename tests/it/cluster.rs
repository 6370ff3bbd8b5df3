//! A cluster that vouches for its pods, as the embedded IAM server believes one.

#![cfg(test)]

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use keywheel::credential::RsaKeyPair;
use keywheel_testbed::process::Scratch;
use rsa::RsaPublicKey;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The pod that its tokens speak of, unless a test says otherwise.
pub const POD: &str = "system:serviceaccount:team-a:billing";

pub struct Cluster {
    pub pair: RsaKeyPair,
    folder: Scratch,
}

impl Cluster {
    pub fn new() -> Self {
        let cluster =
            Self { pair: RsaKeyPair::generate_2048().unwrap(), folder: Scratch::new("cluster").unwrap() };
        cluster.publish(&cluster.pair);
        cluster
    }

    /// The value of the server's flag `--identity-provider`.
    pub fn provider(&self) -> String {
        format!("cluster/kubernetes={}", self.file().display())
    }

    /// What the provider is called in a project.
    pub fn audience(project_number: &str) -> String {
        format!("//{}/providers/kubernetes", Self::pool(project_number))
    }

    pub fn pool(project_number: &str) -> String {
        format!("iam.googleapis.com/projects/{project_number}/locations/global/workloadIdentityPools/cluster")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("provider.json")
    }

    /// Writes the provider's file with the public half of a pair.
    pub fn publish(&self, pair: &RsaKeyPair) {
        let public = RsaPublicKey::from_public_key_pem(&pair.public_pem()).unwrap();
        let number = |bytes: Vec<u8>| URL_SAFE_NO_PAD.encode(bytes);
        let key = json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "one",
            "n": number(public.n().to_bytes_be()), "e": number(public.e().to_bytes_be())});
        let other = json!({"kty": "EC", "kid": "two", "crv": "P-256"});
        let oidc = json!({"issuerUri": ISSUER, "jwksJson": json!({"keys": [other, key]}).to_string()});
        let file = json!({"oidc": oidc, "attributeMapping": {"google.subject": "assertion.sub"}});
        fs::write(self.file(), file.to_string()).unwrap();
    }

    /// A pod's token with these claims beside, or instead of, those of a good one.
    pub fn token(&self, audience: &str, claims: &Value) -> String {
        let now = Timestamp::now().as_second();
        let mut all = json!({"iss": ISSUER, "sub": POD, "aud": [audience], "iat": now, "exp": now + 3600});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&json!({"alg": "RS256", "kid": "one"})), part(&all));
        let signature = self.pair.sign_rs256(message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The same in a file with a line break at its end, as some write it.
    pub fn projected(&self, audience: &str) -> PathBuf {
        let file = self.folder.path().join("token");
        fs::write(&file, self.token(audience, &json!({})) + "\n").unwrap();
        file
    }
}
