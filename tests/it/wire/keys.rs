//! The methods of keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keywheel::credential::{
    Expiry, GOOGLE_PKCS12_PASSWORD, RsaKeyPair, parse_certificate, read_pkcs12, self_signed, sign_jwt,
};
use libtest_mimic::Trial;
use reqwest::Method;
use rsa::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePublicKey as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{RsaPrivateKey, RsaPublicKey};
use serde_json::{Value, json};

use super::iam::{Iam, account_path, email, file_in, jwt, key_path, keys_path, list_path, now};
use super::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("keys::a_key_is_real_and_its_file_points_at_the_server", made),
        trial("keys::create_never_deduplicates", no_deduplication),
        trial("keys::enums_are_names_or_numbers_both_ways", enums),
        trial("keys::lists_are_filtered_by_type", filter),
        trial("keys::public_data_only_on_get_and_when_asked", public_data),
        trial("keys::the_limit_in_modern_words", modern_limit),
        trial("keys::the_limit_in_legacy_words", legacy_limit),
        trial("keys::disable_and_enable_show_and_are_idempotent", disable),
        trial("keys::a_deleted_key_is_missing", delete),
        trial("keys::an_attempt_in_the_user_agent_names_its_key", attempts),
        trial("keys::missing_keys_and_accounts_are_told_apart", missing),
        trial("keys::an_uploaded_certificate_becomes_a_key", upload),
        trial("keys::bad_uploads_are_refused", bad_uploads),
        trial("keys::pkcs12_files_and_1024_bits", pkcs12_and_1024),
        trial("keys::those_of_the_system_are_shown_and_left_alone", system_managed),
        trial("keys::lists_can_be_late", late_in_lists),
        trial("keys::an_external_url_is_in_the_files", external_url),
    ]
}

async fn with_account() -> (Iam, String) {
    let iam = Iam::start(&[]);
    iam.account("billing").await;
    (iam, email("billing"))
}

