//! Google's own Rust client, unmodified, with a credential that the server wrote.

use google_cloud_auth::credentials::{Credentials, service_account};
use google_cloud_gax::error::rpc::{Code, StatusDetails};
use google_cloud_gax::options::RequestOptionsBuilder as _;
use google_cloud_gax::paginator::ItemPaginator as _;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_iam_admin_v1::client::Iam as Client;
use google_cloud_iam_admin_v1::model::list_service_account_keys_request::KeyType;
use google_cloud_iam_admin_v1::model::{
    ServiceAccount, ServiceAccountKeyAlgorithm, ServiceAccountKeyOrigin, ServiceAccountPrivateKeyType,
    ServiceAccountPublicKeyType,
};
use google_cloud_wkt::FieldMask;
use jiff::Timestamp;
use keywheel::credential::{
    Expiry, GoogleCredentials, RsaKeyPair, SecretBytes, parse_certificate, self_signed,
};
use libtest_mimic::Trial;
use serde_json::json;

use super::iam::{Iam, email};
use super::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("rust_client::an_account_lives_through_all_methods", account),
        trial("rust_client::a_key_lives_through_all_methods", key),
        trial("rust_client::errors_arrive_typed", errors),
        trial("rust_client::a_lost_answer_is_no_status", lost_answer),
    ]
}

fn credentials(file: &SecretBytes) -> Credentials {
    service_account::Builder::new(serde_json::from_slice(file.expose()).unwrap()).build().unwrap()
}

async fn client(iam: &Iam) -> Client {
    let admin = iam.admin().render().unwrap();
    Client::builder()
        .with_endpoint(iam.url.clone())
        .with_credentials(credentials(&admin))
        .with_retry_policy(NeverRetry)
        .build()
        .await
        .unwrap()
}

fn name(id: &str) -> String {
    format!("projects/p1/serviceAccounts/{}", email(id))
}

async fn account() {
    let iam = Iam::start(&[]);
    let client = client(&iam).await;
    let wanted = ServiceAccount::new().set_display_name("Billing").set_description("d");
    let made = client
        .create_service_account()
        .set_name("projects/p1")
        .set_account_id("billing")
        .set_service_account(wanted)
        .send()
        .await
        .unwrap();
    assert_eq!((made.name.as_str(), made.display_name.as_str()), (name("billing").as_str(), "Billing"));
    let got = client.get_service_account().set_name(name("billing")).send().await.unwrap();
    assert_eq!(got, made);
    let mut items = client.list_service_accounts().set_name("projects/p1").set_page_size(1).by_item();
    let mut addresses = Vec::new();
    while let Some(item) = items.next().await {
        addresses.push(item.unwrap().email);
    }
    assert_eq!(addresses, [email("billing"), email("keywheel-admin")]);
    let patched = client
        .patch_service_account()
        .set_service_account(made.clone().set_display_name("New"))
        .set_update_mask(FieldMask::default().set_paths(["display_name"]))
        .send()
        .await
        .unwrap();
    assert_eq!((patched.display_name.as_str(), patched.email.as_str()), ("New", ""), "a partial reply");
    client.disable_service_account().set_name(name("billing")).send().await.unwrap();
    assert!(client.get_service_account().set_name(name("billing")).send().await.unwrap().disabled);
    client.enable_service_account().set_name(name("billing")).send().await.unwrap();
    client.delete_service_account().set_name(name("billing")).send().await.unwrap();
    let by_id = format!("projects/p1/serviceAccounts/{}", made.unique_id);
    let restored = client.undelete_service_account().set_name(by_id).send().await.unwrap();
    assert_eq!(restored.restored_account.unwrap().unique_id, made.unique_id);
    // All of it with self-signed tokens: this client never asks the token endpoint.
    assert!(iam.requests().iter().all(|entry| entry["auth"] == "self_signed_jwt"));
}

