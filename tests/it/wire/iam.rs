//! A server process of a test's own, and what tests ask of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use keywheel::credential::{GoogleCredentials, RsaKeyPair, SecretBytes, bearer_assertion};
use keywheel_testbed::process::{End, Process, Scratch};
use keywheel_testbed::wait_until;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

pub const PROJECT: &str = "p1";
pub const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
pub const GOOGLE_TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

const PATIENCE: Duration = Duration::from_secs(30);

/// A running `keywheel iam`; ended by its process id when dropped.
pub struct Iam {
    process: Process,
    folder: Scratch,
    flags: Vec<String>,
    pub url: String,
    http: reqwest::Client,
    bearer: OnceCell<String>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The body of a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// Checks for a google.rpc.Status and gives its message.
    #[track_caller]
    pub fn error(self, status: u16, canonical: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        let error = &self.body["error"];
        assert_eq!(error["code"], status, "{error}");
        assert_eq!(error["status"], canonical, "{error}");
        assert_eq!(error["errors"][0]["message"], error["message"], "{error}");
        error.clone()
    }

    /// Checks for an OAuth2 error.
    #[track_caller]
    pub fn oauth_error(&self, status: u16, code: &str, description: &str) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.body["error"], code, "{}", self.body);
        let text = self.body["error_description"].as_str().unwrap();
        assert!(text.starts_with(description), "{text}");
    }
}

/// A command for the real binary.
pub fn keywheel_iam() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keywheel"));
    command.arg("iam");
    command
}

impl Iam {
    /// Starts a server with more flags on a port from the kernel, and waits until it serves.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_in(Scratch::new("wire").unwrap(), flags.iter().map(ToString::to_string).collect())
    }

    fn start_in(folder: Scratch, flags: Vec<String>) -> Self {
        let file = |name: &str| folder.path().join(name);
        fs::remove_file(file("address")).ok();
        let mut command = keywheel_iam();
        command.args(["--listen", "127.0.0.1:0", "--project", PROJECT]);
        command.arg("--address-file").arg(file("address"));
        command.arg("--data").arg(file("iam.redb"));
        command.arg("--admin-key-file").arg(file("admin.json"));
        command.arg("--disruptive-admin-key-file").arg(file("disruptive.json"));
        command.arg("--request-log").arg(file("requests.jsonl"));
        command.args(&flags).env("RUST_LOG", "trace").env("KEYWHEEL_LOG", "trace");
        let process = Process::spawn("keywheel iam", command, &file("stderr"), End::Kill).unwrap();
        let url = wait_until("the server's address", PATIENCE, || {
            process.must_live().unwrap();
            fs::read_to_string(file("address")).map_err(|_| "no address file")
        });
        let url = url.unwrap();
        let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        Self { process, folder, flags, url, http, bearer: OnceCell::new() }
    }

    /// Ends it with SIGKILL, and starts another one on the same data.
    pub fn kill_and_restart(self) -> Self {
        self.process.kill9().unwrap();
        Self::start_in(self.folder, self.flags)
    }

    /// Ends it with SIGTERM; how it ended, and how long that took.
    pub fn terminate(&self) -> (ExitStatus, Duration) {
        self.process.terminate(PATIENCE).unwrap()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the server logged, at trace level.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.file("stderr")).unwrap()
    }

    /// The request log.
    pub fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.file("requests.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The administrator's credential.
    pub fn admin(&self) -> GoogleCredentials {
        read_credentials(&self.file("admin.json"))
    }

    /// An access token of the administrator.
    pub async fn bearer(&self) -> &str {
        self.bearer
            .get_or_init(async || {
                let answer = self.exchange(&self.admin()).await.ok();
                answer["access_token"].as_str().unwrap().to_owned()
            })
            .await
    }

    /// A call as the administrator.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let bearer = self.bearer().await.to_owned();
        self.call_as(&bearer, method, path, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    /// The same from a client that calls itself so; an error if no answer came.
    pub async fn post_from(&self, agent: &str, path: &str, body: Value) -> reqwest::Result<Answer> {
        let request = self.http.post(format!("{}{path}", self.url)).json(&body);
        let request = request.header("user-agent", agent).bearer_auth(self.bearer().await);
        answer(request.send().await?).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    /// A call with any bearer token.
    pub async fn call_as(&self, bearer: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.try_call_as(bearer, method, path, body).await.unwrap()
    }

    /// A call that may end without an answer.
    pub async fn try_call_as(
        &self,
        bearer: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<Answer> {
        let mut request =
            self.http.request(method, format!("{}{path}", self.url)).header("user-agent", "wire-test");
        if !bearer.is_empty() {
            request = request.bearer_auth(bearer);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request.send().await?).await
    }

    /// A token request with any assertion.
    pub async fn token_request(&self, grant: &str, assertion: &str) -> Answer {
        let form = [("grant_type", grant), ("assertion", assertion)];
        let response = self.http.post(format!("{}/token", self.url)).form(&form).send().await.unwrap();
        answer(response).await.unwrap()
    }

    /// A form, from nobody in particular.
    pub async fn form(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let response = self.http.post(format!("{}{path}", self.url)).form(form).send().await.unwrap();
        answer(response).await.unwrap()
    }

    /// A look at the metadata server.
    pub async fn metadata(&self, path: &str) -> Answer {
        let request = self.http.get(format!("{}{path}", self.url)).header("Metadata-Flavor", "Google");
        answer(request.send().await.unwrap()).await.unwrap()
    }

    /// The exchange that a client makes with a credentials file.
    pub async fn exchange(&self, credentials: &GoogleCredentials) -> Answer {
        self.token_request(JWT_BEARER, &assertion(credentials, &format!("{}/token", self.url))).await
    }

    /// Any request, put together by a test.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        with: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Answer {
        let request = self.http.request(method, format!("{}{path}", self.url));
        answer(with(request).send().await.unwrap()).await.unwrap()
    }

    /// Makes an account.
    pub async fn account(&self, id: &str) -> Value {
        self.post("/v1/projects/p1/serviceAccounts", json!({ "accountId": id })).await.ok()
    }

    /// Makes a key; the whole answer and the file in it.
    pub async fn key(&self, email: &str) -> (Value, GoogleCredentials) {
        let answer = self.post(&keys_path(email), json!({})).await.ok();
        let file = file_in(&answer);
        (answer, GoogleCredentials::parse(&file).unwrap())
    }

    /// Sets a fault or a setting.
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call_as("", Method::PUT, path, Some(body)).await
    }
}

async fn answer(response: reqwest::Response) -> reqwest::Result<Answer> {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Answer { status, headers, body })
}

