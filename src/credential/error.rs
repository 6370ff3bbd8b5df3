//! What can go wrong with key material, without showing any of it.

use x509_cert::der;

/// Failures of this module. No variant carries secret bytes, and parsers' own messages are left out where they
/// could quote their input.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Secret bytes that should be text are not UTF-8.
    #[error("the secret is not UTF-8 text")]
    NotUtf8,
    /// The random source or the key generator failed.
    #[error("an RSA key pair could not be generated")]
    Generate(#[source] aws_lc_rs::error::Unspecified),
    /// The same for a pair of 1024 bits.
    #[error("an RSA key pair of 1024 bits could not be generated")]
    GenerateSmall(#[source] rsa::Error),
    /// The text is not a PEM block.
    #[error("the {what} is not a PEM block")]
    Pem {
        /// What was being read.
        what: &'static str,
        /// The PEM reader's reason, which quotes nothing.
        #[source]
        source: der::pem::Error,
    },
    /// A PEM block of another kind.
    #[error("the {what} must be a PEM block of type {expected:?}")]
    PemLabel {
        /// What was being read.
        what: &'static str,
        /// The label that is needed between `BEGIN` and the dashes.
        expected: &'static str,
    },
    /// The PKCS#8 document holds no RSA key of 2048 to 8192 bits, or an inconsistent one.
    #[error("the private key is not a usable RSA key in PKCS#8")]
    PrivateKeyRejected(#[source] aws_lc_rs::error::KeyRejected),
    /// The key pair could not be written as DER.
    #[error("the {what} could not be encoded")]
    Encode {
        /// What was being written.
        what: &'static str,
        /// The library's reason.
        #[source]
        source: aws_lc_rs::error::Unspecified,
    },
    /// The same for a pair of 1024 bits.
    #[error("the {what} of 1024 bits could not be encoded")]
    EncodeSmall {
        /// What was being written.
        what: &'static str,
        /// The library's reason.
        #[source]
        source: rsa::Error,
    },
    /// Signing failed.
    #[error("the RS256 signature could not be made")]
    Sign(#[source] aws_lc_rs::error::Unspecified),
    /// The same with a pair of 1024 bits.
    #[error("the RS256 signature could not be made with a pair of 1024 bits")]
    SignSmall(#[source] rsa::signature::Error),
    /// A PKCS#12 file could not be written.
    #[error("the PKCS#12 file could not be written")]
    Pkcs12Write(#[source] p12_keystore::error::Error),
    /// A PKCS#12 file could not be read: it is another file, or has another password.
    #[error("the PKCS#12 file cannot be read with its password")]
    Pkcs12Read(#[source] p12_keystore::error::Error),
    /// A PKCS#12 file without a private key.
    #[error("the PKCS#12 file holds no private key")]
    Pkcs12Empty,
    /// A certificate could not be made.
    #[error("the certificate for {common_name:?} could not be made")]
    CertificateBuild {
        /// The subject's common name.
        common_name: String,
        /// The library's reason.
        #[source]
        source: rcgen::Error,
    },
    /// A certificate's validity cannot be written as X.509 times.
    #[error("the certificate's validity must start at 1970 or later and end after it starts")]
    CertificateValidity,
    /// The DER inside the PEM is not an X.509 certificate.
    #[error("the text is not an X.509 certificate")]
    CertificateParse(#[source] der::Error),
    /// The certificate is of another version than 3.
    #[error("the certificate is not of X.509 version 3")]
    CertificateVersion,
    /// The certificate is for another kind of key.
    #[error("the certificate's key is not RSA")]
    CertificateKeyAlgorithm,
    /// A time beyond the year 9999 or before the first representable one.
    #[error("{seconds} s since 1970 is outside the times that can be represented")]
    TimeOutOfRange {
        /// Seconds since the Unix epoch.
        seconds: i64,
    },
    /// A text that is not an RFC 3339 time.
    #[error("{text:?} is not an RFC 3339 time")]
    TimeParse {
        /// The text.
        text: String,
        /// The parser's reason.
        #[source]
        source: jiff::Error,
    },
    /// The credential file is not a JSON object of the expected shape. The JSON parser's message is left out: it
    /// may quote the file.
    #[error("the Google credential file is not the JSON that it should be, at line {line} column {column}")]
    GoogleFileJson {
        /// Line of the first error, from 1.
        line: usize,
        /// Column of the first error, from 1.
        column: usize,
    },
    /// The credential file is of another type, such as `external_account`.
    #[error("the Google credential file has type {found:?}, not \"service_account\"")]
    GoogleFileType {
        /// The type that the file names.
        found: String,
    },
    /// A field that every client needs is missing or empty.
    #[error("the Google credential file has no {field}")]
    GoogleFileField {
        /// The field's name.
        field: &'static str,
    },
    /// The same of the file that clients of Disruptive Technologies read.
    #[error(
        "the credential file of Disruptive Technologies is not the JSON that it should be, \
         {{\"serviceAccount\": {{\"keyId\", \"secret\", \"email\", ...}}}}, at line {line} column {column}"
    )]
    DisruptiveFileJson {
        /// Line of the first error, from 1.
        line: usize,
        /// Column of the first error, from 1.
        column: usize,
    },
    /// A field that the client needs is missing or empty.
    #[error("the credential file of Disruptive Technologies has no serviceAccount.{field}")]
    DisruptiveFileField {
        /// The field's name.
        field: &'static str,
    },
    /// The file asks for another algorithm than the one there is.
    #[error("the credential file of Disruptive Technologies has algorithm {found:?}, not \"HS256\"")]
    DisruptiveFileAlgorithm {
        /// The algorithm that the file names.
        found: String,
    },
    /// What stands where a shared secret should be cannot be one.
    #[error("the shared secret of a key must be 1 to 512 visible characters")]
    SharedSecret,
    /// The JSON of a file or a token could not be written.
    #[error("the {what} could not be written as JSON")]
    JsonWrite {
        /// What was being written.
        what: &'static str,
        /// The library's reason.
        #[source]
        source: serde_json::Error,
    },
    /// An assertion that lives longer than a token endpoint accepts.
    #[error("an assertion of {seconds} s is not between 1 s and 1 h")]
    AssertionLifetime {
        /// The lifetime that was asked for.
        seconds: u64,
    },
}
