//! From a method and a path to what is meant.

use axum::http::Method;
use percent_encoding::percent_decode_str;

use super::operation::{ActivityType, Operation, ResourceManager};
use crate::iam_server::disruptive;

/// Where an account is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountPath {
    /// A project id, or `-`: the one that the account names.
    pub project: String,
    /// An e-mail address or a unique id.
    pub account: String,
}

impl AccountPath {
    /// An account whose project is left open.
    pub fn anywhere(account: &str) -> Self {
        Self { project: "-".to_owned(), account: account.to_owned() }
    }

    /// Whether the project was left open.
    pub fn is_wildcard(&self) -> bool {
        self.project == "-"
    }
}

/// A call of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiCall {
    /// Which method.
    pub operation: Operation,
    /// On what.
    pub target: Target,
}

/// What an API call is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The accounts of a project.
    Accounts(String),
    /// A project itself, for its policy.
    Project(String),
    /// A project itself, to be described.
    Description(String, ResourceManager),
    /// The services of a project.
    Services(String),
    /// One service of a project.
    Service(String, String),
    /// An operation of Service Usage, by id.
    Operation(String),
    /// A constraint on a project.
    Constraint(String, String),
    /// Earth Engine in a project.
    EarthEngine(String),
    /// The last uses in a project.
    Activities(String, ActivityType),
    /// One account, or its collection of keys.
    Account(AccountPath),
    /// One key.
    Key(AccountPath, String),
    /// The attempt with this nonce.
    Attempt(String),
}

impl Target {
    /// The project in it, if it names one.
    pub fn project_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Accounts(project)
            | Self::Project(project)
            | Self::Description(project, _)
            | Self::Services(project)
            | Self::EarthEngine(project)
            | Self::Service(project, _)
            | Self::Constraint(project, _)
            | Self::Activities(project, _) => Some(project),
            Self::Account(at) | Self::Key(at, _) => Some(&mut at.project),
            Self::Operation(_) | Self::Attempt(_) => None,
        }
    }
}

/// How the public key endpoints write keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicKeyFormat {
    /// Certificates by key id.
    X509,
    /// A JWK set.
    Jwk,
    /// PEM keys by key id.
    Raw,
}

/// What a request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// A method of the API.
    Api(ApiCall),
    /// The OAuth2 token endpoint.
    Token,
    /// The token exchange of workload identity federation.
    StsToken,
    /// The metadata server: what follows `/computeMetadata/v1/`.
    Metadata(Vec<String>),
    /// The root, which clients ask whether this is a metadata server.
    Root,
    /// The public keys of an account.
    PublicKeys {
        /// How they are written.
        format: PublicKeyFormat,
        /// Whose.
        email: String,
    },
    /// The certificates with which ID tokens are checked.
    IdTokenCertificates(PublicKeyFormat),
    /// What clients of Earth Engine read before they do anything.
    EarthEngineDescription,
    /// The API of Disruptive Technologies.
    Disruptive(disruptive::Route),
    /// The fault API.
    Faults(Method),
    /// The settings that change at run time.
    Settings(Method),
    /// Google has it, this server does not.
    Unbuilt(String),
    /// Nothing.
    Unknown,
}

