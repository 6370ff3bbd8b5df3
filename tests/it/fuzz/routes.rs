//! Every route of the embedded server, with paths, queries, bodies and logins that are nearly right.

use std::time::Duration;

use keywheel_testbed::iam::{IamOptions, IamServer};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, any, prop_oneof};
use proptest::sample::select;
use proptest::strategy::{BoxedStrategy, Strategy as _};
use proptest::test_runner::TestCaseError;
use reqwest::Method;
use serde_json::{Value, json};

use super::parsers::nearly;
use crate::operator::{Person, start_iam};

pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A request.
#[derive(Debug, Clone)]
pub struct Ask {
    method: &'static str,
    path: String,
    query: Vec<(String, String)>,
    body: Body,
    login: Option<String>,
    headers: Vec<(&'static str, String)>,
}

#[derive(Debug, Clone)]
enum Body {
    Nothing,
    Json(Value),
    Form(Vec<(String, String)>),
    Bytes(Vec<u8>),
}

/// Words that the server knows.
const WORDS: &[&str] = &[
    "name",
    "accountId",
    "serviceAccount",
    "displayName",
    "description",
    "updateMask",
    "uniqueId",
    "etag",
    "policy",
    "bindings",
    "role",
    "members",
    "condition",
    "version",
    "permissions",
    "privateKeyType",
    "keyAlgorithm",
    "publicKeyData",
    "publicKeyType",
    "keyTypes",
    "pageSize",
    "pageToken",
    "serviceIds",
    "names",
    "filter",
    "scope",
    "lifetime",
    "delegates",
    "expression",
    "values",
    "options",
    "requestedPolicyVersion",
    "grant_type",
    "assertion",
    "subject_token",
    "subject_token_type",
    "audience",
    "requested_token_type",
    "alt",
    "$alt",
    "prettyPrint",
    "fields",
    "recursive",
    "key",
    "extendedStatusMessage",
    "serviceAccountKeyDisableReason",
    "enableBasicAuth",
    "email",
    "roles",
    "names",
    "project",
    "organization",
    "memberId",
    "roles/project.user",
    "projects/keywheel-test",
    "somebody@example.com",
    "constantValue",
    "result",
    "functionInvocationValue",
    "arguments",
    "functionName",
    "TYPE_PKCS12_FILE",
    "TYPE_X509_PEM_FILE",
    "KEY_ALG_RSA_1024",
    "roles/owner",
    "projects",
    "keys",
    "config",
    "enable",
    "disable",
    "1",
    "-1",
    "99999999999999999999",
    "",
    "-",
];

fn word() -> BoxedStrategy<String> {
    prop_oneof![
        6 => select(WORDS).prop_map(str::to_owned),
        1 => "\\PC{0,12}",
        1 => Just("x".repeat(5000)),
    ]
    .boxed()
}

/// A document of words.
fn document() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        word().prop_map(Value::String),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|n| json!(n)),
        Just(Value::Null),
        Just(json!(1.5e300)),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::Array),
            vec((word(), inner), 0..6).prop_map(|entries| entries.into_iter().collect()),
        ]
    })
    .boxed()
}

/// Paths of Google's APIs and of the server itself; `@` stands for a segment.
const ROUTES: &[&str] = &[
    "token",
    "v1/token",
    "o/oauth2/token",
    "",
    "settings",
    "faults",
    "oauth2/v1/certs",
    "oauth2/v3/certs",
    "$discovery/rest",
    "computeMetadata/v1/@",
    "computeMetadata/v1/instance/service-accounts/@/token",
    "computeMetadata/v1/instance/service-accounts/@/identity",
    "robot/v1/metadata/x509/@",
    "service_accounts/v1/jwk/@",
    "service_accounts/v1/metadata/raw/@",
    "v1/projects/@/config",
    "v1/projects/@/algorithms",
    "v1/projects/@/value:compute",
    "v1/projects/@",
    "v3/projects/@",
    "v1/projects/@:getIamPolicy",
    "v1/projects/@:setIamPolicy",
    "v3/projects/@:testIamPermissions",
    "v1/projects/@/services",
    "v1/projects/@/services:batchEnable",
    "v1/projects/@/services:batchGet",
    "v1/projects/@/services/@",
    "v1/projects/@/services/@:enable",
    "v1/projects/@/services/@:disable",
    "v1/operations/@",
    "v2/projects/@/policies/@:getEffectivePolicy",
    "keywheel/v1/attempts/@",
    "v1/projects/@/locations/global/activityTypes/serviceAccountKeyLastAuthentication/activities:query",
    "v1/projects/@/serviceAccounts",
    "v1/projects/@/serviceAccounts/@",
    "v1/projects/@/serviceAccounts/@:disable",
    "v1/projects/@/serviceAccounts/@:enable",
    "v1/projects/@/serviceAccounts/@:undelete",
    "v1/projects/@/serviceAccounts/@:getIamPolicy",
    "v1/projects/@/serviceAccounts/@:setIamPolicy",
    "v1/projects/@/serviceAccounts/@:testIamPermissions",
    "v1/projects/@/serviceAccounts/@:generateAccessToken",
    "v1/projects/@/serviceAccounts/@:signBlob",
    "v1/projects/@/serviceAccounts/@/keys",
    "v1/projects/@/serviceAccounts/@/keys:upload",
    "v1/projects/@/serviceAccounts/@/keys/@",
    "v1/projects/@/serviceAccounts/@/keys/@:disable",
    "v1/projects/@/serviceAccounts/@/keys/@:enable",
    "@",
    "@/@/@",
];

