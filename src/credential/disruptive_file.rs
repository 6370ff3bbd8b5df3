//! The credential file that the client library of Disruptive Technologies reads (`DT_CREDENTIALS_FILE`).

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::{CredentialError, SecretBytes};

/// The only algorithm that the library signs with.
const ALGORITHM: &str = "HS256";
/// No secret is longer; what is, was never one.
const LONGEST_SECRET: usize = 512;

/// Every field of the file that is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DisruptiveFields {
    /// The key's id.
    pub key_id: String,
    /// The account's e-mail address.
    pub email: String,
    /// The token endpoint that accepts the key's assertions.
    pub token_endpoint: String,
}

/// A credential file. It has no `Debug`, so that the secret cannot be printed by accident.
#[derive(Clone)]
pub struct DisruptiveCredentials {
    fields: DisruptiveFields,
    secret: SecretBytes,
}

/// The file as it is read: everything optional, so that a missing field is named by us.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Incoming {
    service_account: IncomingAccount,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IncomingAccount {
    key_id: Option<String>,
    secret: Option<String>,
    email: Option<String>,
    algorithm: Option<String>,
    token_endpoint: Option<String>,
}

/// The file as it is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outgoing<'a> {
    service_account: OutgoingAccount<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OutgoingAccount<'a> {
    key_id: &'a str,
    secret: &'a str,
    email: &'a str,
    algorithm: &'a str,
    token_endpoint: &'a str,
}

impl DisruptiveCredentials {
    /// Puts a file together.
    pub fn new(fields: DisruptiveFields, secret: SecretBytes) -> Self {
        Self { fields, secret }
    }

    /// Reads a file. Unknown fields are ignored; all that the library needs must be there.
    ///
    /// # Errors
    /// [`CredentialError::DisruptiveFileJson`], [`CredentialError::DisruptiveFileField`],
    /// [`CredentialError::DisruptiveFileAlgorithm`], [`CredentialError::SharedSecret`].
    pub fn parse(file: &SecretBytes) -> Result<Self, CredentialError> {
        let incoming: Incoming = serde_json::from_slice(file.expose()).map_err(|error| {
            CredentialError::DisruptiveFileJson { line: error.line(), column: error.column() }
        })?;
        let account = incoming.service_account;
        // Taken over first, so that every early return overwrites it.
        let secret = account.secret.map(SecretBytes::from);
        match account.algorithm.as_deref() {
            None | Some(ALGORITHM) => {}
            Some(other) => {
                return Err(CredentialError::DisruptiveFileAlgorithm { found: other.to_owned() });
            }
        }
        let secret = secret
            .filter(|secret| !secret.is_empty())
            .ok_or(CredentialError::DisruptiveFileField { field: "secret" })?;
        shared_secret_sha256(&secret)?;
        let fields = DisruptiveFields {
            key_id: needed("keyId", account.key_id)?,
            email: needed("email", account.email)?,
            token_endpoint: needed("tokenEndpoint", account.token_endpoint)?,
        };
        Ok(Self { fields, secret })
    }

    /// The file's bytes: indented JSON, newline at the end. Equal fields give equal bytes.
    ///
    /// # Errors
    /// [`CredentialError::NotUtf8`] if the secret is no text, [`CredentialError::JsonWrite`] otherwise.
    pub fn render(&self) -> Result<SecretBytes, CredentialError> {
        let service_account = OutgoingAccount {
            key_id: &self.fields.key_id,
            secret: self.secret.expose_str()?,
            email: &self.fields.email,
            algorithm: ALGORITHM,
            token_endpoint: &self.fields.token_endpoint,
        };
        // Room for all of it at once: a buffer that grows leaves copies of the secret in freed memory.
        let mut bytes = Vec::with_capacity(4 * 1024 + 2 * self.secret.len());
        serde_json::to_writer_pretty(&mut bytes, &Outgoing { service_account })
            .map_err(|source| CredentialError::JsonWrite { what: "credential file", source })?;
        bytes.push(b'\n');
        Ok(SecretBytes::new(bytes))
    }

    /// Everything but the secret.
    pub fn fields(&self) -> &DisruptiveFields {
        &self.fields
    }

    /// The key's id.
    pub fn key_id(&self) -> &str {
        &self.fields.key_id
    }

