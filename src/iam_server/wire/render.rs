//! Answers. Fields with their default value are left out, as protobuf's JSON does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::enums::{
    DisableReason, EnumEncoding, KeyAlgorithm, KeyOrigin, KeyType, PrivateKeyType, WireEnum as _,
};
use crate::credential::SecretBytes;
use crate::iam_server::keys::FileForm;
use crate::iam_server::model::{Account, Key, KeySize, Origin};

fn set(fields: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    fields.insert(name.to_owned(), value.into());
}

fn set_text(fields: &mut Map<String, Value>, name: &str, text: &str) {
    if !text.is_empty() {
        set(fields, name, text);
    }
}

/// A `ServiceAccount`.
pub fn account(account: &Account) -> Value {
    let mut fields = Map::new();
    set(&mut fields, "name", account.resource_name());
    set(&mut fields, "projectId", account.project.as_str());
    set(&mut fields, "uniqueId", account.unique_id.as_str());
    set(&mut fields, "email", account.email.as_str());
    set_text(&mut fields, "displayName", &account.display_name);
    set(&mut fields, "etag", STANDARD.encode(account.revision.to_be_bytes()));
    set_text(&mut fields, "description", &account.description);
    set(&mut fields, "oauth2ClientId", account.unique_id.as_str());
    if account.disabled {
        set(&mut fields, "disabled", true);
    }
    Value::Object(fields)
}

/// What `accounts.patch` answers: the name and the fields that were patched, no more.
pub fn patched_account(account: &Account, display_name: bool, description: bool) -> Value {
    let mut fields = Map::new();
    set(&mut fields, "name", account.resource_name());
    if display_name {
        set_text(&mut fields, "displayName", &account.display_name);
    }
    if description {
        set_text(&mut fields, "description", &account.description);
    }
    Value::Object(fields)
}

/// A `ServiceAccountKey` without its halves.
pub fn key(account: &Account, key: &Key, encoding: EnumEncoding) -> Map<String, Value> {
    let mut fields = Map::new();
    set(&mut fields, "name", format!("{}/keys/{}", account.resource_name(), key.id));
    let algorithm = match key.size {
        KeySize::Rsa1024 => KeyAlgorithm::Rsa1024,
        KeySize::Rsa2048 => KeyAlgorithm::Rsa2048,
    };
    set(&mut fields, "keyAlgorithm", algorithm.encode(encoding));
    let origin = match key.origin {
        Origin::Server => KeyOrigin::GoogleProvided,
        Origin::User => KeyOrigin::UserProvided,
    };
    set(&mut fields, "keyOrigin", origin.encode(encoding));
    let kind = if key.system { KeyType::SystemManaged } else { KeyType::UserManaged };
    set(&mut fields, "keyType", kind.encode(encoding));
    set(&mut fields, "validAfterTime", key.not_before.to_string());
    set(&mut fields, "validBeforeTime", key.not_after.to_string());
    if key.disabled {
        set(&mut fields, "disabled", true);
        set(&mut fields, "disableReason", DisableReason::UserInitiated.encode(encoding));
    }
    fields
}

/// A `ServiceAccountKey` with its private half: the only answer that ever has it.
pub fn created_key(
    account: &Account,
    made: &Key,
    form: FileForm,
    file: &SecretBytes,
    encoding: EnumEncoding,
) -> Value {
    let mut fields = key(account, made, encoding);
    let form = match form {
        FileForm::Google => PrivateKeyType::GoogleCredentials,
        FileForm::Pkcs12 => PrivateKeyType::Pkcs12,
    };
    set(&mut fields, "privateKeyType", form.encode(encoding));
    set(&mut fields, "privateKeyData", STANDARD.encode(file.expose()));
    Value::Object(fields)
}

/// A `ServiceAccountKey` with its public half.
pub fn key_with_public_data(account: &Account, found: &Key, data: &str, encoding: EnumEncoding) -> Value {
    let mut fields = key(account, found, encoding);
    set(&mut fields, "publicKeyData", STANDARD.encode(data));
    Value::Object(fields)
}
