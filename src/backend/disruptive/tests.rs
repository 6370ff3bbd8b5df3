//! The client against a server that answers what it is told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::*;
use crate::domain::Class;

/// What it answers in turn, around and around, and what it was asked.
#[derive(Default)]
struct Script {
    token: Mutex<Option<(u16, String)>>,
    answers: Mutex<VecDeque<(u16, String)>>,
    asked: Mutex<Vec<String>>,
}

async fn answer(State(script): State<Arc<Script>>, request: Request) -> Response {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    script.asked.lock().unwrap().push(format!("{} {path}", request.method()));
    let (status, body) = if path == "/token" {
        let token = || (200, json!({ "access_token": "t" }).to_string());
        script.token.lock().unwrap().clone().unwrap_or_else(token)
    } else {
        let mut answers = script.answers.lock().unwrap();
        answers.rotate_left(1);
        answers.back().cloned().expect("an answer")
    };
    let status = StatusCode::from_u16(status).unwrap();
    match serde_json::from_str::<Value>(&body) {
        Ok(document) => (status, Json(document)).into_response(),
        Err(_) => (status, [("location", "/v2/elsewhere")], body).into_response(),
    }
}

struct Bench {
    script: Arc<Script>,
    backend: Disruptive,
}

impl Bench {
    async fn new() -> Self {
        let script = Arc::new(Script::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let endpoints = Endpoints { api: format!("{url}/v2"), token: format!("{url}/token") };
        let cloud = DisruptiveCloud { project: "p", login: &file(&url), endpoints };
        Self { script, backend: Disruptive::log_in(cloud, Duration::from_secs(5)).unwrap() }
    }

    /// With a token at hand.
    async fn ready() -> Self {
        let bench = Self::new().await;
        bench.backend.ready().await;
        assert_eq!(bench.asked(), ["POST /token"]);
        bench
    }

    fn answers(&self, answers: &[(u16, Value)]) {
        *self.script.answers.lock().unwrap() =
            answers.iter().map(|(s, body)| (*s, body.to_string())).collect();
    }

    fn says(&self, status: u16, body: &str) {
        *self.script.answers.lock().unwrap() = [(status, body.to_owned())].into();
    }

    fn logs_in(&self, token: Option<(u16, &str)>) {
        *self.script.token.lock().unwrap() = token.map(|(status, body)| (status, body.to_owned()));
    }

    /// What it was asked since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.script.asked.lock().unwrap())
    }
}

fn file(url: &str) -> SecretBytes {
    let account = json!({"keyId": "k", "secret": "ab".repeat(16), "email": "id@p.serviceaccount.d21s.com",
        "algorithm": "HS256", "tokenEndpoint": format!("{url}/token")});
    SecretBytes::from(json!({ "serviceAccount": account }).to_string())
}

fn error(status: u16) -> String {
    json!({"error": "no", "code": status, "help": "https://example.com"}).to_string()
}

const PAGE_OF_A_GATEWAY: &str = "<html>no</html>";

