//! Where somebody can be a member.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A project or an organization, by its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Place {
    /// A project.
    Project(String),
    /// An organization, which holds projects.
    Organization(String),
}

impl Place {
    /// Reads a resource name, `projects/P` or `organizations/O`.
    pub fn named(name: &str) -> Option<Self> {
        let (kind, id) = name.split_once('/')?;
        let whole = !id.is_empty() && !id.contains('/');
        match kind {
            "projects" if whole => Some(Self::Project(id.to_owned())),
            "organizations" if whole => Some(Self::Organization(id.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(id) => write!(f, "projects/{id}"),
            Self::Organization(id) => write!(f, "organizations/{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in ["projects/p1", "organizations/keywheel"] {
            assert_eq!(Place::named(name).unwrap().to_string(), name);
        }
        for other in ["p1", "projects/", "projects/p1/members", "folders/f", ""] {
            assert_eq!(Place::named(other), None, "{other}");
        }
    }
}