impl Route {
    /// Reads a request line.
    pub fn parse(method: &Method, path: &str) -> Self {
        let Some(segments) = decode(path) else { return Self::Unknown };
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        if let Some(route) = disruptive::Route::parse(method, &parts) {
            return Self::Disruptive(route);
        }
        match parts.as_slice() {
            ["token"] | ["o", "oauth2", "token"] | ["oauth2", "v4", "token"] if method == Method::POST => {
                Self::Token
            }
            ["v1", "token"] if method == Method::POST => Self::StsToken,
            ["computeMetadata", "v1", rest @ ..] if method == Method::GET => {
                Self::Metadata(rest.iter().map(ToString::to_string).collect())
            }
            [""] if method == Method::GET => Self::Root,
            ["faults"] => Self::Faults(method.clone()),
            ["settings"] => Self::Settings(method.clone()),
            ["robot" | "service_accounts", "v1", "metadata", "x509", email] if method == Method::GET => {
                Self::public_keys(PublicKeyFormat::X509, email)
            }
            ["robot" | "service_accounts", "v1", "metadata", "raw", email] if method == Method::GET => {
                Self::public_keys(PublicKeyFormat::Raw, email)
            }
            ["robot", "v1", "metadata", "jwk", email] | ["service_accounts", "v1", "jwk", email]
                if method == Method::GET =>
            {
                Self::public_keys(PublicKeyFormat::Jwk, email)
            }
            ["oauth2", "v1", "certs"] if method == Method::GET => {
                Self::IdTokenCertificates(PublicKeyFormat::X509)
            }
            ["oauth2", "v3", "certs"] if method == Method::GET => {
                Self::IdTokenCertificates(PublicKeyFormat::Jwk)
            }
            ["$discovery", "rest"] if method == Method::GET => Self::EarthEngineDescription,
            ["v1", "projects", project, rest @ ("config" | "algorithms" | "value:compute")] => {
                Self::earth_engine(method, project, rest)
            }
            ["v1", "projects", project, "serviceAccounts", rest @ ..] => {
                Self::service_accounts(method, project, rest)
            }
            ["v1" | "v3", "projects", last] if method == Method::POST && has_verb(last) => {
                Self::project(last)
            }
            [version @ ("v1" | "v3"), "projects", project] if method == Method::GET && !has_verb(project) => {
                let version = if *version == "v1" { ResourceManager::V1 } else { ResourceManager::V3 };
                Self::api(Operation::PROJECTS_GET, Target::Description((*project).to_owned(), version))
            }
            ["v1", "projects", project, rest @ ..]
                if matches!(rest, ["services", ..] | ["services:batchEnable" | "services:batchGet"]) =>
            {
                Self::services(method, project, rest)
            }
            ["v1", "operations", id] if method == Method::GET && !has_verb(id) => {
                Self::api(Operation::OPERATIONS_GET, Target::Operation((*id).to_owned()))
            }
            ["v2", "projects", project, "policies", last] if method == Method::GET => {
                Self::effective_policy(project, last)
            }
            [
                "v1",
                "projects",
                project,
                "locations",
                "global",
                "activityTypes",
                activity,
                "activities:query",
            ] if method == Method::GET => Self::activities(project, activity),
            ["keywheel", "v1", "attempts", nonce] if method == Method::GET => Self::Api(ApiCall {
                operation: Operation::ATTEMPTS_GET,
                target: Target::Attempt((*nonce).to_owned()),
            }),
            other => unbuilt(method, other),
        }
    }

    fn api(operation: Operation, target: Target) -> Self {
        Self::Api(ApiCall { operation, target })
    }