async fn made() {
    let (iam, address) = with_account().await;
    let before = Timestamp::now();
    let (key, file) = iam.key(&address).await;
    let id = file.private_key_id();
    assert!(id.len() == 40 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{id}");
    assert_eq!(key["name"], format!("projects/p1/serviceAccounts/{address}/keys/{id}"));
    assert_eq!(key["keyAlgorithm"], "KEY_ALG_RSA_2048");
    assert_eq!(key["keyOrigin"], "GOOGLE_PROVIDED");
    assert_eq!(key["keyType"], "USER_MANAGED");
    assert_eq!(key["privateKeyType"], "TYPE_GOOGLE_CREDENTIALS_FILE");
    assert_eq!(key["validBeforeTime"], "9999-12-31T23:59:59Z");
    let from = key["validAfterTime"].as_str().unwrap();
    assert_eq!(from.len(), "2026-11-22T10:00:00Z".len(), "whole seconds: {from}");
    let age = before.duration_since(from.parse().unwrap()).as_secs();
    assert!((-5..=2).contains(&age), "{from}");

    let private = RsaPrivateKey::from_pkcs8_pem(file.private_key_pem().expose_str().unwrap()).unwrap();
    assert_eq!(private.size(), 256);
    private.validate().unwrap();
    let account = iam.get(&account_path(&address)).await.ok();
    let fields = file.fields();
    assert_eq!(fields.project_id, "p1");
    assert_eq!(fields.client_email, address);
    assert_eq!(account["oauth2ClientId"], fields.client_id.as_str());
    assert_eq!(fields.token_uri, format!("{}/token", iam.url));
    assert_eq!(fields.auth_uri, format!("{}/o/oauth2/auth", iam.url));
    assert_eq!(fields.auth_provider_x509_cert_url, format!("{}/oauth2/v1/certs", iam.url));
    let certificates = format!("{}/robot/v1/metadata/x509/{}", iam.url, address.replace('@', "%40"));
    assert_eq!(fields.client_x509_cert_url, certificates);
    assert_eq!(fields.universe_domain, "googleapis.com");
}

async fn no_deduplication() {
    let (iam, address) = with_account().await;
    let (one, _) = iam.key(&address).await;
    let (two, _) = iam.key(&address).await;
    assert_ne!(one["name"], two["name"]);
    assert_eq!(iam.get(&list_path(&address)).await.ok()["keys"].as_array().unwrap().len(), 2);
}

async fn enums() {
    let (iam, address) = with_account().await;
    let path = format!("{}?%24alt=json%3Benum-encoding%3Dint", keys_path(&address));
    let key = iam.post(&path, json!({"privateKeyType": 2, "keyAlgorithm": 2})).await.ok();
    assert_eq!(key["privateKeyType"], 2);
    assert_eq!(key["keyAlgorithm"], 2);
    assert_eq!(key["keyOrigin"], 2);
    assert_eq!(key["keyType"], 1);
    let names = json!({"privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE", "keyAlgorithm": "KEY_ALG_RSA_2048"});
    let key = iam.post(&keys_path(&address), names).await.ok();
    assert_eq!(key["keyAlgorithm"], "KEY_ALG_RSA_2048");
    for bad in
        [json!({"keyAlgorithm": 9}), json!({"privateKeyType": "TYPE_CUNEIFORM"}), json!({"size": 2048})]
    {
        iam.post(&keys_path(&address), bad).await.error(400, "INVALID_ARGUMENT");
    }
}

async fn filter() {
    let (iam, address) = with_account().await;
    iam.key(&address).await;
    let path = keys_path(&address);
    for (query, count) in [
        ("", 2),
        ("?keyTypes=USER_MANAGED", 1),
        ("?keyTypes=1", 1),
        ("?keyTypes=2", 1),
        ("?keyTypes=SYSTEM_MANAGED", 1),
        ("?keyTypes=1&keyTypes=SYSTEM_MANAGED", 2),
    ] {
        let answer = iam.get(&format!("{path}{query}")).await.ok();
        let keys = answer.get("keys").and_then(Value::as_array).map_or(0, Vec::len);
        assert_eq!(keys, count, "{query}");
    }
    for bad in
        ["keyTypes=KEY_TYPE_UNSPECIFIED", "keyTypes=0", "keyTypes=1&keyTypes=USER_MANAGED", "keyTypes=x"]
    {
        iam.get(&format!("{path}?{bad}")).await.error(400, "INVALID_ARGUMENT");
    }
}

async fn public_data() {
    let (iam, address) = with_account().await;
    let (made, file) = iam.key(&address).await;
    let private = RsaPrivateKey::from_pkcs8_pem(file.private_key_pem().expose_str().unwrap()).unwrap();
    let spki = private.to_public_key().to_public_key_der().unwrap();
    let path = key_path(&made);
    let listed = iam.get(&list_path(&address)).await.ok()["keys"][0].clone();
    let shown = iam.get(&path).await.ok();
    assert_eq!(shown, listed);
    for absent in ["privateKeyData", "privateKeyType", "publicKeyData", "disabled"] {
        assert!(shown.get(absent).is_none(), "{shown}");
    }
    let data = async |form: &str| {
        let answer = iam.get(&format!("{path}?publicKeyType={form}")).await.ok();
        let data = answer["publicKeyData"].as_str().map(|data| STANDARD.decode(data).unwrap());
        data.map(|data| String::from_utf8(data).unwrap())
    };
    assert_eq!(data("TYPE_NONE").await, None);
    for form in ["TYPE_X509_PEM_FILE", "1"] {
        let certificate = parse_certificate(data(form).await.unwrap().as_bytes()).unwrap();
        assert_eq!(certificate.spki_der, spki.as_bytes());
        assert_eq!(certificate.not_after, Expiry::Never);
        assert_eq!(certificate.not_before.to_string(), shown["validAfterTime"].as_str().unwrap());
    }
    for form in ["TYPE_RAW_PUBLIC_KEY", "2"] {
        let pem = data(form).await.unwrap();
        assert_eq!(pem, private.to_public_key().to_public_key_pem(rsa::pkcs8::LineEnding::LF).unwrap());
    }
    iam.get(&format!("{path}?publicKeyType=3")).await.error(400, "INVALID_ARGUMENT");
}

async fn fill(iam: &Iam, address: &str, limit: usize) -> Value {
    iam.account("billing").await;
    let mut last = Value::Null;
    for _ in 0..limit {
        last = iam.key(address).await.0;
    }
    last
}

async fn modern_limit() {
    let iam = Iam::start(&[]);
    let address = email("billing");
    let last = fill(&iam, &address, 10).await;
    let error = iam.post(&keys_path(&address), json!({})).await.error(400, "FAILED_PRECONDITION");
    assert_eq!(error["message"], "Precondition check failed.");
    assert!(error.get("details").is_none(), "{error}");
    let upload =
        json!({"publicKeyData": STANDARD.encode(certificate(&RsaKeyPair::generate_2048().unwrap()))});
    let path = format!("{}:upload", keys_path(&address));
    iam.post(&path, upload.clone()).await.error(400, "FAILED_PRECONDITION");
    // Disabled keys count, deleted ones do not.
    iam.post(&format!("{}:disable", key_path(&last)), json!({})).await.ok();
    iam.post(&path, upload.clone()).await.error(400, "FAILED_PRECONDITION");
    iam.delete(&key_path(&last)).await.ok();
    iam.post(&path, upload).await.ok();
}

async fn legacy_limit() {
    let iam = Iam::start(&["--key-limit", "2", "--key-limit-error", "legacy"]);
    let address = email("billing");
    fill(&iam, &address, 2).await;
    let error = iam.post(&keys_path(&address), json!({})).await.error(429, "RESOURCE_EXHAUSTED");
    assert_eq!(error["message"], "Maximum number of keys on account reached.");
    assert_eq!(error["details"][0]["@type"], "type.googleapis.com/google.rpc.RetryInfo");
    assert_eq!(error["details"][0]["retryDelay"], "86401s");
}

async fn disable() {
    let (iam, address) = with_account().await;
    let (key, file) = iam.key(&address).await;
    let path = key_path(&key);
    iam.exchange(&file).await.ok();
    for _ in 0..2 {
        assert_eq!(iam.post(&format!("{path}:disable"), json!({})).await.ok(), json!({}));
        let shown = iam.get(&path).await.ok();
        assert_eq!(shown["disabled"], true);
        assert_eq!(shown["disableReason"], "SERVICE_ACCOUNT_KEY_DISABLE_REASON_USER_INITIATED");
        iam.exchange(&file).await.oauth_error(400, "invalid_grant", "Invalid JWT Signature.");
    }
    for _ in 0..2 {
        assert_eq!(iam.call(Method::POST, &format!("{path}:enable"), None).await.ok(), json!({}));
        let shown = iam.get(&path).await.ok();
        assert!(shown.get("disabled").is_none() && shown.get("disableReason").is_none(), "{shown}");
        iam.exchange(&file).await.ok();
    }
    let body = json!({"serviceAccountKeyDisableReason": 1});
    iam.post(&format!("{path}:disable"), body).await.ok();
    let body = json!({"serviceAccountKeyDisableReason": "SERVICE_ACCOUNT_KEY_DISABLE_REASON_EXPOSED"});
    iam.post(&format!("{path}:disable"), body).await.error(400, "INVALID_ARGUMENT");
}

async fn delete() {
    let (iam, address) = with_account().await;
    let (key, file) = iam.key(&address).await;
    let path = key_path(&key);
    assert_eq!(iam.delete(&path).await.ok(), json!({}));
    let error = iam.delete(&path).await.error(404, "NOT_FOUND");
    assert_eq!(error["message"], "Unknown service account key");
    iam.get(&path).await.error(404, "NOT_FOUND");
    assert_eq!(iam.get(&list_path(&address)).await.ok(), json!({}));
    iam.exchange(&file).await.oauth_error(400, "invalid_grant", "Invalid JWT Signature.");
}

async fn attempts() {
    let (iam, address) = (Iam::start(&["--enable-fault-api"]), email("billing"));
    iam.account("billing").await;
    let of = |nonce: &str| format!("/keywheel/v1/attempts/{nonce}");
    let agent = "keywheel/1 attempt/8s8y9xazuq";
    // Also when its answer is lost: that is what it is for.
    let fault = json!({"operation": "keys.create", "action": "apply_then_drop"});
    iam.put("/faults", fault).await.ok();
    let dropped = iam.post_from(agent, &keys_path(&address), json!({})).await;
    assert!(dropped.is_err(), "the answer arrived");
    let key = iam.get(&of("8s8y9xazuq")).await.ok();
    let listed = iam.get(&list_path(&address)).await.ok();
    assert_eq!((&listed["keys"][0]["name"], listed["keys"].as_array().unwrap().len()), (&key["name"], 1));

    let pair = RsaKeyPair::generate_2048().unwrap();
    let certificate =
        self_signed(&pair, "up", Timestamp::from_second(now()).unwrap(), Expiry::Never).unwrap();
    let body = json!({"publicKeyData": STANDARD.encode(certificate)});
    let uploading = format!("{}:upload", keys_path(&address));
    let uploaded = iam.post_from("keywheel/1 attempt/up", &uploading, body).await.unwrap().ok();

    let iam = iam.kill_and_restart();
    assert_eq!(iam.get(&of("up")).await.ok()["name"], uploaded["name"]);
    iam.delete(&key_path(&key)).await.ok();
    iam.get(&of("8s8y9xazuq")).await.error(404, "NOT_FOUND");
    iam.get(&of("unheard")).await.error(404, "NOT_FOUND");
    let nobody = iam.call_as("", Method::GET, &of("up"), None).await;
    nobody.error(401, "UNAUTHENTICATED");
}

async fn missing() {
    let (iam, address) = with_account().await;
    let id = "0".repeat(40);
    for verb in ["disable", "enable"] {
        let path = format!("{}/{id}:{verb}", keys_path(&address));
        let error = iam.post(&path, json!({})).await.error(404, "NOT_FOUND");
        assert_eq!(error["message"], "Unknown service account key");
    }
    let nobody = keys_path(&email("nobody"));
    for error in [
        iam.get(&nobody).await.error(404, "NOT_FOUND"),
        iam.post(&nobody, json!({})).await.error(404, "NOT_FOUND"),
        iam.delete(&format!("{nobody}/{id}")).await.error(404, "NOT_FOUND"),
    ] {
        assert_eq!(error["message"], "Unknown service account");
    }
    let wildcard = format!("/v1/projects/-/serviceAccounts/{}/keys", email("nobody"));
    let error = iam.post(&wildcard, json!({})).await.error(403, "PERMISSION_DENIED");
    assert_eq!(error["details"][0]["metadata"]["permission"], "iam.serviceAccountKeys.create");
    // With the project left open, a key that exists answers, under its real name.
    let (key, _) = iam.key(&address).await;
    let id = key["name"].as_str().unwrap().rsplit_once('/').unwrap().1.to_owned();
    let shown = iam.get(&format!("/v1/projects/-/serviceAccounts/{address}/keys/{id}")).await.ok();
    assert_eq!(shown["name"], key["name"]);
}

fn certificate(pair: &RsaKeyPair) -> String {
    let now = Timestamp::now();
    self_signed(pair, "unused", now, now + jiff::SignedDuration::from_hours(24)).unwrap()
}

async fn upload() {
    let (iam, address) = with_account().await;
    let pair = RsaKeyPair::generate_2048().unwrap();
    let pem = certificate(&pair);
    let path = format!("{}:upload", keys_path(&address));
    let key = iam.post(&path, json!({"publicKeyData": STANDARD.encode(&pem)})).await.ok();
    assert_eq!(key["keyOrigin"], "USER_PROVIDED");
    assert_eq!(key["keyType"], "USER_MANAGED");
    assert!(key.get("privateKeyData").is_none());
    let parsed = parse_certificate(pem.as_bytes()).unwrap();
    assert_eq!(key["validAfterTime"], parsed.not_before.to_string());
    assert_eq!(key["validBeforeTime"], parsed.not_after.to_string());
    let shown = iam.get(&format!("{}?publicKeyType=1", key_path(&key))).await.ok();
    assert_eq!(shown["publicKeyData"], STANDARD.encode(&pem));

    // The pair signs in with the id that the server chose.
    let id = key["name"].as_str().unwrap().rsplit_once('/').unwrap().1;
    let token = keywheel::credential::bearer_assertion(
        &pair,
        id,
        &address,
        super::iam::GOOGLE_TOKEN_URL,
        super::iam::CLOUD_PLATFORM,
        Timestamp::now(),
        std::time::Duration::from_mins(10),
    );
    iam.token_request(super::iam::JWT_BEARER, token.unwrap().expose_str().unwrap()).await.ok();

    // A certificate that has ended makes a key that does not sign in.
    let ended = self_signed(
        &pair,
        "unused",
        Timestamp::from_second(now() - 7200).unwrap(),
        Timestamp::from_second(now() - 3600).unwrap(),
    );
    let body = json!({"publicKeyData": STANDARD.encode(ended.unwrap())});
    let ended = iam.post(&path, body).await.ok();
    let id = ended["name"].as_str().unwrap().rsplit_once('/').unwrap().1;
    let fields = keywheel::credential::GoogleFileFields {
        private_key_id: id.to_owned(),
        client_email: address.clone(),
        ..Default::default()
    };
    let file = keywheel::credential::GoogleCredentials::new(fields, pair.to_pkcs8_pem().unwrap());
    iam.exchange(&file).await.oauth_error(400, "invalid_grant", "Invalid JWT Signature.");
}

async fn bad_uploads() {
    let (iam, address) = with_account().await;
    let path = format!("{}:upload", keys_path(&address));
    let pair = RsaKeyPair::generate_2048().unwrap();
    let elliptic = rcgen::CertificateParams::default().self_signed(&rcgen::KeyPair::generate().unwrap());
    let good = STANDARD.encode(certificate(&pair));
    for bad in [
        json!({}),
        json!({"publicKeyData": ""}),
        json!({"publicKeyData": "not base64!"}),
        json!({"publicKeyData": good.trim_end_matches('=').to_owned() + "*"}),
        json!({"publicKeyData": STANDARD.encode("no certificate")}),
        json!({"publicKeyData": STANDARD.encode(pair.public_pem())}),
        json!({"publicKeyData": STANDARD.encode(elliptic.unwrap().pem())}),
    ] {
        iam.post(&path, bad).await.error(400, "INVALID_ARGUMENT");
    }
    assert_eq!(iam.get(&list_path(&address)).await.ok(), json!({}));
}

/// The other form of file and the other size: what is handed out signs, and is shown as what it is.
async fn pkcs12_and_1024() {
    let (iam, address) = with_account().await;
    for (asked, algorithm, bits) in [
        (json!({"privateKeyType": "TYPE_PKCS12_FILE"}), "KEY_ALG_RSA_2048", 2048),
        (json!({"privateKeyType": 1, "keyAlgorithm": 1}), "KEY_ALG_RSA_1024", 1024),
    ] {
        let made = iam.post(&keys_path(&address), asked).await.ok();
        assert_eq!(
            (&made["privateKeyType"], &made["keyAlgorithm"]),
            (&json!("TYPE_PKCS12_FILE"), &json!(algorithm))
        );
        let pair = read_pkcs12(&file_in(&made), GOOGLE_PKCS12_PASSWORD).unwrap();
        let shown = iam.get(&format!("{}?publicKeyType=TYPE_RAW_PUBLIC_KEY", key_path(&made))).await.ok();
        let public = STANDARD.decode(shown["publicKeyData"].as_str().unwrap()).unwrap();
        assert_eq!(String::from_utf8(public).unwrap(), pair.public_pem());
        let public = RsaPublicKey::from_public_key_pem(&pair.public_pem()).unwrap();
        assert_eq!(public.n().bits(), bits);
        // Such a file names no key: its tokens have no kid.
        let claims = json!({"iss": address, "scope": "s", "aud": "https://oauth2.googleapis.com/token",
            "iat": now(), "exp": now() + 60});
        let token = sign_jwt(&pair, "", &claims).unwrap();
        iam.token_request(super::iam::JWT_BEARER, token.expose_str().unwrap()).await.ok();
    }
}

/// Keys of the server's own: listed when asked for, among the public keys, counted and changed by nobody.
async fn system_managed() {
    let iam = Iam::start(&["--key-limit", "1"]);
    iam.account("billing").await;
    let address = email("billing");
    let (key, _) = iam.key(&address).await;
    let all = iam.get(&keys_path(&address)).await.ok();
    let all = all["keys"].as_array().unwrap();
    assert_eq!(all.len(), 2);
    let own = iam.get(&format!("{}?keyTypes=SYSTEM_MANAGED", keys_path(&address))).await.ok();
    let own = &own["keys"].as_array().unwrap()[0];
    assert_eq!((&own["keyType"], &own["keyOrigin"]), (&json!("SYSTEM_MANAGED"), &json!("GOOGLE_PROVIDED")));
    assert!(all.contains(own));
    let users = iam.get(&list_path(&address)).await.ok();
    assert_eq!(users["keys"].as_array().unwrap().len(), 1);
    iam.post(&format!("{}:disable", key_path(own)), json!({})).await.error(400, "FAILED_PRECONDITION");
    iam.delete(&key_path(own)).await.error(400, "FAILED_PRECONDITION");
    iam.delete(&key_path(&key)).await.ok();
    iam.key(&address).await;
}

async fn late_in_lists() {
    let iam = Iam::start(&["--enable-fault-api", "--key-list-delay", "1m"]);
    iam.account("billing").await;
    let (key, _) = iam.key(&email("billing")).await;
    let list = list_path(&email("billing"));
    assert_eq!(iam.get(&list).await.ok(), json!({}));
    iam.get(&key_path(&key)).await.ok();
    iam.put("/settings", json!({"clockOffset": "1m"})).await.ok();
    assert_eq!(iam.get(&list).await.ok()["keys"].as_array().unwrap().len(), 1);
}

async fn external_url() {
    let iam = Iam::start(&["--external-url", "http://iam.example:8085/"]);
    iam.account("billing").await;
    let answer = iam.post(&keys_path(&email("billing")), json!({})).await;
    // The login of these tests itself went to an address that the server does not call its own.
    let file = keywheel::credential::GoogleCredentials::parse(&file_in(&answer.ok())).unwrap();
    assert_eq!(file.token_uri(), "http://iam.example:8085/token");
    let claims = json!({"iss": file.client_email(), "scope": "s", "aud": "http://iam.example:8085/token",
        "iat": now(), "exp": now() + 60});
    let token = jwt(&file, &json!({"alg": "RS256"}), &claims);
    iam.token_request(super::iam::JWT_BEARER, &token).await.ok();
}
