//! What tests ask of the API: a login, an account, a key.

use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keywheel::credential::{DisruptiveCredentials, SecretBytes};
use reqwest::Method;
use serde_json::{Value, json};

use crate::wire::iam::{Answer, Iam, JWT_BEARER, now};

pub const ACCOUNTS: &str = "/v2/projects/p1/serviceaccounts";
pub const MEMBERS: &str = "/v2/projects/p1/members";
pub const ADMINS: &str = "/v2/organizations/keywheel/members";
pub const TOKEN: &str = "/oauth2/token";

impl Answer {
    /// Checks for an error in the vendor's shape and gives its text.
    #[track_caller]
    pub fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        let text = self.body["error"].as_str().unwrap().to_owned();
        let help = format!("https://docs.d21s.com/error/#{status}");
        assert_eq!(self.body, json!({"error": text, "code": status, "help": help}));
        text
    }
}

/// What a key is for those who use it.
#[derive(Debug, Clone)]
pub struct Login {
    pub key_id: String,
    pub secret: String,
    pub email: String,
}

impl Login {
    /// Reads a credential file.
    pub fn read(path: &Path) -> Self {
        let file = SecretBytes::new(std::fs::read(path).unwrap());
        let file = DisruptiveCredentials::parse(&file).unwrap();
        Self {
            key_id: file.key_id().to_owned(),
            secret: file.secret().expose_str().unwrap().to_owned(),
            email: file.email().to_owned(),
        }
    }

    pub fn administrators(iam: &Iam) -> Self {
        Self::read(&iam.file("disruptive.json"))
    }

    /// The id in the address.
    pub fn account_id(&self) -> &str {
        self.email.split('@').next().unwrap()
    }

    /// What the vendor's library signs.
    pub fn assertion(&self, url: &str) -> String {
        let iat = now();
        let aud = format!("{url}{TOKEN}");
        let claims = json!({"iat": iat, "exp": iat + 3600, "aud": aud, "iss": self.email});
        self.jwt(&json!({"alg": "HS256", "kid": self.key_id, "typ": "JWT"}), &claims)
    }

    /// Any JWT, signed with the secret.
    pub fn jwt(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes())))
    }

    /// The exchange that the vendor's library makes.
    pub async fn exchange(&self, iam: &Iam) -> Answer {
        exchange(iam, &self.assertion(&iam.url)).await
    }

    pub async fn bearer(&self, iam: &Iam) -> String {
        self.exchange(iam).await.ok()["access_token"].as_str().unwrap().to_owned()
    }
}

pub async fn exchange(iam: &Iam, assertion: &str) -> Answer {
    iam.form(TOKEN, &[("grant_type", JWT_BEARER), ("assertion", assertion)]).await
}

/// A server and its administrator, logged in.
pub struct Vendor {
    pub iam: Iam,
    pub bearer: String,
}

impl Vendor {
    pub async fn start(flags: &[&str]) -> Self {
        Self::of(Iam::start(flags)).await
    }

    pub async fn of(iam: Iam) -> Self {
        let bearer = Login::administrators(&iam).bearer(&iam).await;
        Self { iam, bearer }
    }

    /// A call as the administrator.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.iam.call_as(&self.bearer, method, path, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    /// Makes an account.
    pub async fn account(&self, name: &str) -> Value {
        self.post(ACCOUNTS, json!({ "displayName": name })).await.ok()
    }

    /// Makes a key; the answer and what it is good for.
    pub async fn key(&self, account: &Value) -> (Value, Login) {
        let made = self.call(Method::POST, &format!("{}/keys", path(account)), None).await.ok();
        let login = Login {
            key_id: made["key"]["id"].as_str().unwrap().to_owned(),
            secret: made["secret"].as_str().unwrap().to_owned(),
            email: account["email"].as_str().unwrap().to_owned(),
        };
        (made, login)
    }

    /// Gives an account a role in its project.
    pub async fn join(&self, account: &Value, role: &str) -> Value {
        self.post(MEMBERS, json!({"email": account["email"], "roles": [role]})).await.ok()
    }

    /// An account with a role, and with a token.
    pub async fn caller(&self, role: Option<&str>) -> (Value, String) {
        let account = self.account("caller").await;
        if let Some(role) = role {
            self.join(&account, role).await;
        }
        let bearer = self.key(&account).await.1.bearer(&self.iam).await;
        (account, bearer)
    }

    /// A call with a key's id and secret as name and password.
    pub async fn basic(&self, login: &Login, path: &str) -> Answer {
        self.iam
            .ask(Method::GET, path, |request| request.basic_auth(&login.key_id, Some(&login.secret)))
            .await
    }
}

/// The path of a resource in an answer.
pub fn path(resource: &Value) -> String {
    format!("/v2/{}", resource["name"].as_str().unwrap())
}

/// The id of a resource in an answer.
pub fn id(resource: &Value) -> String {
    resource["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
}

/// Whether an id looks like the vendor's.
pub fn is_id(text: &str) -> bool {
    text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'v').contains(&byte))
}
