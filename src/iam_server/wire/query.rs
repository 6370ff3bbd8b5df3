//! Query parameters: the ones that every Google method tolerates, and the ones of a method.

use url::form_urlencoded;

use super::enums::{EnumEncoding, WireEnum};
use super::errors::ApiError;

/// Parameters that Google's front end understands on every method. Only the encoding of enums changes an answer
/// here; the others are for other encodings, quotas and browsers.
const SYSTEM: [&str; 12] = [
    "alt",
    "$alt",
    "$.xgafv",
    "prettyPrint",
    "fields",
    "key",
    "access_token",
    "oauth_token",
    "quotaUser",
    "callback",
    "uploadType",
    "upload_protocol",
];

/// Parameters that are credentials.
const SECRET: [&str; 3] = ["access_token", "oauth_token", "key"];

/// A decoded query.
#[derive(Debug, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Decodes the raw query.
    pub fn parse(raw: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(raw.unwrap_or_default().as_bytes()).into_owned().collect();
        Self { pairs }
    }

    /// The pairs as they may be written to a log: credentials are replaced.
    pub fn for_log(&self) -> Vec<(String, String)> {
        let hide = |(name, value): &(String, String)| {
            let shown = if SECRET.contains(&name.as_str()) { "(hidden)" } else { value };
            (name.clone(), shown.to_owned())
        };
        self.pairs.iter().map(hide).collect()
    }

    /// How the answer's enums are to be written.
    ///
    /// # Errors
    /// [`ApiError::Unimplemented`] for an encoding other than JSON.
    pub fn encoding(&self) -> Result<EnumEncoding, ApiError> {
        let mut encoding = EnumEncoding::Names;
        for (name, value) in &self.pairs {
            if name == "alt" || name == "$alt" {
                match value.as_str() {
                    "" | "json" => {}
                    "json;enum-encoding=int" => encoding = EnumEncoding::Numbers,
                    other => {
                        return Err(ApiError::Unimplemented { what: format!("The encoding {other:?}") });
                    }
                }
            }
        }
        Ok(encoding)
    }

    /// Refuses what neither the front end nor the method knows.
    ///
    /// # Errors
    /// [`ApiError::InvalidArgument`] with the parameter's name, if `strict`.
    pub fn allow_only(&self, known: &[&str], strict: bool) -> Result<(), ApiError> {
        let unknown = self
            .pairs
            .iter()
            .map(|(name, _)| name.as_str())
            .find(|name| !SYSTEM.contains(name) && !known.contains(name));
        match unknown {
            Some(name) if strict => Err(ApiError::invalid(format!(
                "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter."
            ))),
            _ => Ok(()),
        }
    }

    /// All values of a parameter. Empty ones count as absent: some clients send every parameter, set or not.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(found, value)| found == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// The last value of a parameter.
    pub fn one<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).last()
    }

    /// A whole number; 0 counts as absent.
    ///
    /// # Errors
    /// [`ApiError::InvalidArgument`] for anything but a number from 0 up.
    pub fn number(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.one(name) else { return Ok(None) };
        match text.parse() {
            Ok(0) => Ok(None),
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(ApiError::invalid(format!("Invalid value at '{name}': {text:?}"))),
        }
    }

    /// Values of an enum.
    ///
    /// # Errors
    /// [`ApiError::InvalidArgument`] for an unknown one.
    pub fn enums<T: WireEnum>(&self, name: &str) -> Result<Vec<T>, ApiError> {
        let parse = |text: &str| {
            T::from_text(text).ok_or_else(|| {
                ApiError::invalid(format!("Invalid value at '{name}' ({}): {text:?}", T::NAME))
            })
        };
        self.all(name).map(parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iam_server::wire::enums::KeyType;

    #[test]
    fn system_parameters_are_tolerated_and_others_are_not() {
        let query = Query::parse(Some("%24alt=json%3Benum-encoding%3Dint&prettyPrint=false&keyTypes=1"));
        query.allow_only(&["keyTypes"], true).unwrap();
        assert_eq!(query.encoding().unwrap(), EnumEncoding::Numbers);
        assert_eq!(query.enums::<KeyType>("keyTypes").unwrap(), [KeyType::UserManaged]);
        assert!(query.allow_only(&[], true).is_err());
        query.allow_only(&[], false).unwrap();
        assert!(Query::parse(Some("alt=proto")).encoding().is_err());
    }

    #[test]
    fn empty_values_are_absent() {
        let query = Query::parse(Some("pageSize=0&pageToken="));
        assert_eq!(query.number("pageSize").unwrap(), None);
        assert_eq!(query.one("pageToken"), None);
        assert!(Query::parse(Some("pageSize=-1")).number("pageSize").is_err());
    }

    #[test]
    fn credentials_do_not_reach_the_log() {
        let shown = Query::parse(Some("access_token=hush&key=hush&alt=json")).for_log();
        assert!(!format!("{shown:?}").contains("hush"));
        assert!(format!("{shown:?}").contains("json"));
    }
}
