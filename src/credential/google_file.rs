//! The Google credential file of type `service_account`.

use serde::{Deserialize, Serialize};

use super::{CredentialError, SecretBytes};

const SERVICE_ACCOUNT: &str = "service_account";
/// Clients refuse other values as a mismatch with their own universe.
const DEFAULT_UNIVERSE: &str = "googleapis.com";

/// Every field of the file that is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GoogleFileFields {
    /// The project that owns the account.
    pub project_id: String,
    /// The key's id: 40 lower-case hexadecimal digits at Google.
    pub private_key_id: String,
    /// The account's e-mail address.
    pub client_email: String,
    /// The account's OAuth2 client id: the digits of its unique id.
    pub client_id: String,
    /// Where a person would log in; unused by service accounts.
    pub auth_uri: String,
    /// The token endpoint that accepts the key's assertions.
    pub token_uri: String,
    /// Certificates of the identity provider itself.
    pub auth_provider_x509_cert_url: String,
    /// Certificates of this account's keys.
    pub client_x509_cert_url: String,
    /// `googleapis.com`, unless the account lives in another universe.
    pub universe_domain: String,
}

/// A Google credential file. It has no `Debug`, so that the private key cannot be printed by accident; print
/// [`GoogleCredentials::fields`] instead.
#[derive(Clone)]
pub struct GoogleCredentials {
    fields: GoogleFileFields,
    private_key: SecretBytes,
}

/// The file as it is read: everything optional, so that a missing field is named by us.
#[derive(Deserialize)]
struct Incoming {
    #[serde(rename = "type")]
    kind: Option<String>,
    project_id: Option<String>,
    private_key_id: Option<String>,
    private_key: Option<String>,
    client_email: Option<String>,
    client_id: Option<String>,
    auth_uri: Option<String>,
    token_uri: Option<String>,
    auth_provider_x509_cert_url: Option<String>,
    client_x509_cert_url: Option<String>,
    universe_domain: Option<String>,
}

/// The file as it is written; the order of the fields is Google's.
#[derive(Serialize)]
struct Outgoing<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    project_id: &'a str,
    private_key_id: &'a str,
    private_key: &'a str,
    client_email: &'a str,
    client_id: &'a str,
    auth_uri: &'a str,
    token_uri: &'a str,
    auth_provider_x509_cert_url: &'a str,
    client_x509_cert_url: &'a str,
    universe_domain: &'a str,
}

impl GoogleCredentials {
    /// Puts a file together. The private key is a PKCS#8 PEM.
    pub fn new(fields: GoogleFileFields, private_key: SecretBytes) -> Self {
        Self { fields, private_key }
    }

    /// Reads a file. Unknown fields are ignored, as clients do; those that every client needs must be there.
    ///
    /// # Errors
    /// [`CredentialError::GoogleFileJson`], [`CredentialError::GoogleFileType`],
    /// [`CredentialError::GoogleFileField`].
    pub fn parse(file: &SecretBytes) -> Result<Self, CredentialError> {
        let incoming: Incoming = serde_json::from_slice(file.expose()).map_err(|error| {
            CredentialError::GoogleFileJson { line: error.line(), column: error.column() }
        })?;
        // Taken over first, so that every early return overwrites it.
        let private_key = incoming.private_key.map(SecretBytes::from);
        match incoming.kind.as_deref() {
            Some(SERVICE_ACCOUNT) => {}
            other => {
                return Err(CredentialError::GoogleFileType { found: other.unwrap_or_default().to_owned() });
            }
        }
        let private_key = private_key
            .filter(|key| !key.is_empty())
            .ok_or(CredentialError::GoogleFileField { field: "private_key" })?;
        let fields = GoogleFileFields {
            project_id: needed("project_id", incoming.project_id)?,
            private_key_id: needed("private_key_id", incoming.private_key_id)?,
            client_email: needed("client_email", incoming.client_email)?,
            client_id: incoming.client_id.unwrap_or_default(),
            auth_uri: incoming.auth_uri.unwrap_or_default(),
            token_uri: needed("token_uri", incoming.token_uri)?,
            auth_provider_x509_cert_url: incoming.auth_provider_x509_cert_url.unwrap_or_default(),
            client_x509_cert_url: incoming.client_x509_cert_url.unwrap_or_default(),
            universe_domain: incoming.universe_domain.unwrap_or_else(|| DEFAULT_UNIVERSE.to_owned()),
        };
        Ok(Self { fields, private_key })
    }

    /// The file's bytes: indented JSON in Google's field order, newline at the end. Equal fields give equal bytes.
    ///
    /// # Errors
    /// [`CredentialError::NotUtf8`] if the private key is no text, [`CredentialError::JsonWrite`] otherwise.
    pub fn render(&self) -> Result<SecretBytes, CredentialError> {
        let fields = &self.fields;
        let outgoing = Outgoing {
            kind: SERVICE_ACCOUNT,
            project_id: &fields.project_id,
            private_key_id: &fields.private_key_id,
            private_key: self.private_key.expose_str()?,
            client_email: &fields.client_email,
            client_id: &fields.client_id,
            auth_uri: &fields.auth_uri,
            token_uri: &fields.token_uri,
            auth_provider_x509_cert_url: &fields.auth_provider_x509_cert_url,
            client_x509_cert_url: &fields.client_x509_cert_url,
            universe_domain: &fields.universe_domain,
        };
        // Room for all of it at once: a buffer that grows leaves copies of the key in freed memory.
        let mut bytes = Vec::with_capacity(8 * 1024 + 2 * self.private_key.len());
        serde_json::to_writer_pretty(&mut bytes, &outgoing)
            .map_err(|source| CredentialError::JsonWrite { what: "Google credential file", source })?;
        bytes.push(b'\n');
        Ok(SecretBytes::new(bytes))
    }

