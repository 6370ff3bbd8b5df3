//! A client that reads a Secret and makes a fresh assertion and exchange with it, again and again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywheel::credential::{GoogleCredentials, RsaKeyPair, SecretBytes, bearer_assertion};
use keywheel_testbed::http;
use serde_json::Value;

use crate::operator::kube::Kube;

/// A credential may be this old when it is used.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Client {
    over: AtomicBool,
    exchanges: AtomicUsize,
    late: AtomicUsize,
    no_server: AtomicUsize,
}

impl Client {
    /// Until it is told to stop. All Secrets are published when it begins.
    ///
    /// # Panics
    /// When a Secret is gone, or a credential that was just read is refused.
    pub fn use_secrets(&self, kube: &Kube, secrets: &[String]) {
        for path in secrets.iter().cycle() {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            match kube.look(path) {
                Ok(Some(secret)) => self.exchange(path, &secret),
                Ok(None) => panic!("{path} is gone"),
                Err(_) => self.waited(),
            }
        }
    }

    fn exchange(&self, path: &str, secret: &Value) {
        let read = Instant::now();
        let Some(file) = secret["data"]["key.json"].as_str() else { panic!("{path} has no credential") };
        let file = GoogleCredentials::parse(&SecretBytes::new(STANDARD.decode(file).unwrap())).unwrap();
        let assertion = bearer_assertion(
            &RsaKeyPair::from_pkcs8_pem(file.private_key_pem()).unwrap(),
            file.private_key_id(),
            file.client_email(),
            file.token_uri(),
            "https://www.googleapis.com/auth/cloud-platform",
            jiff::Timestamp::now(),
            Duration::from_mins(10),
        );
        let form = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={}",
            assertion.unwrap().expose_str().unwrap()
        );
        match http::post_form(file.token_uri(), &form) {
            Ok(answer) if answer.status == 200 => {
                self.exchanges.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => {
                let (id, age) = (file.private_key_id(), read.elapsed());
                assert!(age > FRESH, "{path} {id} after {age:?}: {} {}", answer.status, answer.body);
                self.late.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => self.waited(),
        }
    }

    /// Somebody has killed the server: counted apart, and asked again a little later.
    fn waited(&self) {
        self.no_server.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(20));
    }

    pub fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Exchanges that were answered with a token.
    pub fn exchanges(&self) -> usize {
        self.exchanges.load(Ordering::Relaxed)
    }

    /// Refusals of a credential that was read too long before to count.
    pub fn late(&self) -> usize {
        self.late.load(Ordering::Relaxed)
    }

    /// Requests without an answer.
    pub fn no_server(&self) -> usize {
        self.no_server.load(Ordering::Relaxed)
    }
}
