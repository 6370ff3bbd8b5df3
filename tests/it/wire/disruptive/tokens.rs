//! The token endpoint, and keys as names and passwords.

use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use super::trial;
use super::vendor::{ACCOUNTS, Login, TOKEN, Vendor, exchange, path};
use crate::wire::iam::{JWT_BEARER, now};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("disruptive::tokens::a_secret_buys_a_token_for_an_hour", life),
        trial("disruptive::tokens::assertions_of_all_clients_are_accepted", accepted),
        trial("disruptive::tokens::what_is_wrong_with_an_assertion_is_400", refused),
        trial("disruptive::tokens::tokens_of_one_api_are_worth_nothing_in_the_other", strangers),
        trial("disruptive::tokens::a_new_key_waits_for_its_activation", waits),
        trial("disruptive::tokens::basic_auth_is_off_until_it_is_switched_on_and_off_at_once", basic),
        trial("disruptive::tokens::basic_auth_needs_the_right_secret_of_a_key_that_is_there", wrong_pairs),
    ]
}

async fn life() {
    let vendor = Vendor::start(&["--enable-fault-api"]).await;
    let account = vendor.account("billing").await;
    vendor.join(&account, "roles/project.user").await;
    let (_, login) = vendor.key(&account).await;
    let granted = login.exchange(&vendor.iam).await.ok();
    let fields: Vec<&str> = granted.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["access_token", "expires_in", "token_type"]);
    assert_eq!((&granted["token_type"], &granted["expires_in"]), (&json!("bearer"), &json!(3600)));
    let bearer = granted["access_token"].as_str().unwrap();
    let ask = async || vendor.iam.call_as(bearer, Method::GET, ACCOUNTS, None).await;
    ask().await.ok();
    vendor.iam.put("/settings", json!({"clockOffset": "3590s"})).await.ok();
    ask().await.ok();
    vendor.iam.put("/settings", json!({"clockOffset": "3601s"})).await.ok();
    ask().await.refused(401);
}

/// The claims that the vendor's library makes.
fn claims(vendor: &Vendor, login: &Login) -> Value {
    let iat = now();
    let aud = format!("{}{TOKEN}", vendor.iam.url);
    json!({"iat": iat, "exp": iat + 3600, "aud": aud, "iss": login.email})
}

fn header(login: &Login) -> Value {
    json!({"alg": "HS256", "kid": login.key_id})
}

/// A copy of claims, one of them changed.
fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut changed = claims.clone();
    changed[name] = value;
    changed
}