async fn key() {
    let iam = Iam::start(&[]);
    iam.account("billing").await;
    let client = client(&iam).await;
    let made = client
        .create_service_account_key()
        .set_name(name("billing"))
        .set_private_key_type(ServiceAccountPrivateKeyType::TypeGoogleCredentialsFile)
        .set_key_algorithm(ServiceAccountKeyAlgorithm::KeyAlgRsa2048)
        .send()
        .await
        .unwrap();
    assert_eq!(made.key_algorithm, ServiceAccountKeyAlgorithm::KeyAlgRsa2048);
    assert_eq!(made.key_origin, ServiceAccountKeyOrigin::GoogleProvided);
    assert_eq!(
        made.valid_before_time.as_ref().map(google_cloud_wkt::Timestamp::seconds),
        Some(253_402_300_799)
    );
    let file = SecretBytes::new(made.private_key_data.to_vec());
    let parsed = GoogleCredentials::parse(&file).unwrap();
    let pair = RsaKeyPair::from_pkcs8_pem(parsed.private_key_pem()).unwrap();
    // The client takes the file, too.
    credentials(&file);

    let shown = client
        .get_service_account_key()
        .set_name(made.name.clone())
        .set_public_key_type(ServiceAccountPublicKeyType::TypeX509PemFile)
        .send()
        .await
        .unwrap();
    assert_eq!(parse_certificate(&shown.public_key_data).unwrap().spki_der, pair.public_spki_der());
    client.disable_service_account_key().set_name(made.name.clone()).send().await.unwrap();
    let list = async || {
        client
            .list_service_account_keys()
            .set_name(name("billing"))
            .set_key_types([KeyType::UserManaged])
            .send()
            .await
            .unwrap()
            .keys
    };
    let keys = list().await;
    assert_eq!((keys.len(), keys[0].disabled), (1, true));
    client.enable_service_account_key().set_name(made.name.clone()).send().await.unwrap();
    let local = RsaKeyPair::generate_2048().unwrap();
    let certificate = self_signed(&local, "unused", Timestamp::now(), Expiry::Never).unwrap();
    let uploaded = client
        .upload_service_account_key()
        .set_name(name("billing"))
        .set_public_key_data(certificate.into_bytes())
        .send()
        .await
        .unwrap();
    assert_eq!(uploaded.key_origin, ServiceAccountKeyOrigin::UserProvided);
    client.delete_service_account_key().set_name(made.name).send().await.unwrap();
    let keys = list().await;
    assert_eq!((keys.len(), keys[0].name.as_str()), (1, uploaded.name.as_str()));
}

async fn errors() {
    let iam = Iam::start(&["--key-limit", "1"]);
    iam.account("billing").await;
    let client = client(&iam).await;
    let error = client
        .create_service_account()
        .set_name("projects/p1")
        .set_account_id("billing")
        .send()
        .await
        .unwrap_err();
    let status = error.status().unwrap();
    assert_eq!(status.code, Code::AlreadyExists);
    let [StatusDetails::ResourceInfo(info)] = status.details.as_slice() else { panic!("{status:?}") };
    assert_eq!(info.resource_name, name("billing"));

    let missing = client.get_service_account().set_name(name("nobody")).send().await.unwrap_err();
    assert_eq!(missing.status().unwrap().code, Code::NotFound);
    let wildcard = format!("projects/-/serviceAccounts/{}", email("nobody"));
    let denied = client.get_service_account().set_name(wildcard).send().await.unwrap_err();
    let status = denied.status().unwrap();
    assert_eq!(status.code, Code::PermissionDenied);
    let [StatusDetails::ErrorInfo(info)] = status.details.as_slice() else { panic!("{status:?}") };
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("IAM_PERMISSION_DENIED", "iam.googleapis.com"));

    let create = async || client.create_service_account_key().set_name(name("billing")).send().await;
    create().await.unwrap();
    let full = create().await.unwrap_err();
    assert_eq!(full.http_status_code(), Some(400));
    let status = full.status().unwrap();
    assert_eq!(status.code, Code::FailedPrecondition);
    assert_eq!(status.message, "Precondition check failed.");
    // The answer has no details; what is here, the client makes up from the legacy `errors`.
    let [StatusDetails::ErrorInfo(info)] = status.details.as_slice() else { panic!("{status:?}") };
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("failedPrecondition", "global"));

    iam.post(&format!("/v1/{}:disable", name("keywheel-admin")), json!({})).await.ok();
    let stranger = create().await.unwrap_err();
    assert_eq!(stranger.status().unwrap().code, Code::Unauthenticated);
}

async fn lost_answer() {
    let iam = Iam::start(&["--enable-fault-api"]);
    iam.account("billing").await;
    let client = client(&iam).await;
    iam.put("/faults", json!({"operation": "keys.create", "action": "apply_then_drop"})).await.ok();
    let error = client
        .create_service_account_key()
        .set_name(name("billing"))
        .with_retry_policy(NeverRetry)
        .send()
        .await
        .unwrap_err();
    assert!(error.status().is_none() && error.http_status_code().is_none(), "{error:?}");
    let keys = client
        .list_service_account_keys()
        .set_name(name("billing"))
        .set_key_types([KeyType::UserManaged])
        .send()
        .await
        .unwrap()
        .keys;
    assert_eq!(keys.len(), 1, "the key is there all the same");
    let creates = iam.requests().iter().filter(|entry| entry["operation"] == "keys.create").count();
    assert_eq!(creates, 1, "the client does not repeat it by itself");
}
