//! The token endpoint, and what its tokens and self-signed ones open.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keywheel::credential::{GoogleCredentials, RsaKeyPair, parse_certificate};
use libtest_mimic::Trial;
use reqwest::Method;
use rsa::RsaPublicKey;
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::pkcs8::DecodePublicKey as _;
use rsa::sha2::Sha256;
use rsa::signature::Verifier as _;
use serde_json::{Value, json};

use super::iam::{
    CLOUD_PLATFORM, GOOGLE_TOKEN_URL, Iam, JWT_BEARER, account_path, assertion, email, jwt, key_path,
    keys_path, list_path, now,
};
use super::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("tokens::audiences_of_all_clients_are_accepted", audiences),
        trial("tokens::a_token_without_kid_is_tried_against_all_enabled_keys", kids),
        trial("tokens::only_the_stored_key_signs", signatures),
        trial("tokens::times_must_be_short_and_of_now", times),
        trial("tokens::errors_are_those_of_google", errors),
        trial("tokens::a_skewed_server_refuses_good_tokens", skew),
        trial("tokens::a_new_key_waits_for_its_activation", activation),
        trial("tokens::a_disabled_account_gets_none", disabled_account),
        trial("tokens::legacy_paths_serve_too", paths),
        trial("bearers::missing_and_bad_ones_are_unauthenticated", unauthenticated),
        trial("bearers::only_administrators_are_let_in", forbidden),
        trial("bearers::scopes_limit_a_token", scopes),
        trial("bearers::self_signed_tokens_are_accepted", self_signed),
        trial("bearers::a_disabled_key_kills_its_self_signed_tokens_at_once", self_signed_dies),
        trial("bearers::opaque_tokens_outlive_their_key_but_not_their_account", opaque),
        trial("bearers::opaque_tokens_end", opaque_ends),
        trial("tokens::an_id_token_is_signed_by_the_server", id_token),
    ]
}

fn header(file: &GoogleCredentials) -> Value {
    json!({"alg": "RS256", "typ": "JWT", "kid": file.private_key_id()})
}

fn claims(file: &GoogleCredentials) -> Value {
    json!({"iss": file.client_email(), "scope": CLOUD_PLATFORM, "aud": GOOGLE_TOKEN_URL, "iat": now(),
        "exp": now() + 3600})
}

