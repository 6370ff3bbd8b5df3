//! Keys and attempts by small numbers, and the names that the plan sees.

use std::fmt;

/// How many attempts a CR can make in one search.
pub const ATTEMPTS: u8 = 15;

/// A key: of a person, or of the n-th attempt of a CR. An attempt that a wrong variant sends twice has two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u8);

impl Key {
    /// The key that a person makes.
    pub const PERSON: Self = Self(0);

    /// The key of an attempt.
    pub fn of(cr: usize, nonce: u8, copy: u8) -> Self {
        assert!(cr < 2 && (1..=ATTEMPTS).contains(&nonce) && copy < 4);
        Self(copy * 32 + u8::try_from(cr).expect("small") * 16 + nonce)
    }

    /// The CR whose attempt made it; `None`: a person.
    pub fn cr(self) -> Option<usize> {
        (self.0 != 0).then_some(usize::from(self.0 % 32 / 16))
    }

    /// The attempt that made it.
    pub fn nonce(self) -> u8 {
        self.0 % 16
    }

    /// Its id at the backend.
    pub fn id(self) -> String {
        format!("k{}", self.0)
    }

    /// The key with this id.
    pub fn parse(id: &str) -> Self {
        Self(id.strip_prefix('k').and_then(|n| n.parse().ok()).expect("an id of the model"))
    }

    /// Fingerprint of its public half.
    pub fn sha(self) -> String {
        format!("sha-{}", self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cr() {
            None => write!(f, "person's key"),
            Some(cr) => {
                let copies = ["", "'", "''", "'''"];
                write!(f, "K{}.{}{}", cr + 1, self.nonce(), copies[usize::from(self.0 / 32)])
            }
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The random name of an attempt.
pub fn nonce(n: u8) -> String {
    format!("n{n}")
}

/// The attempt of this name; `None` for the window of a rebuilt status.
pub fn parse_nonce(name: &str) -> Option<u8> {
    name.strip_prefix('n').and_then(|n| n.parse().ok())
}

/// Name of a CR's object.
pub fn object(cr: usize) -> String {
    format!("cr{}", cr + 1)
}

/// The one account.
pub const ACCOUNT: &str = "p/100";
