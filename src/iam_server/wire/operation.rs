//! The methods that are served: their names, the permission that each needs, and the API that each belongs to.

/// A method of the API, as faults and the request log name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operation {
    /// Such as `keys.create`.
    pub name: &'static str,
    /// The permission that it needs; empty where there is none to have.
    pub permission: &'static str,
    /// Which of Google's APIs it belongs to.
    pub api: Api,
}

/// The APIs, each of which takes tokens of other scopes and audiences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// IAM.
    Iam,
    /// IAM Service Account Credentials.
    Credentials,
    /// Resource Manager.
    ResourceManager,
    /// Service Usage.
    ServiceUsage,
    /// Organization Policy.
    OrgPolicy,
    /// Policy Analyzer.
    PolicyAnalyzer,
    /// Earth Engine.
    EarthEngine,
}

/// The versions of Resource Manager, which describe a project differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceManager {
    /// v1.
    V1,
    /// v3.
    V3,
}

/// What Policy Analyzer tells the last use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivityType {
    /// Accounts.
    Accounts,
    /// Keys.
    Keys,
}

impl ActivityType {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Accounts, Self::Keys];

    /// As paths and answers name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accounts => "serviceAccountLastAuthentication",
            Self::Keys => "serviceAccountKeyLastAuthentication",
        }
    }

    /// The field that tells what an activity is about.
    pub fn subject(self) -> &'static str {
        match self {
            Self::Accounts => "serviceAccount",
            Self::Keys => "serviceAccountKey",
        }
    }
}

macro_rules! operations {
    ($($constant:ident = $name:literal, $permission:literal, $api:ident;)*) => {
        impl Operation {
            $(#[doc = concat!("`", $name, "`")]
            pub const $constant: Self = Self { name: $name, permission: $permission, api: Api::$api };)*

            /// All that faults can be aimed at.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];
        }
    };
}

operations! {
    ACCOUNTS_CREATE = "accounts.create", "iam.serviceAccounts.create", Iam;
    ACCOUNTS_GET = "accounts.get", "iam.serviceAccounts.get", Iam;
    ACCOUNTS_LIST = "accounts.list", "iam.serviceAccounts.list", Iam;
    ACCOUNTS_PATCH = "accounts.patch", "iam.serviceAccounts.update", Iam;
    ACCOUNTS_UPDATE = "accounts.update", "iam.serviceAccounts.update", Iam;
    ACCOUNTS_DELETE = "accounts.delete", "iam.serviceAccounts.delete", Iam;
    ACCOUNTS_UNDELETE = "accounts.undelete", "iam.serviceAccounts.undelete", Iam;
    ACCOUNTS_DISABLE = "accounts.disable", "iam.serviceAccounts.disable", Iam;
    ACCOUNTS_ENABLE = "accounts.enable", "iam.serviceAccounts.enable", Iam;
    KEYS_CREATE = "keys.create", "iam.serviceAccountKeys.create", Iam;
    KEYS_GET = "keys.get", "iam.serviceAccountKeys.get", Iam;
    KEYS_LIST = "keys.list", "iam.serviceAccountKeys.list", Iam;
    KEYS_DELETE = "keys.delete", "iam.serviceAccountKeys.delete", Iam;
    KEYS_DISABLE = "keys.disable", "iam.serviceAccountKeys.disable", Iam;
    KEYS_ENABLE = "keys.enable", "iam.serviceAccountKeys.enable", Iam;
    KEYS_UPLOAD = "keys.upload", "iam.serviceAccountKeys.upload", Iam;
    ACCOUNTS_GET_POLICY = "accounts.getIamPolicy", "iam.serviceAccounts.getIamPolicy", Iam;
    ACCOUNTS_SET_POLICY = "accounts.setIamPolicy", "iam.serviceAccounts.setIamPolicy", Iam;
    ACCOUNTS_TEST_PERMISSIONS = "accounts.testIamPermissions", "", Iam;
    PROJECTS_GET_POLICY = "projects.getIamPolicy", "resourcemanager.projects.getIamPolicy", ResourceManager;
    PROJECTS_SET_POLICY = "projects.setIamPolicy", "resourcemanager.projects.setIamPolicy", ResourceManager;
    PROJECTS_TEST_PERMISSIONS = "projects.testIamPermissions", "", ResourceManager;
    PROJECTS_GET = "projects.get", "resourcemanager.projects.get", ResourceManager;
    SERVICES_GET = "services.get", "serviceusage.services.get", ServiceUsage;
    SERVICES_BATCH_GET = "services.batchGet", "serviceusage.services.get", ServiceUsage;
    SERVICES_LIST = "services.list", "serviceusage.services.list", ServiceUsage;
    SERVICES_ENABLE = "services.enable", "serviceusage.services.enable", ServiceUsage;
    SERVICES_BATCH_ENABLE = "services.batchEnable", "serviceusage.services.enable", ServiceUsage;
    SERVICES_DISABLE = "services.disable", "serviceusage.services.disable", ServiceUsage;
    OPERATIONS_GET = "operations.get", "serviceusage.operations.get", ServiceUsage;
    ORG_POLICIES_EFFECTIVE = "policies.getEffectivePolicy", "orgpolicy.policy.get", OrgPolicy;
    KEY_ACTIVITIES =
        "keyActivities.query", "policyanalyzer.serviceAccountKeyLastAuthenticationActivities.query", PolicyAnalyzer;
    ACCOUNT_ACTIVITIES =
        "accountActivities.query", "policyanalyzer.serviceAccountLastAuthenticationActivities.query", PolicyAnalyzer;
    ATTEMPTS_GET = "attempts.get", "keywheel.attempts.get", Iam;
    GENERATE_ACCESS_TOKEN = "accounts.generateAccessToken", "", Credentials;
    EARTH_ENGINE_CONFIG = "earthEngine.getConfig", "earthengine.config.get", EarthEngine;
    EARTH_ENGINE_ALGORITHMS = "earthEngine.algorithms", "earthengine.computations.create", EarthEngine;
    EARTH_ENGINE_COMPUTE = "earthEngine.compute", "earthengine.computations.create", EarthEngine;
    TOKEN = "token", "", Iam;
    STS_TOKEN = "sts.token", "", Iam;
    METADATA = "metadata", "", Iam;
}