    /// The account's e-mail address.
    pub fn email(&self) -> &str {
        &self.fields.email
    }

    /// The token endpoint.
    pub fn token_endpoint(&self) -> &str {
        &self.fields.token_endpoint
    }

    /// What assertions are signed with.
    pub fn secret(&self) -> &SecretBytes {
        &self.secret
    }
}

/// SHA-256 of a shared secret, lower-case hexadecimal: tells two secrets apart and gives none away, for a secret is 128 bits
/// of chance.
///
/// # Errors
/// [`CredentialError::SharedSecret`] for what cannot be one: nothing, more than 512 bytes, or not visible ASCII.
pub fn shared_secret_sha256(secret: &SecretBytes) -> Result<String, CredentialError> {
    let whole = !secret.is_empty()
        && secret.len() <= LONGEST_SECRET
        && secret.expose().iter().all(u8::is_ascii_graphic);
    if !whole {
        return Err(CredentialError::SharedSecret);
    }
    Ok(hex::encode(digest(&SHA256, secret.expose())))
}

fn needed(field: &'static str, value: Option<String>) -> Result<String, CredentialError> {
    value.filter(|text| !text.is_empty()).ok_or(CredentialError::DisruptiveFileField { field })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sample() -> DisruptiveCredentials {
        let fields = DisruptiveFields {
            key_id: "c0ks1v2vfr5g00b5mtqg".to_owned(),
            email: "c0kqf@p1.serviceaccount.d21s.com".to_owned(),
            token_endpoint: "https://identity.disruptive-technologies.com/oauth2/token".to_owned(),
        };
        DisruptiveCredentials::new(fields, SecretBytes::from("5d".repeat(16)))
    }

    fn parse(file: &Value) -> Result<DisruptiveCredentials, CredentialError> {
        DisruptiveCredentials::parse(&SecretBytes::from(file.to_string()))
    }

    fn document() -> Value {
        serde_json::from_slice(sample().render().unwrap().expose()).unwrap()
    }

    #[test]
    fn is_what_the_library_reads_and_reads_itself() {
        let expected = json!({"serviceAccount": {
            "keyId": "c0ks1v2vfr5g00b5mtqg",
            "secret": "5d".repeat(16),
            "email": "c0kqf@p1.serviceaccount.d21s.com",
            "algorithm": "HS256",
            "tokenEndpoint": "https://identity.disruptive-technologies.com/oauth2/token",
        }});
        assert_eq!(document(), expected);
        let again = parse(&document()).unwrap();
        assert_eq!(again.fields(), sample().fields());
        assert!(again.render().unwrap().expose() == sample().render().unwrap().expose());
    }

    #[test]
    fn names_the_field_that_is_missing() {
        for needed in ["keyId", "secret", "email", "tokenEndpoint"] {
            let mut cut = document();
            cut["serviceAccount"].as_object_mut().unwrap().remove(needed);
            match parse(&cut) {
                Err(CredentialError::DisruptiveFileField { field }) => assert_eq!(field, needed),
                _ => panic!("{needed} was not missed"),
            }
        }
        let mut other = document();
        other["serviceAccount"]["algorithm"] = json!("RS256");
        assert!(
            matches!(parse(&other), Err(CredentialError::DisruptiveFileAlgorithm { found }) if found == "RS256")
        );
        assert!(matches!(parse(&json!([])), Err(CredentialError::DisruptiveFileJson { .. })));
    }

    #[test]
    fn a_fingerprint_is_of_what_can_be_a_secret_only() {
        let of = |text: &str| shared_secret_sha256(&SecretBytes::from(text.to_owned()));
        // sha256sum of the three letters.
        assert_eq!(of("abc").unwrap(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        for text in ["", "two words", "line\n", &"x".repeat(513)] {
            assert!(matches!(of(text), Err(CredentialError::SharedSecret)), "{text:?}");
        }
    }

    #[test]
    fn an_error_never_quotes_the_file() {
        let twice = serde_json::to_string(sample().render().unwrap().expose_str().unwrap()).unwrap();
        let Err(error) = DisruptiveCredentials::parse(&SecretBytes::from(twice)) else {
            panic!("a string was taken for a file")
        };
        assert!(!format!("{error} {error:?}").contains("5d5d"));
    }
}
