//! X.509 certificates around public keys: made for answers and uploads, read at an upload.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, IsCa, KeyUsagePurpose, PKCS_RSA_SHA256, PublicKeyData,
    SignatureAlgorithm, SigningKey,
};
use x509_cert::certificate::Version;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _, pem};

use super::{CredentialError, Expiry, RsaKeyPair};

const CERTIFICATE_LABEL: &str = "CERTIFICATE";
/// `rsaEncryption`, RFC 8017 appendix A.1.
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// What an uploaded certificate says about its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedCertificate {
    /// DER of the `SubjectPublicKeyInfo`.
    pub spki_der: Vec<u8>,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Expiry,
}

/// Makes a self-signed X.509 v3 certificate (PEM, newline at the end) for the pair.
///
/// Fractions of a second are cut off. `Expiry::Never` becomes 9999-12-31T23:59:59Z.
///
/// # Errors
/// [`CredentialError::CertificateValidity`] for a start before 1970 or an end not after the start;
/// [`CredentialError::CertificateBuild`] if the library refuses.
pub fn self_signed(
    pair: &RsaKeyPair,
    common_name: &str,
    not_before: Timestamp,
    not_after: impl Into<Expiry>,
) -> Result<String, CredentialError> {
    let start = u64::try_from(not_before.as_second()).map_err(|_| CredentialError::CertificateValidity)?;
    let end =
        u64::try_from(not_after.into().unix_seconds()).map_err(|_| CredentialError::CertificateValidity)?;
    if end <= start {
        return Err(CredentialError::CertificateValidity);
    }
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.not_before = epoch + Duration::from_secs(start);
    params.not_after = epoch + Duration::from_secs(end);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(&Signer(pair)).map_err(|source| {
        CredentialError::CertificateBuild { common_name: common_name.to_owned(), source }
    })?;
    Ok(certificate.pem())
}

/// Reads an X.509 v3 certificate with an RSA key from PEM.
///
/// # Errors
/// [`CredentialError::Pem`], [`CredentialError::PemLabel`], [`CredentialError::CertificateParse`],
/// [`CredentialError::CertificateVersion`], [`CredentialError::CertificateKeyAlgorithm`],
/// [`CredentialError::TimeOutOfRange`], [`CredentialError::CertificateValidity`].
pub fn parse_certificate(text: &[u8]) -> Result<ParsedCertificate, CredentialError> {
    let (label, der) =
        pem::decode_vec(text).map_err(|source| CredentialError::Pem { what: "certificate", source })?;
    if label != CERTIFICATE_LABEL {
        return Err(CredentialError::PemLabel { what: "certificate", expected: CERTIFICATE_LABEL });
    }
    let certificate = x509_cert::Certificate::from_der(&der).map_err(CredentialError::CertificateParse)?;
    let body = certificate.tbs_certificate();
    if body.version() != Version::V3 {
        return Err(CredentialError::CertificateVersion);
    }
    let spki = body.subject_public_key_info();
    if spki.algorithm.oid != RSA_ENCRYPTION {
        return Err(CredentialError::CertificateKeyAlgorithm);
    }
    let validity = body.validity();
    let not_before = expiry(validity.not_before.to_unix_duration())?;
    let not_after = expiry(validity.not_after.to_unix_duration())?;
    let not_before = not_before.timestamp().ok_or(CredentialError::CertificateValidity)?;
    if not_after <= Expiry::At(not_before) {
        return Err(CredentialError::CertificateValidity);
    }
    Ok(ParsedCertificate {
        spki_der: spki.to_der().map_err(CredentialError::CertificateParse)?,
        not_before,
        not_after,
    })
}

fn expiry(since_epoch: Duration) -> Result<Expiry, CredentialError> {
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    Expiry::from_unix_seconds(seconds)
}

/// Lets the certificate library sign with our pair, so that the private half is never copied into it.
struct Signer<'a>(&'a RsaKeyPair);

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_pkcs1_der()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign_rs256(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

#[cfg(test)]
mod tests {
    use rsa::RsaPublicKey;
    use rsa::pkcs1v15::{Signature, VerifyingKey};
    use rsa::pkcs8::DecodePublicKey as _;
    use rsa::sha2::Sha256;
    use rsa::signature::Verifier as _;

    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_made_certificate_is_read_back() {
        let pair = RsaKeyPair::generate_2048().unwrap();
        let from = time("2026-11-22T10:00:00.5Z");
        let pem = self_signed(&pair, "100000000000000000001", from, time("2027-01-01T00:00:00Z")).unwrap();
        assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n"));
        assert!(pem.ends_with("-----END CERTIFICATE-----\n"));
        let parsed = parse_certificate(pem.as_bytes()).unwrap();
        assert_eq!(parsed.spki_der, pair.public_spki_der());
        assert_eq!(parsed.not_before, time("2026-11-22T10:00:00Z"));
        assert_eq!(parsed.not_after, Expiry::At(time("2027-01-01T00:00:00Z")));
    }

    #[test]
    fn a_certificate_without_an_end() {
        let pair = RsaKeyPair::generate_2048().unwrap();
        let pem = self_signed(&pair, "unused", time("2026-11-22T10:00:00Z"), Expiry::Never).unwrap();
        assert_eq!(parse_certificate(pem.as_bytes()).unwrap().not_after, Expiry::Never);
    }

    #[test]
    fn the_rsa_crate_accepts_the_certificates_signature() {
        let pair = RsaKeyPair::generate_2048().unwrap();
        let pem = self_signed(&pair, "unused", time("2026-11-22T10:00:00Z"), Expiry::Never).unwrap();
        let (_, der) = pem::decode_vec(pem.as_bytes()).unwrap();
        let certificate = x509_cert::Certificate::from_der(&der).unwrap();
        let public = RsaPublicKey::from_public_key_der(&pair.public_spki_der()).unwrap();
        let signature = Signature::try_from(certificate.signature().raw_bytes()).unwrap();
        let body = certificate.tbs_certificate().to_der().unwrap();
        VerifyingKey::<Sha256>::new(public).verify(&body, &signature).unwrap();
    }

    #[test]
    fn refuses_impossible_validity() {
        let pair = RsaKeyPair::generate_2048().unwrap();
        for (from, to) in [
            ("1969-12-31T23:59:59Z", "2030-01-01T00:00:00Z"),
            ("2030-01-01T00:00:00Z", "2030-01-01T00:00:00Z"),
        ] {
            let made = self_signed(&pair, "unused", time(from), time(to));
            assert!(matches!(made, Err(CredentialError::CertificateValidity)));
        }
    }

    #[test]
    fn refuses_other_keys_and_other_texts() {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = CertificateParams::default().self_signed(&key).unwrap().pem();
        let read = parse_certificate(pem.as_bytes());
        assert!(matches!(read, Err(CredentialError::CertificateKeyAlgorithm)));
        assert!(matches!(parse_certificate(b"junk"), Err(CredentialError::Pem { .. })));
        let pair = RsaKeyPair::generate_2048().unwrap();
        let read = parse_certificate(pair.public_pem().as_bytes());
        assert!(matches!(read, Err(CredentialError::PemLabel { .. })));
    }
}