/// Good claims with some of them replaced.
fn with(file: &GoogleCredentials, changes: &Value) -> Value {
    let mut claims = claims(file);
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

async fn ask(iam: &Iam, file: &GoogleCredentials, changes: Value) -> super::iam::Answer {
    iam.token_request(JWT_BEARER, &jwt(file, &header(file), &with(file, &changes))).await
}

async fn with_key(flags: &[&str]) -> (Iam, Value, GoogleCredentials) {
    let iam = Iam::start(flags);
    iam.account("billing").await;
    let (key, file) = iam.key(&email("billing")).await;
    (iam, key, file)
}

async fn audiences() {
    let (iam, _, file) = with_key(&[]).await;
    let own = format!("{}/token", iam.url);
    for aud in [
        json!(GOOGLE_TOKEN_URL),
        json!(own),
        json!([own]),
        json!(["https://elsewhere.example", GOOGLE_TOKEN_URL]),
        json!("https://accounts.google.com/o/oauth2/token"),
        json!("https://www.googleapis.com/oauth2/v4/token"),
    ] {
        let answer = ask(&iam, &file, json!({"aud": aud})).await.ok();
        assert_eq!(answer["token_type"], "Bearer");
        assert_eq!(answer["expires_in"], 3599);
        assert!(answer["access_token"].as_str().unwrap().len() > 40);
    }
    for aud in [json!(null), json!("https://elsewhere.example/token"), json!([]), json!(iam.url)] {
        ask(&iam, &file, json!({"aud": aud})).await.oauth_error(
            400,
            "invalid_grant",
            "Invalid JWT: Failed audience check",
        );
    }
    // Null claims are absent ones.
    ask(&iam, &file, json!({"sub": null, "target_audience": null})).await.ok();
    ask(&iam, &file, json!({"sub": file.client_email()})).await.ok();
}

async fn kids() {
    let (iam, first_key, first) = with_key(&[]).await;
    let (_, second) = iam.key(&email("billing")).await;
    let send = async |file: &GoogleCredentials, header: Value| {
        iam.token_request(JWT_BEARER, &jwt(file, &header, &claims(file))).await
    };
    for file in [&first, &second] {
        send(file, json!({"alg": "RS256"})).await.ok();
        send(file, json!({"alg": "RS256", "kid": null})).await.ok();
    }
    let swapped = json!({"alg": "RS256", "kid": first.private_key_id()});
    send(&second, swapped).await.oauth_error(400, "invalid_grant", "Invalid JWT Signature.");
    let unknown = json!({"alg": "RS256", "kid": "0".repeat(40)});
    send(&first, unknown).await.oauth_error(400, "invalid_grant", "Invalid JWT Signature.");
    iam.post(&format!("{}:disable", key_path(&first_key)), json!({})).await.ok();
    let disabled = send(&first, json!({"alg": "RS256"})).await;
    disabled.oauth_error(400, "invalid_grant", "Invalid JWT Signature.");
    send(&second, json!({"alg": "RS256"})).await.ok();
}

async fn signatures() {
    let (iam, _, file) = with_key(&[]).await;
    let signature = "Invalid JWT Signature.";
    // The right id and address, but another private key.
    let stranger = RsaKeyPair::generate_2048().unwrap();
    let forged = GoogleCredentials::new(file.fields().clone(), stranger.to_pkcs8_pem().unwrap());
    ask(&iam, &forged, json!({})).await.oauth_error(400, "invalid_grant", signature);
    // A good signature over other claims.
    let good = jwt(&file, &header(&file), &claims(&file));
    let other = jwt(&file, &header(&file), &with(&file, &json!({"scope": "other"})));
    let (message, _) = other.rsplit_once('.').unwrap();
    let (_, stolen) = good.rsplit_once('.').unwrap();
    let spliced = iam.token_request(JWT_BEARER, &format!("{message}.{stolen}")).await;
    spliced.oauth_error(400, "invalid_grant", signature);
    // No signature, and an algorithm that says so.
    for algorithm in ["none", "HS256"] {
        let token = jwt(&file, &json!({"alg": algorithm, "kid": file.private_key_id()}), &claims(&file));
        let (message, _) = token.rsplit_once('.').unwrap();
        for token in [format!("{message}."), token.clone()] {
            iam.token_request(JWT_BEARER, &token).await.oauth_error(400, "invalid_grant", signature);
        }
    }
    // Another account's name under this account's key.
    iam.account("victim").await;
    iam.key(&email("victim")).await;
    ask(&iam, &file, json!({"iss": email("victim")})).await.oauth_error(400, "invalid_grant", signature);
    iam.token_request(JWT_BEARER, &good).await.ok();
}

async fn times() {
    let (iam, _, file) = with_key(&[]).await;
    let now = now();
    for (iat, exp, good) in [
        (now, now + 3600, true),
        (now, now + 3601, false),
        (now - 3500, now + 60, true),
        (now + 240, now + 600, true),
        (now + 360, now + 600, false),
        (now - 3600, now - 240, true),
        (now - 3600, now - 360, false),
        (now, now, false),
        (now, now - 1, false),
    ] {
        let answer = ask(&iam, &file, json!({"iat": iat, "exp": exp})).await;
        if good {
            answer.ok();
        } else {
            answer.oauth_error(
                400,
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check \
                 your iat and exp values",
            );
        }
    }
    for changes in [json!({"iat": null}), json!({"exp": null})] {
        ask(&iam, &file, changes).await.oauth_error(400, "invalid_grant", "Invalid JWT: Token must be");
    }
}

async fn errors() {
    let (iam, _, file) = with_key(&[]).await;
    let good = jwt(&file, &header(&file), &claims(&file));
    let answer = iam.token_request("authorization_code", &good).await;
    answer.oauth_error(400, "unsupported_grant_type", "");
    iam.token_request(JWT_BEARER, "nonsense").await.oauth_error(400, "invalid_grant", "Invalid JWT");
    let account = "Invalid grant: account not found";
    for iss in [email("nobody"), "someone@example.com".to_owned()] {
        ask(&iam, &file, json!({"iss": iss})).await.oauth_error(400, "invalid_grant", account);
    }
    let scope = "Invalid OAuth scope or ID token audience provided.";
    for changes in [json!({"scope": null}), json!({"scope": "  "})] {
        ask(&iam, &file, changes).await.oauth_error(400, "invalid_scope", scope);
    }
    let sub = json!({"sub": "boss@example.com"});
    ask(&iam, &file, sub).await.oauth_error(401, "unauthorized_client", "Client is unauthorized");
}

/// An ID token, and what it is checked with; a verifier has no credential.
async fn id_token() {
    let (iam, _, file) = with_key(&[]).await;
    let asked = json!({"scope": null, "target_audience": "https://app.example"});
    let answer = ask(&iam, &file, asked).await.ok();
    assert!(answer.get("access_token").is_none());
    let token = answer["id_token"].as_str().unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let part = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let json = |text: &str| -> Value { serde_json::from_slice(&part(text)).unwrap() };
    let (header, claims) = message.split_once('.').unwrap();
    let claims = json(claims);
    assert_eq!(
        (&claims["aud"], &claims["iss"]),
        (&json!("https://app.example"), &json!("https://accounts.google.com"))
    );
    assert_eq!((&claims["email"], &claims["email_verified"]), (&json!(file.client_email()), &json!(true)));
    let kid = json(header)["kid"].as_str().unwrap().to_owned();
    let certificates = iam.call_as("", Method::GET, "/oauth2/v1/certs", None).await.ok();
    let certificate = parse_certificate(certificates[&kid].as_str().unwrap().as_bytes()).unwrap();
    let public = RsaPublicKey::from_public_key_der(&certificate.spki_der).unwrap();
    let signature = Signature::try_from(part(signature).as_slice()).unwrap();
    VerifyingKey::<Sha256>::new(public).verify(message.as_bytes(), &signature).unwrap();
    let jwks = iam.call_as("", Method::GET, "/oauth2/v3/certs", None).await.ok();
    assert_eq!(jwks["keys"][0]["kid"], kid);
}

async fn skew() {
    let (iam, _, file) = with_key(&["--enable-fault-api"]).await;
    for (offset, good) in [("4m", true), ("-4m", true), ("-6m", false), ("2h", false)] {
        iam.put("/settings", json!({"clockOffset": offset})).await.ok();
        let answer = iam.exchange(&file).await;
        if good {
            answer.ok();
        } else {
            answer.oauth_error(400, "invalid_grant", "Invalid JWT: Token must be a short-lived token");
        }
    }
    iam.put("/settings", json!({"clockOffset": "0s"})).await.ok();
    iam.exchange(&file).await.ok();
}

async fn activation() {
    let (iam, _, file) = with_key(&["--enable-fault-api", "--key-activation-delay", "1h"]).await;
    iam.exchange(&iam.admin()).await.ok();
    let early = iam.exchange(&file).await;
    early.oauth_error(400, "invalid_grant", "Invalid JWT Signature.");
    assert_eq!(iam.get("/settings").await.ok()["keyActivationDelay"], "1h");
    iam.put("/settings", json!({"keyActivationDelay": "0s"})).await.ok();
    iam.exchange(&file).await.ok();
    iam.put("/settings", json!({"keyActivationDelay": "2h"})).await.ok();
    let (_, later) = iam.key(&email("billing")).await;
    iam.exchange(&later).await.oauth_error(400, "invalid_grant", "Invalid JWT Signature.");
    // The admin key was there before: raising the delay takes nothing from it.
    iam.exchange(&iam.admin()).await.ok();
    for bad in [json!({"keyActivationDelay": "-1s"}), json!({"clockOffset": "x"}), json!({"other": 1})] {
        iam.put("/settings", bad).await.error(400, "INVALID_ARGUMENT");
    }
}

async fn disabled_account() {
    let (iam, _, file) = with_key(&[]).await;
    let path = account_path(&email("billing"));
    iam.post(&format!("{path}:disable"), json!({})).await.ok();
    iam.exchange(&file).await.oauth_error(400, "invalid_grant", "Invalid grant: account not found");
    iam.post(&format!("{path}:enable"), json!({})).await.ok();
    iam.exchange(&file).await.ok();
}

async fn paths() {
    let (iam, _, file) = with_key(&[]).await;
    for path in ["/token", "/o/oauth2/token", "/oauth2/v4/token"] {
        let token = assertion(&file, &format!("{}{path}", iam.url));
        let form = [("grant_type", JWT_BEARER), ("assertion", token.as_str())];
        let sent = reqwest::Client::new().post(format!("{}{path}", iam.url)).form(&form).send().await;
        assert_eq!(sent.unwrap().status(), 200, "{path}");
    }
}

async fn unauthenticated() {
    let (iam, _, file) = with_key(&[]).await;
    let path = "/v1/projects/p1/serviceAccounts";
    let stranger = RsaKeyPair::generate_2048().unwrap();
    let forged = GoogleCredentials::new(iam.admin().fields().clone(), stranger.to_pkcs8_pem().unwrap());
    let forged = jwt(&forged, &header(&forged), &with(&forged, &json!({"aud": null})));
    let unsigned = jwt(&file, &json!({"alg": "none"}), &with(&file, &json!({"aud": null})));
    for bearer in ["", "nonsense", "a.b.c", forged.as_str(), unsigned.as_str()] {
        let answer = iam.call_as(bearer, Method::GET, path, None).await;
        assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
        answer.error(401, "UNAUTHENTICATED");
    }
}

async fn forbidden() {
    let (iam, _, file) = with_key(&[]).await;
    let opaque = iam.exchange(&file).await.ok()["access_token"].as_str().unwrap().to_owned();
    let signed = jwt(&file, &header(&file), &with(&file, &json!({"aud": null})));
    let keys = keys_path(&email("billing"));
    for bearer in [opaque, signed] {
        for (method, path, permission) in [
            (Method::GET, "/v1/projects/p1/serviceAccounts", "iam.serviceAccounts.list"),
            (Method::POST, keys.as_str(), "iam.serviceAccountKeys.create"),
            (Method::GET, keys.as_str(), "iam.serviceAccountKeys.list"),
        ] {
            let error = iam.call_as(&bearer, method, path, None).await.error(403, "PERMISSION_DENIED");
            let detail = &error["details"][0];
            assert_eq!(detail["reason"], "IAM_PERMISSION_DENIED");
            assert_eq!(detail["metadata"]["permission"], permission);
        }
    }
    let kept = iam.get(&list_path(&email("billing"))).await.ok();
    assert_eq!(kept["keys"].as_array().unwrap().len(), 1, "nothing was made");
}

async fn scopes() {
    let iam = Iam::start(&[]);
    let admin = iam.admin();
    let path = "/v1/projects/p1/serviceAccounts";
    for (scope, good) in [
        ("https://www.googleapis.com/auth/iam", true),
        ("https://www.googleapis.com/auth/earthengine https://www.googleapis.com/auth/cloud-platform", true),
        ("https://www.googleapis.com/auth/earthengine", false),
    ] {
        let granted = ask(&iam, &admin, json!({"scope": scope})).await.ok();
        let signed = jwt(&admin, &header(&admin), &with(&admin, &json!({"scope": scope, "aud": null})));
        for bearer in [granted["access_token"].as_str().unwrap(), &signed] {
            let answer = iam.call_as(bearer, Method::GET, path, None).await;
            if good {
                answer.ok();
            } else {
                let error = answer.error(403, "PERMISSION_DENIED");
                assert_eq!(error["details"][0]["reason"], "ACCESS_TOKEN_SCOPE_INSUFFICIENT");
            }
        }
    }
}

async fn self_signed() {
    let iam = Iam::start(&[]);
    let admin = iam.admin();
    let path = "/v1/projects/p1/serviceAccounts";
    let call = async |claims: Value| {
        iam.call_as(&jwt(&admin, &header(&admin), &claims), Method::GET, path, None).await
    };
    let email = admin.client_email();
    // As Google's Rust client makes them: a scope, no audience, and both ends stretched by 10 s.
    let rust = json!({"iss": email, "sub": email, "aud": null, "scope": CLOUD_PLATFORM, "iat": now() - 10,
        "exp": now() + 3610});
    call(rust).await.ok();
    for aud in ["https://iam.googleapis.com/", iam.url.as_str()] {
        call(with(&admin, &json!({"scope": null, "aud": aud}))).await.ok();
    }
    for bad in [
        json!({"aud": "https://storage.googleapis.com/"}),
        json!({"aud": GOOGLE_TOKEN_URL}),
        json!({"aud": null, "scope": null}),
        json!({"aud": null, "sub": "boss@example.com"}),
        json!({"aud": null, "exp": now() + 7200}),
        json!({"aud": null, "iat": now() - 4000, "exp": now() - 400}),
    ] {
        call(with(&admin, &bad)).await.error(401, "UNAUTHENTICATED");
    }
}

async fn self_signed_dies() {
    let iam = Iam::start(&[]);
    let path = account_path(&email("keywheel-admin"));
    // The administrator's second key: with the first one it is put to death.
    let (key, second) = iam.key(&email("keywheel-admin")).await;
    let signed = jwt(&second, &header(&second), &with(&second, &json!({"aud": null})));
    let get = async || iam.call_as(&signed, Method::GET, &path, None).await;
    get().await.ok();
    iam.post(&format!("{}:disable", key_path(&key)), json!({})).await.ok();
    get().await.error(401, "UNAUTHENTICATED");
    iam.post(&format!("{}:enable", key_path(&key)), json!({})).await.ok();
    get().await.ok();
    iam.delete(&key_path(&key)).await.ok();
    get().await.error(401, "UNAUTHENTICATED");
}

async fn opaque() {
    let (iam, key, file) = with_key(&[]).await;
    let bearer = iam.exchange(&file).await.ok()["access_token"].as_str().unwrap().to_owned();
    let path = account_path(&email("billing"));
    // The account may do nothing, but 403 says that it was recognised.
    let known = async || iam.call_as(&bearer, Method::GET, &path, None).await.status == 403;
    iam.delete(&key_path(&key)).await.ok();
    assert!(known().await, "the token lives on without its key");
    iam.post(&format!("{path}:disable"), json!({})).await.ok();
    assert!(!known().await, "not with a disabled account");
    iam.post(&format!("{path}:enable"), json!({})).await.ok();
    assert!(known().await);
    iam.delete(&path).await.ok();
    assert!(!known().await, "not with a deleted account");
    iam.account("billing").await;
    assert!(!known().await, "and not with its successor");
}

async fn opaque_ends() {
    let iam = Iam::start(&["--enable-fault-api"]);
    let bearer = iam.bearer().await.to_owned();
    let path = account_path(&email("keywheel-admin"));
    let get = async || iam.call_as(&bearer, Method::GET, &path, None).await;
    iam.put("/settings", json!({"clockOffset": "59m"})).await.ok();
    get().await.ok();
    iam.put("/settings", json!({"clockOffset": "1h"})).await.ok();
    get().await.error(401, "UNAUTHENTICATED");
}
