//! What is read from Secrets and from callers: arbitrary bytes, and good samples with some bytes changed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keywheel::credential::{
    DisruptiveCredentials, DisruptiveFields, Expiry, GOOGLE_PKCS12_PASSWORD, GoogleCredentials,
    GoogleFileFields, RsaKeyPair, SecretBytes, parse_certificate, read_pkcs12, self_signed, write_pkcs12,
};
use proptest::collection::vec;
use proptest::prelude::{Just, any, prop_oneof};
use proptest::sample::{Index, select};
use proptest::strategy::{BoxedStrategy, Strategy as _};

/// A change of a few bytes.
#[derive(Debug, Clone)]
pub enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index, Index),
    Double(Index, Index),
}

/// Good samples, changed in some places; or anything.
pub fn nearly(samples: Vec<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    let change = prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<Index>(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Cut(from, to)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Double(from, to)),
    ];
    let changed = (select(samples), vec(change, 0..4)).prop_map(|(sample, changes)| {
        changes.into_iter().fold(sample, |bytes, change| changed(bytes, &change))
    });
    prop_oneof![4 => changed, 1 => vec(any::<u8>(), 0..2000), 1 => Just(Vec::new())].boxed()
}

fn changed(mut bytes: Vec<u8>, change: &Change) -> Vec<u8> {
    if bytes.is_empty() {
        return bytes;
    }
    let len = bytes.len();
    let span = |from: &Index, to: &Index| {
        let (from, to) = (from.index(len), to.index(len));
        from.min(to)..from.max(to)
    };
    match change {
        Change::Set(at, byte) => bytes[at.index(len)] = *byte,
        Change::Insert(at, more) => {
            let at = at.index(len);
            bytes.splice(at..at, more.iter().copied());
        }
        Change::Cut(from, to) => drop(bytes.drain(span(from, to))),
        Change::Double(from, to) => {
            let span = span(from, to);
            let again = bytes[span.clone()].to_vec();
            bytes.splice(span.start..span.start, again);
        }
    }
    bytes
}

pub fn run() {
    let pair = RsaKeyPair::generate_2048().unwrap();
    let pem = pair.to_pkcs8_pem().unwrap();
    let fields = GoogleFileFields {
        project_id: "p".to_owned(),
        private_key_id: "k".to_owned(),
        client_email: "a@p.iam.gserviceaccount.com".to_owned(),
        token_uri: "https://oauth2.googleapis.com/token".to_owned(),
        ..GoogleFileFields::default()
    };
    let file = GoogleCredentials::new(fields, pem.clone()).render().unwrap();
    let certificate = self_signed(&pair, "unused", Timestamp::UNIX_EPOCH, Expiry::Never).unwrap();
    let store = write_pkcs12(&pair, &certificate, GOOGLE_PKCS12_PASSWORD).unwrap();
    let encoded = STANDARD.encode(pair.to_pkcs8_der().unwrap().expose());
    let legacy = format!("-----BEGIN RSA PRIVATE KEY-----\n{encoded}\n-----END RSA PRIVATE KEY-----\n");
    let vendors = DisruptiveCredentials::new(
        DisruptiveFields { key_id: "k".into(), email: "a@p".into(), token_endpoint: "https://t".into() },
        SecretBytes::from("s".repeat(32)),
    );
    let vendors = vendors.render().unwrap();
    let samples = vec![
        file.expose().to_vec(),
        pem.expose().to_vec(),
        pair.to_pkcs8_der().unwrap().expose().to_vec(),
        certificate.into_bytes(),
        store.expose().to_vec(),
        legacy.into_bytes(),
        vendors.expose().to_vec(),
    ];
    super::fuzz("parsers", 2048, &nearly(samples), |bytes| {
        let secret = SecretBytes::new(bytes.clone());
        if let Ok(file) = GoogleCredentials::parse(&secret) {
            drop(RsaKeyPair::from_pkcs8_pem(file.private_key_pem()));
            file.render().unwrap();
        }
        if let Ok(file) = DisruptiveCredentials::parse(&secret) {
            file.render().unwrap();
        }
        if let Ok(pair) = RsaKeyPair::from_pkcs8_pem(&secret) {
            // What is taken can be used.
            pair.sign_rs256(b"message").unwrap();
            assert_eq!(pair.public_key_sha256().len(), 64);
        }
        drop(RsaKeyPair::from_pkcs8_der(&secret));
        drop(parse_certificate(&bytes));
        drop(read_pkcs12(&secret, GOOGLE_PKCS12_PASSWORD));
        Ok(())
    });
}