    /// Everything but the private key.
    pub fn fields(&self) -> &GoogleFileFields {
        &self.fields
    }

    /// The private key, PKCS#8 PEM.
    pub fn private_key_pem(&self) -> &SecretBytes {
        &self.private_key
    }

    /// The project that owns the account.
    pub fn project_id(&self) -> &str {
        &self.fields.project_id
    }

    /// The key's id.
    pub fn private_key_id(&self) -> &str {
        &self.fields.private_key_id
    }

    /// The account's e-mail address.
    pub fn client_email(&self) -> &str {
        &self.fields.client_email
    }

    /// The account's OAuth2 client id; empty if the file has none.
    pub fn client_id(&self) -> &str {
        &self.fields.client_id
    }

    /// The login page; empty if the file has none.
    pub fn auth_uri(&self) -> &str {
        &self.fields.auth_uri
    }

    /// The token endpoint.
    pub fn token_uri(&self) -> &str {
        &self.fields.token_uri
    }

    /// Certificates of the identity provider; empty if the file has none.
    pub fn auth_provider_x509_cert_url(&self) -> &str {
        &self.fields.auth_provider_x509_cert_url
    }

    /// Certificates of this account's keys; empty if the file has none.
    pub fn client_x509_cert_url(&self) -> &str {
        &self.fields.client_x509_cert_url
    }

    /// The universe; `googleapis.com` if the file has none.
    pub fn universe_domain(&self) -> &str {
        &self.fields.universe_domain
    }
}

fn needed(field: &'static str, value: Option<String>) -> Result<String, CredentialError> {
    value.filter(|text| !text.is_empty()).ok_or(CredentialError::GoogleFileField { field })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> GoogleCredentials {
        GoogleCredentials::new(
            GoogleFileFields {
                project_id: "p1".into(),
                private_key_id: "ab".repeat(20),
                client_email: "billing@p1.iam.gserviceaccount.com".into(),
                client_id: "100000000000000000001".into(),
                auth_uri: "http://127.0.0.1:1/o/oauth2/auth".into(),
                token_uri: "http://127.0.0.1:1/token".into(),
                auth_provider_x509_cert_url: "http://127.0.0.1:1/oauth2/v1/certs".into(),
                client_x509_cert_url: "http://127.0.0.1:1/robot/v1/metadata/x509/b".into(),
                universe_domain: "googleapis.com".into(),
            },
            SecretBytes::from("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned()),
        )
    }

    fn parse(text: &str) -> Result<GoogleCredentials, CredentialError> {
        GoogleCredentials::parse(&SecretBytes::from(text.to_owned()))
    }

    #[test]
    fn renders_in_googles_order_and_reads_itself() {
        let file = sample();
        let bytes = file.render().unwrap();
        let text = bytes.expose_str().unwrap();
        let names: Vec<&str> =
            text.lines().filter_map(|line| line.trim().strip_prefix('"')?.split('"').next()).collect();
        assert_eq!(
            names,
            [
                "type",
                "project_id",
                "private_key_id",
                "private_key",
                "client_email",
                "client_id",
                "auth_uri",
                "token_uri",
                "auth_provider_x509_cert_url",
                "client_x509_cert_url",
                "universe_domain"
            ]
        );
        assert!(text.ends_with("}\n"));
        let again = GoogleCredentials::parse(&bytes).unwrap();
        assert_eq!(again.fields(), file.fields());
        assert_eq!(again.private_key_pem().expose(), file.private_key_pem().expose());
        assert_eq!(again.render().unwrap().expose(), bytes.expose());
    }

    #[test]
    fn names_the_field_that_is_missing() {
        let rendered = sample().render().unwrap();
        let full: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(rendered.expose()).unwrap();
        for needed in ["project_id", "private_key_id", "private_key", "client_email", "token_uri"] {
            let mut cut = full.clone();
            cut.remove(needed);
            match parse(&serde_json::to_string(&cut).unwrap()) {
                Err(CredentialError::GoogleFileField { field }) => assert_eq!(field, needed),
                _ => panic!("{needed} was not missed"),
            }
        }
    }

    #[test]
    fn other_types_and_broken_json_are_told_apart() {
        let other = parse(r#"{"type":"external_account"}"#);
        assert!(
            matches!(other, Err(CredentialError::GoogleFileType { found }) if found == "external_account")
        );
        assert!(matches!(parse("{"), Err(CredentialError::GoogleFileJson { line: 1, .. })));
    }

    #[test]
    fn an_error_never_quotes_the_file() {
        // A file that was encoded twice is one JSON string; parsers like to quote such a thing.
        let twice = serde_json::to_string(sample().render().unwrap().expose_str().unwrap()).unwrap();
        let Err(error) = parse(&twice) else { panic!("a string was taken for a file") };
        assert!(!format!("{error} {error:?}").contains("PRIVATE KEY"));
    }
}