pub fn email(id: &str) -> String {
    format!("{id}@p1.iam.gserviceaccount.com")
}

pub fn account_path(email: &str) -> String {
    format!("/v1/projects/p1/serviceAccounts/{email}")
}

pub fn keys_path(email: &str) -> String {
    format!("{}/keys", account_path(email))
}

/// The keys that users made; beside them stands one of the server's own.
pub fn list_path(email: &str) -> String {
    format!("{}?keyTypes=USER_MANAGED", keys_path(email))
}

/// The path of a key in an answer.
pub fn key_path(key: &Value) -> String {
    format!("/v1/{}", key["name"].as_str().unwrap())
}

/// The file in the answer to `keys.create`.
pub fn file_in(answer: &Value) -> SecretBytes {
    SecretBytes::new(STANDARD.decode(answer["privateKeyData"].as_str().unwrap()).unwrap())
}

pub fn read_credentials(path: &Path) -> GoogleCredentials {
    GoogleCredentials::parse(&SecretBytes::new(fs::read(path).unwrap())).unwrap()
}

pub fn pair_of(credentials: &GoogleCredentials) -> RsaKeyPair {
    RsaKeyPair::from_pkcs8_pem(credentials.private_key_pem()).unwrap()
}

/// A good assertion for an audience.
pub fn assertion(credentials: &GoogleCredentials, audience: &str) -> String {
    let assertion = bearer_assertion(
        &pair_of(credentials),
        credentials.private_key_id(),
        credentials.client_email(),
        audience,
        CLOUD_PLATFORM,
        Timestamp::now(),
        Duration::from_hours(1),
    );
    assertion.unwrap().expose_str().unwrap().to_owned()
}

/// Any JWT, signed by the credential's key.
pub fn jwt(credentials: &GoogleCredentials, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = pair_of(credentials).sign_rs256(message.as_bytes()).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Seconds since 1970, for claims.
pub fn now() -> i64 {
    Timestamp::now().as_second()
}