#[tokio::test]
async fn only_an_error_of_the_api_itself_is_a_refusal() {
    let bench = Bench::ready().await;
    let class = async |status, body: &str| {
        bench.says(status, body);
        // A token that was refused is given up.
        bench.backend.ready().await;
        bench.backend.delete_key("a", "k").await.unwrap_err().class()
    };
    for (status, wanted) in [
        (400, Class::Invalid),
        (401, Class::Unauthenticated),
        (403, Class::Forbidden),
        (404, Class::NotFound),
        (409, Class::AlreadyExists),
        (429, Class::Throttled),
        // Cut short, or in trouble: it may have been carried out.
        (408, Class::Unknown),
        (499, Class::Unknown),
        (500, Class::Unknown),
        (503, Class::Unknown),
        (504, Class::Unknown),
    ] {
        assert_eq!(class(status, &error(status)).await, wanted, "{status}");
        assert_eq!(class(status, PAGE_OF_A_GATEWAY).await, Class::Unknown, "{status}");
        assert_eq!(class(status, &error(status + 1)).await, Class::Unknown, "another's code: {status}");
        assert_eq!(class(status, r#"{"error": "no"}"#).await, Class::Unknown, "no code: {status}");
    }
    // As older documents have it.
    assert_eq!(class(403, r#"{"error": "no", "code": "403"}"#).await, Class::Forbidden);
    // Nobody is followed with our login.
    assert_eq!(class(307, PAGE_OF_A_GATEWAY).await, Class::Unknown);
    assert!(!bench.asked().iter().any(|path| path.contains("elsewhere")));
}

#[tokio::test]
async fn an_account_is_gone_only_where_the_api_says_so() {
    let bench = Bench::new().await;
    bench.says(404, &error(404));
    assert_eq!(bench.backend.find_account("a").await.unwrap(), None);
    bench.says(404, PAGE_OF_A_GATEWAY);
    assert_eq!(bench.backend.find_account("a").await.unwrap_err().class(), Class::Unknown);
    bench.says(403, &error(403));
    assert_eq!(bench.backend.find_account("a").await.unwrap_err().class(), Class::Forbidden);
    // One of another project is not the one that was asked for.
    let account =
        |project: &str| json!({"name": format!("projects/{project}/serviceaccounts/a"), "email": "a@x"});
    bench.answers(&[(200, account("other"))]);
    assert_eq!(bench.backend.find_account("a").await.unwrap_err().class(), Class::Unknown);
    bench.answers(&[(200, account("p"))]);
    assert_eq!(bench.backend.find_account("a").await.unwrap().unwrap().unique_id, "a");
    assert_eq!(bench.backend.find_account("a@y").await.unwrap(), None, "the e-mail is another one");
}

#[tokio::test]
async fn what_the_token_endpoint_refuses_is_the_login() {
    let bench = Bench::new().await;
    bench.says(200, "{}");
    for (status, wanted) in [
        (400, Class::Unauthenticated),
        (401, Class::Unauthenticated),
        (403, Class::Unauthenticated),
        (404, Class::Unauthenticated),
        (408, Class::NotSent),
        (429, Class::Throttled),
        (499, Class::NotSent),
        (500, Class::NotSent),
        (503, Class::NotSent),
    ] {
        let refusal = r#"{"error": "invalid_grant"}"#;
        bench.logs_in(Some((status, refusal)));
        let found = bench.backend.find_account("a").await;
        assert_eq!(found.expect_err("not absent").class(), wanted, "{status}");
        let members = bench.backend.view_policy("projects/p", "a@p", "a").await;
        assert_eq!(members.expect_err("not no member").class(), wanted, "{status}");
    }
    for (status, body) in [(200, PAGE_OF_A_GATEWAY), (200, "{}"), (200, r#"{"access_token": ""}"#)] {
        bench.logs_in(Some((status, body)));
        assert_eq!(bench.backend.find_account("a").await.unwrap_err().class(), Class::NotSent, "{body}");
    }
    assert!(!bench.asked().iter().any(|path| path.contains("/v2/")), "nothing was asked without a login");
}

#[tokio::test]
async fn what_changes_something_leaves_at_once_or_not_at_all() {
    let bench = Bench::new().await;
    bench.says(200, "{}");
    let late = bench.backend.delete_key("a", "k").await.unwrap_err();
    assert_eq!((late.class(), bench.asked()), (Class::NotSent, vec!["POST /token".to_owned()]), "{late}");
    let call = "DELETE /v2/projects/p/serviceaccounts/a/keys/k";
    bench.backend.delete_key("a", "k").await.unwrap();
    assert_eq!(bench.asked(), [call], "the token is kept");
    bench.backend.ready().await;
    assert_eq!(bench.asked(), [""; 0], "it lasts");

    // One that does not last long is good for most of its life; one without a life is none.
    let short = Bench::new().await;
    short.logs_in(Some((200, r#"{"access_token": "t", "expires_in": 60}"#)));
    short.says(200, "{}");
    short.backend.ready().await;
    short.backend.delete_key("a", "k").await.unwrap();
    assert_eq!(short.asked(), ["POST /token", call]);
    short.backend.ready().await;
    assert_eq!(short.asked(), [""; 0]);
    let dead = Bench::new().await;
    dead.logs_in(Some((200, r#"{"access_token": "t", "expires_in": 0}"#)));
    dead.says(200, "{}");
    dead.backend.ready().await;
    assert_eq!(dead.backend.delete_key("a", "k").await.unwrap_err().class(), Class::NotSent);
}

#[tokio::test]
async fn a_token_that_is_refused_is_asked_for_anew_and_the_call_is_not_repeated() {
    let bench = Bench::ready().await;
    bench.answers(&[(401, serde_json::from_str(&error(401)).unwrap()), (200, json!({})), (200, json!({}))]);
    assert_eq!(bench.backend.delete_key("a", "k").await.unwrap_err().class(), Class::Unauthenticated);
    let call = "DELETE /v2/projects/p/serviceaccounts/a/keys/k";
    assert_eq!(bench.asked(), [call]);
    bench.backend.ready().await;
    bench.backend.delete_key("a", "k").await.unwrap();
    bench.backend.delete_key("a", "k").await.unwrap();
    assert_eq!(bench.asked(), ["POST /token", call, call]);
}

#[tokio::test]
async fn what_is_made_and_cannot_be_read_may_be_there() {
    let bench = Bench::ready().await;
    let new = NewAccount {
        account_id: String::new(),
        display_name: "n".to_owned(),
        description: String::new(),
        basic_auth: false,
    };
    for body in [PAGE_OF_A_GATEWAY, "{}", r#"{"name": "n", "email": "e"}"#] {
        bench.says(200, body);
        assert_eq!(bench.backend.create_account(&new).await.unwrap_err().class(), Class::Unknown, "{body}");
    }
    for body in [PAGE_OF_A_GATEWAY, "{}", r#"{"key": {"name": "n"}, "secret": "s"}"#] {
        bench.says(200, body);
        let made = bench.backend.create_key("a", "a@p", "", "").await;
        assert_eq!(made.err().map(|error| error.class()), Some(Class::Unknown), "{body}");
    }
}

fn page(field: &str, names: &[&str], next: &str) -> (u16, Value) {
    let entry = |name: &&str| match field {
        "keys" => json!({"name": format!("projects/p/serviceaccounts/a/keys/{name}")}),
        _ => json!({"name": format!("projects/p/serviceaccounts/{name}"), "email": format!("{name}@p")}),
    };
    (200, json!({field: names.iter().map(entry).collect::<Vec<_>>(), "nextPageToken": next}))
}

/// What both lists give, or what their failure says.
async fn lists(answers: impl Fn(&str) -> Vec<(u16, Value)>) -> [Result<Vec<String>, String>; 2] {
    let bench = Bench::new().await;
    let told = |error: BackendError| {
        assert_eq!(error.class(), Class::Unknown);
        error.to_string()
    };
    bench.answers(&answers("serviceAccounts"));
    let accounts = bench.backend.list_accounts().await.map_err(told);
    bench.answers(&answers("keys"));
    let keys = bench.backend.list_keys("a").await.map_err(told);
    [
        accounts.map(|all| all.accounts.into_iter().map(|account| account.unique_id).collect()),
        keys.map(|all| all.keys.into_iter().map(|key| key.id).collect()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_read_to_their_end_and_never_in_a_circle() {
    let whole = lists(|f| vec![page(f, &["1", "2"], "x"), page(f, &[], "y"), page(f, &["3"], "")]).await;
    assert_eq!(whole, [(); 2].map(|()| Ok(["1", "2", "3"].map(str::to_owned).to_vec())));
    let circles = [
        |f: &str| vec![page(f, &["1"], "x")],
        |f: &str| {
            vec![page(f, &["1"], "x"), page(f, &["2"], "y"), page(f, &["3"], "x"), page(f, &["4"], "y")]
        },
    ];
    for circle in circles {
        let listed = tokio::time::timeout(Duration::from_secs(10), lists(circle)).await;
        for list in listed.expect("it went around for ever") {
            let error = list.expect_err("a part is not the whole");
            assert!(error.contains("no usable next page"), "{error}");
        }
    }
    // A page that fails takes the whole list with it.
    let partly = |f: &str| vec![page(f, &["1"], "x"), (500, serde_json::from_str(&error(500)).unwrap())];
    assert!(lists(partly).await.iter().all(Result::is_err));
    let without = |f: &str| vec![(200, json!({f: []}))];
    assert!(lists(without).await.iter().all(Result::is_err), "whether it goes on must be said");
}

#[tokio::test]
async fn each_page_is_asked_for_by_the_token_of_the_one_before() {
    let bench = Bench::new().await;
    bench.answers(&[page("keys", &["1"], "x"), page("keys", &["2"], "y"), page("keys", &[], "")]);
    bench.backend.list_keys("a").await.unwrap();
    let asked =
        |token: &str| format!("GET /v2/projects/p/serviceaccounts/a/keys?pageSize=100&pageToken={token}");
    assert_eq!(bench.asked()[1..], [asked(""), asked("x"), asked("y")]);
}

#[tokio::test]
async fn only_the_endpoints_own_refusal_counts_against_a_key() {
    let bench = Bench::new().await;
    let credential = file("http://localhost");
    let proof = async |status, body: &str| {
        bench.logs_in(Some((status, body)));
        bench.backend.exchange(&credential, false, Timestamp::UNIX_EPOCH).await
    };
    let refusal = r#"{"error": "invalid_grant"}"#;
    for status in [400, 401] {
        assert!(matches!(proof(status, refusal).await, Err(ExchangeError::KeyRefused { .. })), "{status}");
        let page = proof(status, PAGE_OF_A_GATEWAY).await;
        assert!(matches!(page, Err(ExchangeError::Unavailable(_))), "{status}");
    }
    for (status, class) in [
        (403, Class::Unauthenticated),
        (404, Class::Unauthenticated),
        (408, Class::Unknown),
        (429, Class::Throttled),
        (500, Class::Unknown),
        (503, Class::Unknown),
    ] {
        let told = match proof(status, refusal).await {
            Err(ExchangeError::Unavailable(error)) => Some(error.class()),
            _ => None,
        };
        assert_eq!(told, Some(class), "{status}");
    }
    let described = proof(401, r#"{"error": "invalid_grant", "error_description": "signature"}"#).await;
    assert_eq!(described.unwrap_err().to_string(), "invalid_grant: signature");
    assert!(matches!(proof(200, PAGE_OF_A_GATEWAY).await, Err(ExchangeError::Unavailable(_))));
    assert!(proof(200, r#"{"access_token": "t"}"#).await.is_ok());

    // A key that was exchanged is good, whatever its account says to basic auth.
    bench.logs_in(None);
    for status in [200, 403, 404] {
        bench.says(status, &if status == 200 { "{}".to_owned() } else { error(status) });
        let proved = bench.backend.exchange(&credential, true, Timestamp::UNIX_EPOCH).await;
        assert!(proved.is_ok(), "{status}");
    }
    // One that is not let in although its account takes basic auth is not known everywhere yet.
    for basic_auth in [true, false] {
        let account =
            json!({"name": "projects/p/serviceaccounts/id", "email": "id@p", "enableBasicAuth": basic_auth});
        bench.answers(&[(401, serde_json::from_str(&error(401)).unwrap()), (200, account)]);
        match bench.backend.exchange(&credential, true, Timestamp::UNIX_EPOCH).await {
            Err(ExchangeError::KeyRefused { .. }) => assert!(basic_auth),
            Err(ExchangeError::Unavailable(error)) => {
                assert_eq!((error.class(), basic_auth), (Class::Precondition, false));
            }
            other => panic!("{other:?}"),
        }
    }
}