    fn services(method: &Method, project: &str, rest: &[&str]) -> Self {
        let all = Target::Services(project.to_owned());
        let one = |service: &str| Target::Service(project.to_owned(), service.to_owned());
        match (method.as_str(), rest) {
            ("GET", ["services"]) => Self::api(Operation::SERVICES_LIST, all),
            ("GET", ["services:batchGet"]) => Self::api(Operation::SERVICES_BATCH_GET, all),
            ("POST", ["services:batchEnable"]) => Self::api(Operation::SERVICES_BATCH_ENABLE, all),
            ("GET", ["services", service]) if !has_verb(service) => {
                Self::api(Operation::SERVICES_GET, one(service))
            }
            ("POST", ["services", last]) => match last.rsplit_once(':') {
                Some((service, "enable")) => Self::api(Operation::SERVICES_ENABLE, one(service)),
                Some((service, "disable")) => Self::api(Operation::SERVICES_DISABLE, one(service)),
                _ => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }

    fn earth_engine(method: &Method, project: &str, what: &str) -> Self {
        let operation = match (method.as_str(), what) {
            ("GET", "config") => Operation::EARTH_ENGINE_CONFIG,
            ("GET", "algorithms") => Operation::EARTH_ENGINE_ALGORITHMS,
            ("POST", "value:compute") => Operation::EARTH_ENGINE_COMPUTE,
            _ => return Self::Unknown,
        };
        Self::api(operation, Target::EarthEngine(project.to_owned()))
    }

    fn effective_policy(project: &str, last: &str) -> Self {
        match last.rsplit_once(':') {
            Some((constraint, "getEffectivePolicy")) => {
                let target = Target::Constraint(project.to_owned(), constraint.to_owned());
                Self::api(Operation::ORG_POLICIES_EFFECTIVE, target)
            }
            _ => Self::Unbuilt("The policies that a project itself sets".to_owned()),
        }
    }

    fn activities(project: &str, activity: &str) -> Self {
        let Some(activity) = ActivityType::ALL.into_iter().find(|known| known.name() == activity) else {
            return Self::Unknown;
        };
        let operation = match activity {
            ActivityType::Accounts => Operation::ACCOUNT_ACTIVITIES,
            ActivityType::Keys => Operation::KEY_ACTIVITIES,
        };
        Self::api(operation, Target::Activities(project.to_owned(), activity))
    }

    fn project(last: &str) -> Self {
        let Some((project, verb)) = last.rsplit_once(':') else { return Self::Unknown };
        let operation = match verb {
            "getIamPolicy" => Operation::PROJECTS_GET_POLICY,
            "setIamPolicy" => Operation::PROJECTS_SET_POLICY,
            "testIamPermissions" => Operation::PROJECTS_TEST_PERMISSIONS,
            other => return Self::Unbuilt(format!("projects.{other}")),
        };
        Self::Api(ApiCall { operation, target: Target::Project(project.to_owned()) })
    }

    fn public_keys(format: PublicKeyFormat, email: &str) -> Self {
        Self::PublicKeys { format, email: email.to_owned() }
    }

    fn service_accounts(method: &Method, project: &str, rest: &[&str]) -> Self {
        let at = |account: &str| AccountPath { project: project.to_owned(), account: account.to_owned() };
        let (operation, target) = match (method.as_str(), rest) {
            ("POST", []) => (Operation::ACCOUNTS_CREATE, Target::Accounts(project.to_owned())),
            ("GET", []) => (Operation::ACCOUNTS_LIST, Target::Accounts(project.to_owned())),
            ("GET", [account]) if !has_verb(account) => {
                (Operation::ACCOUNTS_GET, Target::Account(at(account)))
            }
            ("PATCH", [account]) => (Operation::ACCOUNTS_PATCH, Target::Account(at(account))),
            ("PUT", [account]) => (Operation::ACCOUNTS_UPDATE, Target::Account(at(account))),
            ("DELETE", [account]) => (Operation::ACCOUNTS_DELETE, Target::Account(at(account))),
            ("POST", [last]) => {
                let Some((account, verb)) = last.rsplit_once(':') else { return Self::Unknown };
                let operation = match verb {
                    "undelete" => Operation::ACCOUNTS_UNDELETE,
                    "disable" => Operation::ACCOUNTS_DISABLE,
                    "enable" => Operation::ACCOUNTS_ENABLE,
                    "getIamPolicy" => Operation::ACCOUNTS_GET_POLICY,
                    "setIamPolicy" => Operation::ACCOUNTS_SET_POLICY,
                    "testIamPermissions" => Operation::ACCOUNTS_TEST_PERMISSIONS,
                    "generateAccessToken" => Operation::GENERATE_ACCESS_TOKEN,
                    "signBlob" | "signJwt" | "generateIdToken" => {
                        return Self::Unbuilt(format!("serviceAccounts.{verb}"));
                    }
                    _ => return Self::Unknown,
                };
                (operation, Target::Account(at(account)))
            }
            ("GET", [account, "keys"]) => (Operation::KEYS_LIST, Target::Account(at(account))),
            ("POST", [account, "keys"]) => (Operation::KEYS_CREATE, Target::Account(at(account))),
            ("POST", [account, "keys:upload"]) => (Operation::KEYS_UPLOAD, Target::Account(at(account))),
            ("GET", [account, "keys", key]) if !has_verb(key) => {
                (Operation::KEYS_GET, Target::Key(at(account), (*key).to_owned()))
            }
            ("DELETE", [account, "keys", key]) => {
                (Operation::KEYS_DELETE, Target::Key(at(account), (*key).to_owned()))
            }
            ("POST", [account, "keys", last]) => {
                let (key, operation) = match last.rsplit_once(':') {
                    Some((key, "disable")) => (key, Operation::KEYS_DISABLE),
                    Some((key, "enable")) => (key, Operation::KEYS_ENABLE),
                    _ => return Self::Unknown,
                };
                (operation, Target::Key(at(account), key.to_owned()))
            }
            _ => return Self::Unknown,
        };
        Self::Api(ApiCall { operation, target })
    }
}

fn has_verb(segment: &str) -> bool {
    segment.contains(':')
}

/// Splits a path and decodes its segments; `None` for one that is not UTF-8.
fn decode(path: &str) -> Option<Vec<String>> {
    path.strip_prefix('/')?
        .split('/')
        .map(|segment| percent_decode_str(segment).decode_utf8().ok().map(std::borrow::Cow::into_owned))
        .collect()
}

/// The rest of what Google's hosts serve, as far as clients of this server could ask for it.
fn unbuilt(method: &Method, parts: &[&str]) -> Route {
    let what = match parts {
        ["o", "oauth2", "auth"] => "The login page",
        ["v1", "roles", ..]
        | ["v1", "projects" | "organizations", _, "roles", ..]
        | ["v1", "permissions:queryTestablePermissions" | "roles:queryGrantableRoles"] => "The roles API",
        ["v1", "iamPolicies:lintPolicy" | "iamPolicies:queryAuditableServices"] => "The policy linter",
        ["v1", "projects", _, "locations", ..] | ["v1", "locations", ..] => {
            "Workload identity pools and policy analysis"
        }
        ["v1", "operations", ..] => "The list of operations",
        ["v1" | "v3", "projects", ..] | ["v3", ..] => "The Resource Manager API",
        ["v2", "projects" | "organizations" | "folders", ..] => "The organization policy API",
        _ => return Route::Unknown,
    };
    Route::Unbuilt(format!("{what} ({method} /{})", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &str = "b@p1.iam.gserviceaccount.com";

    fn api(method: &Method, path: &str) -> (&'static str, Target) {
        match Route::parse(method, path) {
            Route::Api(call) => (call.operation.name, call.target),
            other => panic!("{path} is {other:?}"),
        }
    }

    fn activities(of: ActivityType) -> String {
        format!("/v1/projects/p1/locations/global/activityTypes/{}/activities:query", of.name())
    }

    #[test]
    fn every_operation_has_a_path() {
        let at = AccountPath { project: "p1".into(), account: MAIL.into() };
        let base = format!("/v1/projects/p1/serviceAccounts/{MAIL}");
        let table = [
            (Method::POST, "/v1/projects/p1/serviceAccounts".to_owned(), "accounts.create"),
            (Method::GET, "/v1/projects/p1/serviceAccounts".to_owned(), "accounts.list"),
            (Method::GET, base.clone(), "accounts.get"),
            (Method::PATCH, base.clone(), "accounts.patch"),
            (Method::PUT, base.clone(), "accounts.update"),
            (Method::DELETE, base.clone(), "accounts.delete"),
            (Method::POST, format!("{base}:undelete"), "accounts.undelete"),
            (Method::POST, format!("{base}:disable"), "accounts.disable"),
            (Method::POST, format!("{base}:enable"), "accounts.enable"),
            (Method::GET, format!("{base}/keys"), "keys.list"),
            (Method::POST, format!("{base}/keys"), "keys.create"),
            (Method::POST, format!("{base}/keys:upload"), "keys.upload"),
            (Method::GET, format!("{base}/keys/k"), "keys.get"),
            (Method::DELETE, format!("{base}/keys/k"), "keys.delete"),
            (Method::POST, format!("{base}/keys/k:disable"), "keys.disable"),
            (Method::POST, format!("{base}/keys/k:enable"), "keys.enable"),
            (Method::POST, format!("{base}:getIamPolicy"), "accounts.getIamPolicy"),
            (Method::POST, format!("{base}:setIamPolicy"), "accounts.setIamPolicy"),
            (Method::POST, format!("{base}:testIamPermissions"), "accounts.testIamPermissions"),
            (Method::POST, "/v1/projects/p1:getIamPolicy".to_owned(), "projects.getIamPolicy"),
            (Method::POST, "/v3/projects/p1:setIamPolicy".to_owned(), "projects.setIamPolicy"),
            (Method::POST, "/v1/projects/p1:testIamPermissions".to_owned(), "projects.testIamPermissions"),
            (Method::GET, "/v3/projects/p1".to_owned(), "projects.get"),
            (Method::GET, "/v1/projects/p1/services/s".to_owned(), "services.get"),
            (Method::GET, "/v1/projects/p1/services:batchGet".to_owned(), "services.batchGet"),
            (Method::GET, "/v1/projects/p1/services".to_owned(), "services.list"),
            (Method::POST, "/v1/projects/p1/services/s:enable".to_owned(), "services.enable"),
            (Method::POST, "/v1/projects/p1/services:batchEnable".to_owned(), "services.batchEnable"),
            (Method::POST, "/v1/projects/p1/services/s:disable".to_owned(), "services.disable"),
            (Method::GET, "/v1/operations/o".to_owned(), "operations.get"),
            (
                Method::GET,
                "/v2/projects/p1/policies/c:getEffectivePolicy".to_owned(),
                "policies.getEffectivePolicy",
            ),
            (Method::GET, activities(ActivityType::Keys), "keyActivities.query"),
            (Method::GET, activities(ActivityType::Accounts), "accountActivities.query"),
            (Method::POST, format!("{base}:generateAccessToken"), "accounts.generateAccessToken"),
            (Method::GET, "/v1/projects/p1/config".to_owned(), "earthEngine.getConfig"),
            (Method::GET, "/v1/projects/p1/algorithms".to_owned(), "earthEngine.algorithms"),
            (Method::POST, "/v1/projects/p1/value:compute".to_owned(), "earthEngine.compute"),
            (Method::GET, "/keywheel/v1/attempts/n".to_owned(), "attempts.get"),
        ];
        for (method, path, name) in &table {
            let (found, target) = api(method, path);
            assert_eq!(found, *name);
            match target {
                Target::Account(found) => assert_eq!(found, at),
                Target::Key(found, key) => assert_eq!((found, key.as_str()), (at.clone(), "k")),
                Target::Attempt(nonce) => assert_eq!(nonce, "n"),
                Target::Operation(id) => assert_eq!(id, "o"),
                mut other => assert_eq!(other.project_mut().map(|project| project.as_str()), Some("p1")),
            }
        }
        // All but the endpoints of tokens and the metadata server, which lie elsewhere.
        assert_eq!(table.len() + 3, Operation::ALL.len());
    }

    #[test]
    fn addresses_may_be_encoded() {
        let (_, target) = api(&Method::GET, "/v1/projects/-/serviceAccounts/b%40p1.iam.gserviceaccount.com");
        assert_eq!(target, Target::Account(AccountPath { project: "-".into(), account: MAIL.into() }));
    }

    #[test]
    fn public_keys_have_two_homes() {
        for (path, format) in [
            ("/robot/v1/metadata/x509/b%40p1", PublicKeyFormat::X509),
            ("/robot/v1/metadata/jwk/b@p1", PublicKeyFormat::Jwk),
            ("/robot/v1/metadata/raw/b@p1", PublicKeyFormat::Raw),
            ("/service_accounts/v1/metadata/x509/b@p1", PublicKeyFormat::X509),
            ("/service_accounts/v1/metadata/raw/b@p1", PublicKeyFormat::Raw),
            ("/service_accounts/v1/jwk/b@p1", PublicKeyFormat::Jwk),
        ] {
            let email = "b@p1".to_owned();
            assert_eq!(Route::parse(&Method::GET, path), Route::PublicKeys { format, email });
        }
        assert_eq!(Route::parse(&Method::GET, "/service_accounts/v1/metadata/jwk/b@p1"), Route::Unknown);
    }

    #[test]
    fn what_is_missing_is_told_apart_from_what_does_not_exist() {
        let unbuilt = |method: &Method, path: &str| matches!(Route::parse(method, path), Route::Unbuilt(_));
        assert!(unbuilt(&Method::POST, &format!("/v1/projects/p1/serviceAccounts/{MAIL}:signJwt")));
        assert!(unbuilt(&Method::POST, &format!("/v1/projects/-/serviceAccounts/{MAIL}:generateIdToken")));
        assert!(unbuilt(&Method::POST, "/v1/projects/p1:undelete"));
        assert!(unbuilt(&Method::GET, "/v1/projects/p1/roles/r"));
        for (method, path) in [
            (Method::POST, "/"),
            (Method::GET, "/token"),
            (Method::GET, "/v1/token"),
            (Method::GET, "/v9/projects/p1"),
            (Method::PATCH, "/v1/projects/p1/serviceAccounts/a/keys/k"),
            (Method::POST, "/v1/projects/p1/serviceAccounts/a:explode"),
            (Method::POST, "/v1/projects/p1/serviceAccounts/a"),
            (Method::GET, "/v1/projects/p1/serviceAccounts/a:disable"),
            (Method::GET, "/v1/projects/p1/serviceAccounts/%ff"),
        ] {
            assert_eq!(Route::parse(&method, path), Route::Unknown, "{method} {path}");
        }
    }
}