fn path(routes: Vec<String>, segments: Vec<String>) -> BoxedStrategy<String> {
    let segment = prop_oneof![5 => select(segments), 1 => word()];
    (select(routes), vec(segment, 6))
        .prop_map(|(route, segments)| {
            let mut segments = segments.into_iter();
            let mut filled = String::new();
            for part in route.split_inclusive('@') {
                filled.push_str(part.trim_end_matches('@'));
                if part.ends_with('@') {
                    filled.push_str(&segments.next().unwrap_or_default());
                }
            }
            filled
        })
        .boxed()
}

/// Texts that are nearly right.
fn damaged(samples: &[String]) -> BoxedStrategy<String> {
    let samples = samples.iter().map(|sample| sample.clone().into_bytes()).collect();
    nearly(samples).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).boxed()
}

/// `logins` are values of the header, `assertions` what buys a token, `bodies` good ones.
pub fn asks(
    routes: Vec<String>,
    segments: Vec<String>,
    logins: Vec<String>,
    assertions: &[String],
    bodies: &[Value],
) -> BoxedStrategy<Ask> {
    let pairs = || vec((word(), word()), 0..4);
    let spoilt = damaged(&logins);
    let login = prop_oneof![4 => select(logins), 1 => spoilt];
    let assertion = damaged(assertions);
    let texts = bodies.iter().map(|body| body.to_string().into_bytes()).collect();
    let grant = assertion.prop_map(|assertion| {
        vec![("grant_type".to_owned(), JWT_BEARER.to_owned()), ("assertion".to_owned(), assertion)]
    });
    let body = prop_oneof![
        2 => Just(Body::Nothing),
        6 => document().prop_map(Body::Json),
        2 => select(bodies.to_vec()).prop_map(Body::Json),
        2 => nearly(texts).prop_map(Body::Bytes),
        1 => prop_oneof![grant, pairs()].prop_map(Body::Form),
        1 => vec(any::<u8>(), 0..400).prop_map(Body::Bytes),
    ];
    let method = prop_oneof![
        4 => select(&["GET", "POST", "PATCH", "DELETE"][..]),
        1 => select(&["PUT", "HEAD", "OPTIONS"][..]),
    ];
    let names = select(&["metadata-flavor", "content-type", "x-goog-user-project", "accept", "range"][..]);
    let header = (names, prop_oneof![1 => Just("Google".to_owned()), 2 => word()]);
    (method, path(routes, segments), pairs(), body, option::weighted(0.9, login), vec(header, 0..2))
        .prop_map(|(method, path, query, body, login, headers)| Ask {
            method,
            path,
            query,
            body,
            login,
            headers,
        })
        .boxed()
}

/// A server, and who asks it.
pub struct Bench {
    pub iam: IamServer,
    pub http: reqwest::Client,
    pub runtime: tokio::runtime::Runtime,
}

impl Bench {
    pub fn start(args: &[&str]) -> Self {
        let args = args.iter().map(ToString::to_string).collect();
        Self {
            iam: start_iam(IamOptions { args, faults: false, ..IamOptions::default() }),
            http: reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
        }
    }

    /// Whatever is asked, the server answers, and not with an error of its own.
    pub fn check(&self, ask: &Ask) -> Result<(), TestCaseError> {
        let Self { iam, http, runtime } = self;
        let fail = |what: String| TestCaseError::fail(format!("{what}: {ask:?}"));
        let Ok(mut url) = reqwest::Url::parse(&format!("{}/{}", iam.url(), ask.path)) else { return Ok(()) };
        url.query_pairs_mut().extend_pairs(&ask.query);
        let method = Method::from_bytes(ask.method.as_bytes()).map_err(|e| fail(e.to_string()))?;
        let mut request = http.request(method, url);
        request = match ask.body.clone() {
            Body::Nothing => request,
            Body::Json(document) => request.json(&document),
            Body::Form(form) => request.form(&form),
            Body::Bytes(bytes) => request.body(bytes),
        };
        if let Some(login) = &ask.login {
            request = request.header("authorization", login);
        }
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        // What the client itself refuses to send is not asked.
        let Ok(request) = request.build() else { return Ok(()) };
        let answer =
            runtime.block_on(async { http.execute(request).await }).map_err(|e| fail(e.to_string()))?;
        let status = answer.status().as_u16();
        // 501 says that a method of Google's, or of the other API, is not there.
        if status >= 500 && status != 501 {
            let text = runtime.block_on(async { answer.text().await }).unwrap_or_default();
            return Err(fail(format!("{status} {text}")));
        }
        Ok(())
    }
}

pub fn run() {
    let bench = Bench::start(&["--page"]);
    let iam = &bench.iam;
    let person = Person::at(iam);
    person.create_account("fuzzed", "");
    let (key, _) = person.create_key("fuzzed");
    let unique = person.account("fuzzed").unwrap()["uniqueId"].as_str().unwrap().to_owned();
    let project = person.read_project()["projectNumber"].as_str().unwrap().to_owned();
    let segments =
        vec![iam.project().to_owned(), project, "-".to_owned(), person.email("fuzzed"), unique, key];
    let routes = ROUTES.iter().map(ToString::to_string).collect();
    let login = format!("Bearer {}", person.bearer());
    let bodies = [
        json!({"accountId": "another-one", "serviceAccount": {"displayName": "a"}}),
        json!({"policy": {"bindings": [{"role": "roles/viewer", "members": [format!("serviceAccount:{}", person.email("fuzzed"))]}]}}),
        json!({"permissions": ["iam.serviceAccounts.get"]}),
        json!({"updateMask": "displayName", "serviceAccount": {"displayName": "b"}}),
    ];
    let asks = asks(routes, segments, vec![login], &[person.bearer().to_owned()], &bodies);
    super::fuzz("routes", 512, &asks, |ask| bench.check(&ask));
    assert_eq!(person.read_project()["projectId"], iam.project(), "it serves on");
}
