//! Ids and tokens that nobody can guess.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

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
        assert!(!access_token().unwrap().contains('.'));
        assert_ne!(access_token().unwrap(), access_token().unwrap());
    }
}
