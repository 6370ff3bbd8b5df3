//! A certificate authority of a control plane's own, for every connection in it.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Longer than any test and than a demo that was forgotten over the weekend.
const LIFE: Duration = Duration::from_hours(30 * 24);
/// A certificate is valid from a while ago, for clients whose clock is behind.
const BEFORE: Duration = Duration::from_hours(1);

/// A failure to make a certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate could not be made.
    #[error("cannot make the certificate {name}")]
    Issue {
        /// The file name's stem.
        name: String,
        /// Why.
        source: rcgen::Error,
    },
    /// The file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A certificate and its private key as PEM files.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// The private key, mode 0600.
    pub key: PathBuf,
}

/// What a certificate is for.
enum Purpose<'a> {
    Server(&'a [&'a str]),
    Client { group: Option<&'a str> },
    Both(&'a [&'a str]),
}

/// The authority: its key stays in memory.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
    certificate: PathBuf,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority that writes into `folder`.
    pub fn new(folder: &Path) -> Result<Self, Error> {
        let issue = |source| Error::Issue { name: "ca".into(), source };
        let key = KeyPair::generate().map_err(issue)?;
        let mut params = params("keywheel-testbed-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let pem = params.self_signed(&key).map_err(issue)?.pem();
        let certificate = folder.join("ca.crt");
        write_private(&certificate, pem.as_bytes())?;
        Ok(Self { issuer: Issuer::new(params, key), folder: folder.to_path_buf(), certificate })
    }

    /// The authority's certificate, as PEM.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// A server's certificate for these addresses and names.
    pub fn server(&self, name: &str, hosts: &[&str]) -> Result<Pair, Error> {
        self.issue(name, name, &Purpose::Server(hosts))
    }

    /// A client's certificate: `user` and `group` are what Kubernetes reads from its common name and organization.
    pub fn client(&self, name: &str, user: &str, group: Option<&str>) -> Result<Pair, Error> {
        self.issue(name, user, &Purpose::Client { group })
    }

    /// A certificate for both ends, as an etcd member needs it: its gateway is a client of itself.
    pub fn peer(&self, name: &str, hosts: &[&str]) -> Result<Pair, Error> {
        self.issue(name, name, &Purpose::Both(hosts))
    }

    fn issue(&self, name: &str, common_name: &str, purpose: &Purpose<'_>) -> Result<Pair, Error> {
        let issue = |source| Error::Issue { name: name.to_owned(), source };
        let mut params = params(common_name);
        if let Purpose::Server(hosts) | Purpose::Both(hosts) = purpose {
            let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
            params.subject_alt_names = CertificateParams::new(hosts).map_err(issue)?.subject_alt_names;
        }
        if let Purpose::Client { group: Some(group) } = purpose {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match purpose {
            Purpose::Server(_) => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Purpose::Client { .. } => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Purpose::Both(_) => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
        };
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(issue)?;
        let pem = params.signed_by(&key, &self.issuer).map_err(issue)?.pem();
        let pair = Pair {
            certificate: self.folder.join(format!("{name}.crt")),
            key: self.folder.join(format!("{name}.key")),
        };
        write_private(&pair.certificate, pem.as_bytes())?;
        write_private(&pair.key, key.serialize_pem().as_bytes())?;
        Ok(pair)
    }
}

/// A key pair that signs service account tokens: (private key, public key), both PEM files.
///
/// The API server reads the two from different flags, and the public one not from a PKCS#8 private key.
pub fn signing_pair(folder: &Path, name: &str) -> Result<(PathBuf, PathBuf), Error> {
    let key = KeyPair::generate().map_err(|source| Error::Issue { name: name.to_owned(), source })?;
    let (private, public) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pub")));
    write_private(&private, key.serialize_pem().as_bytes())?;
    write_private(&public, key.public_key_pem().as_bytes())?;
    Ok((private, public))
}

/// Writes a file that only we can read; an older one is replaced.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|source| Error::Write { path: path.to_path_buf(), source })
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = SystemTime::now();
    params.not_before = (now - BEFORE).into();
    params.not_after = (now + LIFE).into();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::process::Scratch;

    #[test]
    fn private_keys_are_for_their_owner_only() {
        let scratch = Scratch::new("test").unwrap();
        let pair = Authority::new(scratch.path()).unwrap().client("admin", "somebody", None).unwrap();
        assert_eq!(std::fs::metadata(pair.key).unwrap().permissions().mode() & 0o777, 0o600);
        let (private, public) = signing_pair(scratch.path(), "signing").unwrap();
        assert!(std::fs::read_to_string(private).unwrap().contains("BEGIN PRIVATE KEY"));
        assert!(std::fs::read_to_string(public).unwrap().contains("BEGIN PUBLIC KEY"));
    }
}
