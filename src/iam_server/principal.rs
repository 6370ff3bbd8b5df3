//! Who a caller is: an account of this server, or somebody whom an identity provider vouches for.

use serde::{Deserialize, Serialize};

use super::model::Account;
use super::policy::Member;

/// Who a caller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A service account of this server.
    Account(Account),
    /// Somebody from elsewhere.
    Federated(Federated),
}

/// Somebody whom a provider of a workload identity pool vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Federated {
    /// The id of the pool's project.
    pub project: String,
    /// `projects/NUMBER/locations/global/workloadIdentityPools/POOL`.
    pub pool: String,
    /// The name that the provider knows it by.
    pub subject: String,
}

impl Principal {
    /// For the request log: an address, or `principal://…`.
    pub fn name(&self) -> String {
        match self {
            Self::Account(account) => account.email.clone(),
            Self::Federated(federated) => federated.member(),
        }
    }

    /// The project that it comes from.
    pub fn project(&self) -> &str {
        match self {
            Self::Account(account) => &account.project,
            Self::Federated(federated) => &federated.project,
        }
    }

    /// Whether it may do everything.
    pub fn is_admin(&self) -> bool {
        matches!(self, Self::Account(account) if account.admin)
    }

    /// Whether a member of a binding stands for it.
    pub fn is(&self, member: &Member) -> bool {
        match (self, member) {
            (Self::Account(account), Member::Account { unique_id, .. }) => *unique_id == account.unique_id,
            (Self::Federated(federated), Member::Other(text)) => {
                *text == federated.member() || *text == federated.everybody()
            }
            _ => false,
        }
    }
}

impl Federated {
    fn member(&self) -> String {
        format!("principal://iam.googleapis.com/{}/subject/{}", self.pool, self.subject)
    }

    /// All of its pool.
    fn everybody(&self) -> String {
        format!("principalSet://iam.googleapis.com/{}/*", self.pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_and_one_of_it_can_be_bound() {
        let pod = Principal::Federated(Federated {
            project: "p1".into(),
            pool: "projects/1/locations/global/workloadIdentityPools/cluster".into(),
            subject: "system:serviceaccount:a:b".into(),
        });
        let base = "iam.googleapis.com/projects/1/locations/global/workloadIdentityPools";
        let other = |text: String| Member::Other(text);
        assert!(pod.is(&other(format!("principal://{base}/cluster/subject/system:serviceaccount:a:b"))));
        assert!(pod.is(&other(format!("principalSet://{base}/cluster/*"))));
        assert!(!pod.is(&other(format!("principal://{base}/cluster/subject/system:serviceaccount:a:c"))));
        assert!(!pod.is(&other(format!("principalSet://{base}/other/*"))));
        assert!(!pod.is_admin());
    }
}
