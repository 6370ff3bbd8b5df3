//! The public key endpoints.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keywheel::credential::parse_certificate;
use libtest_mimic::Trial;
use reqwest::Method;
use rsa::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use rsa::{BigUint, RsaPublicKey};
use serde_json::{Value, json};

use super::iam::{Iam, account_path, email, key_path, pair_of};
use super::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("public_keys::all_forms_show_the_same_key", forms),
        trial("public_keys::keys_that_do_not_count_vanish", vanish),
    ]
}

async fn show(iam: &Iam, path: &str) -> super::iam::Answer {
    // Without any credential: verifiers have none.
    iam.call_as("", Method::GET, path, None).await
}

async fn forms() {
    let iam = Iam::start(&[]);
    iam.account("billing").await;
    let (_, file) = iam.key(&email("billing")).await;
    let spki = pair_of(&file).public_spki_der();
    let (address, id) = (email("billing"), file.private_key_id());
    for home in ["/robot/v1/metadata", "/service_accounts/v1/metadata"] {
        let answer = show(&iam, &format!("{home}/x509/{address}")).await;
        assert!(answer.headers["cache-control"].to_str().unwrap().contains("max-age="));
        let x509 = answer.ok();
        // Beside it stands one that the system keeps.
        assert_eq!(x509.as_object().unwrap().len(), 2);
        let certificate = parse_certificate(x509[id].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(certificate.spki_der, spki);
        let raw = show(&iam, &format!("{home}/raw/{}", address.replace('@', "%40"))).await.ok();
        let public = RsaPublicKey::from_public_key_pem(raw[id].as_str().unwrap()).unwrap();
        assert_eq!(public.to_public_key_der().unwrap().as_bytes(), spki);
    }
    for path in ["/robot/v1/metadata/jwk", "/service_accounts/v1/jwk"] {
        let set = show(&iam, &format!("{path}/{address}")).await.ok();
        let jwks = set["keys"].as_array().unwrap();
        assert_eq!(jwks.len(), 2);
        let jwk = jwks.iter().find(|jwk| jwk["kid"] == id).unwrap();
        assert_eq!((&jwk["kty"], &jwk["alg"], &jwk["use"]), (&json!("RSA"), &json!("RS256"), &json!("sig")));
        assert_eq!(jwk["kid"], id);
        let number = |name: &str| {
            BigUint::from_bytes_be(&URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap())
        };
        let public = RsaPublicKey::new(number("n"), number("e")).unwrap();
        assert_eq!(public.to_public_key_der().unwrap().as_bytes(), spki);
    }
    show(&iam, &format!("/robot/v1/metadata/x509/{}", email("nobody"))).await.error(404, "NOT_FOUND");
}

async fn vanish() {
    let iam = Iam::start(&[]);
    iam.account("billing").await;
    let address = email("billing");
    let (one, _) = iam.key(&address).await;
    let (two, _) = iam.key(&address).await;
    let count = async || {
        let x509 = show(&iam, &format!("/robot/v1/metadata/x509/{address}")).await.ok();
        let jwk = show(&iam, &format!("/robot/v1/metadata/jwk/{address}")).await.ok();
        let shown = x509.as_object().unwrap().len();
        assert_eq!(jwk["keys"].as_array().map(Vec::len), Some(shown));
        shown
    };
    assert_eq!(count().await, 3);
    iam.post(&format!("{}:disable", key_path(&one)), json!({})).await.ok();
    assert_eq!(count().await, 2);
    iam.post(&format!("{}:enable", key_path(&one)), json!({})).await.ok();
    assert_eq!(count().await, 3);
    iam.delete(&key_path(&two)).await.ok();
    assert_eq!(count().await, 2);
    iam.post(&format!("{}:disable", account_path(&address)), json!({})).await.ok();
    assert_eq!(count().await, 0);
    iam.delete(&account_path(&address)).await.ok();
    let gone: Value = show(&iam, &format!("/robot/v1/metadata/jwk/{address}")).await.error(404, "NOT_FOUND");
    assert_eq!(gone["message"], "Unknown service account");
}
