//! Ids and tokens that nobody can guess.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;

use crate::credential::SecretBytes;

fn bytes<const N: usize>() -> Result<[u8; N], Unspecified> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes)?;
    Ok(bytes)
}

/// A unique id: 21 decimal digits, the first of them 1 as Google's are.
///
/// # Errors
/// [`Unspecified`] if the random source fails.
pub fn unique_id() -> Result<String, Unspecified> {
    let number = u128::from_be_bytes(bytes()?) % 10_u128.pow(20);
    Ok(format!("1{number:020}"))
}

/// A key id: 40 lower-case hexadecimal digits.
///
/// # Errors
/// [`Unspecified`] if the random source fails.
pub fn key_id() -> Result<String, Unspecified> {
    Ok(hex::encode(bytes::<20>()?))
}

/// The number of a project: 12 decimal digits.
///
/// # Errors
/// [`Unspecified`] if the random source fails.
pub fn project_number() -> Result<u64, Unspecified> {
    let lowest = 10_u64.pow(11);
    Ok(lowest + u64::from_be_bytes(bytes()?) % (9 * lowest))
}

/// What no other operation is called.
///
/// # Errors
/// [`Unspecified`] if the random source fails.
pub fn operation_id() -> Result<String, Unspecified> {
    Ok(hex::encode(bytes::<16>()?))
}

/// An id as Disruptive Technologies gives them: 12 bytes in lower-case base 32 with the digits first. They begin with the
/// second of their making, so that they sort by age.
///
/// # Errors
/// [`Unspecified`] if the random source fails.
pub fn sortable_id(now: Timestamp) -> Result<String, Unspecified> {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    // Seconds beyond 32 bits begin anew; ids stay unlike each other by their random part.
    let second = now.as_second().rem_euclid(1 << 32).unsigned_abs();
    let number = u128::from(second) << 64 | u128::from(u64::from_be_bytes(bytes()?));
    // Twenty digits have room for 100 bits; the last four are zero.
    let digit = |place: u32| {
        let [.., digit] = (number << 4 >> (95 - 5 * place)).to_be_bytes();
        DIGITS.get(usize::from(digit % 32)).copied().map_or('0', char::from)
    };
    Ok((0..20).map(digit).collect())
}

/// The number of a person: decimal digits.
///
/// # Errors
/// [`Unspecified`] if the random source fails.
pub fn person_number() -> Result<String, Unspecified> {
    Ok((u64::from_be_bytes(bytes()?) % 10_u64.pow(12)).to_string())
}

/// A secret of 128 bits: 32 lower-case hexadecimal digits.
///
/// # Errors
/// [`Unspecified`] if the random source fails.
pub fn secret() -> Result<SecretBytes, Unspecified> {
    Ok(SecretBytes::from(hex::encode(bytes::<16>()?)))
}

/// An access token: 256 bits, and no dot, by which JWTs are recognised.
///
/// # Errors
/// [`Unspecified`] if the random source fails.
pub fn access_token() -> Result<String, Unspecified> {
    Ok(format!("kwat_{}", URL_SAFE_NO_PAD.encode(bytes::<32>()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let id = unique_id().unwrap();
        assert!(id.len() == 21 && id.starts_with('1') && id.bytes().all(|byte| byte.is_ascii_digit()));
        let id = key_id().unwrap();
        assert!(id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && id == id.to_lowercase());
        assert_eq!(project_number().unwrap().to_string().len(), 12);
        assert_eq!(secret().unwrap().len(), 32);
        assert!(!access_token().unwrap().contains('.'));
        assert_ne!(access_token().unwrap(), access_token().unwrap());
    }

    #[test]
    fn sortable_ids_begin_with_their_second() {
        // 1 615 455 596 is 604A096C: 01100 00001 00101 00000 10010 11011 00, then random bits.
        let id = sortable_id(Timestamp::from_second(0x604a_096c).unwrap()).unwrap();
        assert!(id.starts_with("c150ir"), "{id}");
        assert!(
            id.len() == 20 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'v').contains(&b)),
            "{id}"
        );
        assert!(id.ends_with('0') || id.ends_with('g'), "96 bits are all that there is: {id}");
        let later = sortable_id(Timestamp::from_second(0x604a_0980).unwrap()).unwrap();
        assert!(id < later, "{id} {later}");
    }
}