async fn accepted() {
    let vendor = Vendor::start(&[]).await;
    let account = vendor.account("billing").await;
    let (_, login) = vendor.key(&account).await;
    let claims = claims(&vendor, &login);
    let aud = claims["aud"].clone();
    for good in [
        claims.clone(),
        // Of the Go library: an array, and a beginning that is set back.
        with(&with(&claims, "aud", json!([aud])), "iat", json!(now() - 5)),
        with(&claims, "aud", json!("https://identity.disruptive-technologies.com/oauth2/token")),
        with(&claims, "exp", json!(now() + 60)),
        // Its clock was read twice.
        with(&claims, "exp", json!(now() + 3601)),
        with(&claims, "iat", json!(f64::from(u32::try_from(now()).unwrap()) + 0.25)),
    ] {
        exchange(&vendor.iam, &login.jwt(&header(&login), &good)).await.ok();
    }
    // Public examples for Node send the form in parts.
    let assertion = login.assertion(&vendor.iam.url);
    let part = |name: &str, value: &str| {
        format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let body = format!("{}{}--xyz--\r\n", part("assertion", &assertion), part("grant_type", JWT_BEARER));
    let kind = "multipart/form-data; boundary=xyz";
    let answer =
        vendor.iam.ask(Method::POST, TOKEN, |request| request.header("content-type", kind).body(body)).await;
    assert_eq!(answer.ok()["token_type"], "bearer");
}

async fn refused() {
    let vendor = Vendor::start(&[]).await;
    let account = vendor.account("billing").await;
    let (_, login) = vendor.key(&account).await;
    let (_, other) = vendor.key(&account).await;
    let claims = claims(&vendor, &login);
    let head = header(&login);
    let base = format!("{}/", vendor.iam.url);
    let stranger = "c18ppqmoiv9008epsv1g@p1.serviceaccount.d21s.com";
    let forged = Login { secret: "0".repeat(32), ..login.clone() };
    for (what, assertion) in [
        ("another secret", forged.jwt(&head, &claims)),
        ("the secret of another key", other.jwt(&head, &claims)),
        ("no key id", login.jwt(&json!({"alg": "HS256"}), &claims)),
        ("another algorithm", login.jwt(&json!({"alg": "HS512", "kid": login.key_id}), &claims)),
        ("no signature", format!("{}.", login.jwt(&json!({"alg": "none", "kid": login.key_id}), &claims))),
        ("an unknown account", login.jwt(&head, &with(&claims, "iss", json!(stranger)))),
        ("an id for an address", login.jwt(&head, &with(&claims, "iss", json!(login.key_id)))),
        ("no issuer", login.jwt(&head, &with(&claims, "iss", Value::Null))),
        ("two hours", login.jwt(&head, &with(&claims, "exp", json!(now() + 7200)))),
        ("no end", login.jwt(&head, &with(&claims, "exp", Value::Null))),
        (
            "an old one",
            login.jwt(&head, &with(&with(&claims, "iat", json!(now() - 5000)), "exp", json!(now() - 1400))),
        ),
        ("another endpoint", login.jwt(&head, &with(&claims, "aud", json!(base)))),
        ("no audience", login.jwt(&head, &with(&claims, "aud", Value::Null))),
        ("no JWT", "nonsense".to_owned()),
    ] {
        let answer = exchange(&vendor.iam, &assertion).await;
        assert_eq!((answer.status, &answer.body["error"]), (400, &json!("invalid_grant")), "{what}");
    }
    let good = login.assertion(&vendor.iam.url);
    let form = async |fields: &[(&str, &str)]| vendor.iam.form(TOKEN, fields).await;
    form(&[("assertion", &good)]).await.oauth_error(400, "unsupported_grant_type", "");
    form(&[("assertion", &good), ("grant_type", "password")]).await.oauth_error(
        400,
        "unsupported_grant_type",
        "",
    );
    form(&[("grant_type", JWT_BEARER)]).await.oauth_error(400, "invalid_request", "");
    // In the body only.
    let query = format!("{TOKEN}?assertion={good}&grant_type={JWT_BEARER}");
    vendor.iam.form(&query, &[]).await.oauth_error(400, "unsupported_grant_type", "");
    // A JWT of Google's kind, of an account of Google's.
    let google = crate::wire::iam::assertion(&vendor.iam.admin(), &format!("{}{TOKEN}", vendor.iam.url));
    exchange(&vendor.iam, &google).await.oauth_error(400, "invalid_grant", "");
    exchange(&vendor.iam, &good).await.ok();
    vendor.delete(&path(&account)).await.ok();
    exchange(&vendor.iam, &good).await.oauth_error(400, "invalid_grant", "");
}

async fn strangers() {
    let vendor = Vendor::start(&[]).await;
    let google = vendor.iam.bearer().await.to_owned();
    vendor.iam.call_as(&google, Method::GET, ACCOUNTS, None).await.refused(401);
    let accounts = "/v1/projects/p1/serviceAccounts";
    vendor.iam.call_as(&vendor.bearer, Method::GET, accounts, None).await.error(401, "UNAUTHENTICATED");
    let login = Login::administrators(&vendor.iam);
    let answer = vendor.iam.token_request(JWT_BEARER, &login.assertion(&vendor.iam.url)).await;
    answer.oauth_error(400, "invalid_grant", "");
    // A signed assertion is no token.
    vendor.iam.call_as(&login.assertion(&vendor.iam.url), Method::GET, ACCOUNTS, None).await.refused(401);
}

async fn waits() {
    let vendor = Vendor::start(&["--enable-fault-api", "--key-activation-delay", "1h"]).await;
    let account = vendor.post(ACCOUNTS, json!({"enableBasicAuth": true})).await.ok();
    let (_, login) = vendor.key(&account).await;
    login.exchange(&vendor.iam).await.oauth_error(400, "invalid_grant", "");
    vendor.basic(&login, "/v2/roles").await.refused(401);
    vendor.iam.put("/settings", json!({"keyActivationDelay": "0s"})).await.ok();
    login.exchange(&vendor.iam).await.ok();
    vendor.basic(&login, "/v2/roles").await.ok();
}

async fn basic() {
    let vendor = Vendor::start(&[]).await;
    let account = vendor.account("billing").await;
    vendor.join(&account, "roles/project.user").await;
    let (key, login) = vendor.key(&account).await;
    vendor.basic(&login, ACCOUNTS).await.refused(401);
    let switch = async |on: bool| vendor.patch(&path(&account), json!({"enableBasicAuth": on})).await.ok();
    for _ in 0..2 {
        switch(true).await;
        vendor.basic(&login, ACCOUNTS).await.ok();
        switch(false).await;
        vendor.basic(&login, ACCOUNTS).await.refused(401);
    }
    // A token needs no switch.
    login.exchange(&vendor.iam).await.ok();
    switch(true).await;
    vendor.delete(&path(&key["key"])).await.ok();
    vendor.basic(&login, ACCOUNTS).await.refused(401);
}

async fn wrong_pairs() {
    let vendor = Vendor::start(&[]).await;
    let account = vendor.post(ACCOUNTS, json!({"enableBasicAuth": true})).await.ok();
    let (_, login) = vendor.key(&account).await;
    let (_, other) = vendor.key(&account).await;
    vendor.basic(&login, "/v2/roles").await.ok();
    for wrong in [
        Login { secret: other.secret.clone(), ..login.clone() },
        Login { secret: String::new(), ..login.clone() },
        Login { secret: format!("{}0", login.secret), ..login.clone() },
        Login { key_id: login.email.clone(), ..login.clone() },
        Login { key_id: "c18ppqmoiv9008epsv1g".to_owned(), ..login.clone() },
    ] {
        vendor.basic(&wrong, "/v2/roles").await.refused(401);
    }
    for header in ["Basic", "Basic ", "Basic !!", "Basic YWJj", "Digest YTpi"] {
        let ask = |request: reqwest::RequestBuilder| request.header("authorization", header);
        vendor.iam.ask(Method::GET, "/v2/roles", ask).await.refused(401);
    }
}
