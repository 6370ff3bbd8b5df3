//! A person with administrator's rights at the IAM server, who works there behind the operator's back.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keywheel::credential::{GoogleCredentials, RsaKeyPair, SecretBytes, bearer_assertion};
use keywheel_testbed::http;
use keywheel_testbed::iam::IamServer;
use serde_json::{Value, json};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

pub struct Person {
    base: String,
    project: String,
    bearer: String,
}

/// A key as the backend lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendKey {
    pub id: String,
    pub disabled: bool,
    pub created: Timestamp,
}

impl Person {
    pub fn at(iam: &IamServer) -> Self {
        let file = SecretBytes::new(std::fs::read(iam.admin_key_file()).unwrap());
        let login = GoogleCredentials::parse(&file).unwrap();
        let pair = RsaKeyPair::from_pkcs8_pem(login.private_key_pem()).unwrap();
        let bearer = bearer_assertion(
            &pair,
            login.private_key_id(),
            login.client_email(),
            &format!("{}/", iam.url()),
            SCOPE,
            Timestamp::now(),
            Duration::from_hours(1),
        );
        Self {
            base: iam.url().to_owned(),
            project: iam.project().to_owned(),
            bearer: bearer.unwrap().expose_str().unwrap().to_owned(),
        }
    }

    /// What it logs in with.
    pub fn bearer(&self) -> &str {
        &self.bearer
    }

    pub fn email(&self, account_id: &str) -> String {
        format!("{account_id}@{}.iam.gserviceaccount.com", self.project)
    }

    /// Status and body.
    pub fn call(&self, method: &'static str, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/v1/projects/{}/serviceAccounts{path}", self.base, self.project);
        let body = (!body.is_null()).then(|| body.to_string());
        let answer = http::call(method, &url, &self.bearer, body.as_deref()).unwrap();
        (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body)))
    }

    fn must(&self, method: &'static str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    /// A method of the project, such as `setIamPolicy`, or of what lies in it.
    pub fn project(&self, what: &str, body: &Value) -> Value {
        let separator = if what.contains('/') { '/' } else { ':' };
        let url = format!("{}/v1/projects/{}{separator}{what}", self.base, self.project);
        let answer = http::call("POST", &url, &self.bearer, Some(&body.to_string())).unwrap();
        assert_eq!(answer.status, 200, "{what}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// The project, as Resource Manager shows it.
    pub fn read_project(&self) -> Value {
        let url = format!("{}/v1/projects/{}", self.base, self.project);
        let answer = http::call("GET", &url, &self.bearer, None).unwrap();
        serde_json::from_str(&answer.body).unwrap()
    }

    pub fn create_account(&self, account_id: &str, description: &str) -> Value {
        let account = json!({"displayName": "by hand", "description": description});
        self.must("POST", "", &json!({"accountId": account_id, "serviceAccount": account}))
    }

    /// The account, or none.
    pub fn account(&self, account_id: &str) -> Option<Value> {
        let (status, answer) = self.call("GET", &format!("/{}", self.email(account_id)), &Value::Null);
        match status {
            200 => Some(answer),
            404 => None,
            _ => panic!("{status}: {answer}"),
        }
    }

    /// The account's keys that people and programs made; none without an account.
    pub fn keys(&self, account_id: &str) -> Vec<BackendKey> {
        let path = format!("/{}/keys?keyTypes=USER_MANAGED", self.email(account_id));
        let (status, answer) = self.call("GET", &path, &Value::Null);
        if status == 404 {
            return Vec::new();
        }
        assert_eq!(status, 200, "{answer}");
        let keys = answer["keys"].as_array().cloned().unwrap_or_default();
        keys.iter()
            .map(|key| BackendKey {
                id: id_of(key),
                disabled: key["disabled"].as_bool().unwrap_or(false),
                created: key["validAfterTime"].as_str().unwrap().parse().unwrap(),
            })
            .collect()
    }

    /// Id and credentials file of a new key.
    pub fn create_key(&self, account_id: &str) -> (String, Vec<u8>) {
        let answer = self.must("POST", &format!("/{}/keys", self.email(account_id)), &json!({}));
        (id_of(&answer), STANDARD.decode(answer["privateKeyData"].as_str().unwrap()).unwrap())
    }

    pub fn delete_key(&self, account_id: &str, key: &str) {
        self.must("DELETE", &format!("/{}/keys/{key}", self.email(account_id)), &Value::Null);
    }

    pub fn disable_key(&self, account_id: &str, key: &str) {
        self.must("POST", &format!("/{}/keys/{key}:disable", self.email(account_id)), &json!({}));
    }
}

fn id_of(key: &Value) -> String {
    key["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
}
