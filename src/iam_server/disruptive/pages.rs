//! Pages of lists. Every list says where its next page begins, and says nothing where there is none.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::errors::Error;
use crate::iam_server::wire::query::Query;

/// Large: the vendor's Python library carries the token of one list into every later one, and never asks for a size.
const DEFAULT: usize = 100;
const MAX: usize = 1000;
/// Between a collection and the name that a page begins after; no name here has it.
const SEPARATOR: char = '\n';

/// Which part of a list is asked for.
pub struct Page {
    size: usize,
    collection: String,
    after: String,
}

impl Page {
    /// The page of a list that a query asks for. The token of another list, or of none, is as good as no token.
    ///
    /// # Errors
    /// [`Error::Shared`] for a size that is none.
    pub fn of(query: &Query, collection: impl Into<String>) -> Result<Self, Error> {
        let size = query.number("pageSize")?.unwrap_or(DEFAULT).min(MAX);
        let collection = collection.into();
        let token = query.one("pageToken").and_then(|token| URL_SAFE_NO_PAD.decode(token).ok());
        let after = token
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .and_then(|text| {
                let (of, after) = text.split_once(SEPARATOR)?;
                (of == collection).then(|| after.to_owned())
            })
            .unwrap_or_default();
        Ok(Self { size, collection, after })
    }

    /// The name that it begins after.
    pub fn after(&self) -> &str {
        &self.after
    }

    /// How many are to be found: one more than are shown, to know whether there are more.
    pub fn wanted(&self) -> usize {
        self.size.saturating_add(1)
    }

    /// What lies behind the pages before, of all that there are, in the order of their names.
    pub fn rest<T, N: AsRef<str>>(&self, mut all: Vec<T>, name: impl Fn(&T) -> N) -> Vec<T> {
        all.sort_by(|a, b| name(a).as_ref().cmp(name(b).as_ref()));
        all.retain(|one| name(one).as_ref() > self.after.as_str());
        all
    }

    /// What is shown of what was found, and the token of the next page, empty if there is none.
    pub fn cut<T, N: AsRef<str>>(&self, mut found: Vec<T>, name: impl Fn(&T) -> N) -> (Vec<T>, String) {
        let more = found.len() > self.size;
        found.truncate(self.size);
        let next = match found.last() {
            Some(last) if more => {
                let last = name(last);
                URL_SAFE_NO_PAD.encode(format!("{}{SEPARATOR}{}", self.collection, last.as_ref()))
            }
            _ => String::new(),
        };
        (found, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str, collection: &str) -> Page {
        Page::of(&Query::parse(Some(query)), collection).unwrap()
    }

    #[test]
    fn pages_follow_each_other_and_end() {
        let all = || vec!["c", "a", "b"];
        let first = page("pageSize=2", "letters");
        let (shown, next) = first.cut(first.rest(all(), |letter| *letter), |letter| *letter);
        assert_eq!(shown, ["a", "b"]);
        let second = page(&format!("pageSize=2&pageToken={next}"), "letters");
        let (shown, next) = second.cut(second.rest(all(), |letter| *letter), |letter| *letter);
        assert_eq!((shown, next.as_str()), (vec!["c"], ""));
        let exact = page("pageSize=3", "letters");
        assert_eq!(exact.cut(exact.rest(all(), |letter| *letter), |letter| *letter).1, "");
    }

    #[test]
    fn tokens_of_other_lists_are_as_good_as_none() {
        let other = page("pageSize=1", "numbers").cut(vec!["1", "2"], |number| *number).1;
        for token in [other.as_str(), "!!", "AAAA", ""] {
            assert_eq!(page(&format!("pageToken={token}"), "letters").after(), "", "{token}");
        }
        assert_eq!(page(&format!("pageToken={other}"), "numbers").after(), "1");
        assert!(Page::of(&Query::parse(Some("pageSize=many")), "letters").is_err());
    }
}
