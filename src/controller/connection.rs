//! What a backend object says about its system, in the words of [`crate::backend`].

use std::num::NonZeroU32;

use super::registry::Unusable;
use crate::api::v1alpha1::{
    ClusterDisruptive, ClusterGoogle, ClusterIamBackendSpec, Disruptive, GoogleEndpoints, IamBackendSpec,
    RateLimit, SecretKeyRef, WorkloadIdentityFederation,
};
use crate::backend::{
    DisruptiveCloud, DisruptiveEndpoints, Embedded, Endpoints, GoogleCloud, GoogleLogin, Rate, System,
};
use crate::credential::SecretBytes;
use crate::domain::Reason;

/// A system and how it is asked, without the content of the login Secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    system: Spec,
    /// How many requests it gets; all that there are, if `None`.
    pub rate: Option<Rate>,
}

#[derive(Clone, Debug, PartialEq)]
enum Spec {
    /// Google Cloud.
    Google {
        /// What the object says.
        spec: Box<ClusterGoogle>,
        /// Whether an administrator of the cluster wrote it.
        trusted: bool,
    },
    /// Disruptive Technologies.
    Disruptive(Box<ClusterDisruptive>),
    /// Keywheel's own server.
    Embedded {
        /// Base URL.
        endpoint: String,
        /// The login Secret.
        secret_ref: SecretKeyRef,
    },
}

impl Target {
    /// What a cluster-wide backend means.
    pub fn of_cluster(spec: ClusterIamBackendSpec) -> Result<Self, Unusable> {
        let system = match (spec.google, spec.disruptive, spec.embedded) {
            (Some(spec), None, None) => Spec::Google { spec: Box::new(spec), trusted: true },
            (None, Some(spec), None) => Spec::Disruptive(Box::new(spec)),
            (None, None, Some(embedded)) => {
                Spec::Embedded { endpoint: embedded.endpoint, secret_ref: embedded.auth.secret_ref }
            }
            _ => return Err(not_one()),
        };
        Ok(Self::new(system, spec.rate_limit))
    }

    /// What a namespace's own backend means: nothing of the operator's own is lent to it, neither its login nor its
    /// network.
    pub fn of_namespace(spec: IamBackendSpec, embedded_endpoint: Option<&str>) -> Result<Self, Unusable> {
        let system = match (spec.google, spec.disruptive, spec.embedded) {
            (None, Some(own), None) => {
                let Disruptive { project_id, auth } = own;
                Spec::Disruptive(Box::new(ClusterDisruptive { project_id, auth, endpoints: None }))
            }
            (Some(google), None, None) => {
                let auth = crate::api::v1alpha1::GoogleAuth {
                    secret_ref: Some(google.auth.secret_ref),
                    ..Default::default()
                };
                let spec = ClusterGoogle { project_id: google.project_id, auth, endpoints: None };
                Spec::Google { spec: Box::new(spec), trusted: false }
            }
            (None, None, Some(embedded)) => {
                let missing = "The controller has no address of an embedded server: start it with \
                               --embedded-endpoint";
                let endpoint =
                    embedded_endpoint.ok_or_else(|| Unusable::new(Reason::InvalidSpec, missing))?;
                Spec::Embedded { endpoint: endpoint.to_owned(), secret_ref: embedded.auth.secret_ref }
            }
            _ => return Err(not_one()),
        };
        Ok(Self::new(system, spec.rate_limit))
    }

    fn new(system: Spec, limit: Option<RateLimit>) -> Self {
        let limit = limit.or((!matches!(system, Spec::Embedded { .. })).then(RateLimit::default));
        let rate = limit.and_then(|limit| {
            let per_minute = NonZeroU32::new(limit.requests_per_minute)?;
            Some(Rate { per_minute, burst: NonZeroU32::new(limit.burst)? })
        });
        Self { system, rate }
    }

    /// The Secret that holds the login, if one does.
    pub fn secret_ref(&self) -> Option<&SecretKeyRef> {
        match &self.system {
            Spec::Google { spec, .. } => spec.auth.secret_ref.as_ref(),
            Spec::Disruptive(spec) => Some(&spec.auth.secret_ref),
            Spec::Embedded { secret_ref, .. } => Some(secret_ref),
        }
    }

    /// The system to log in to, with what the login Secret holds.
    pub fn system<'a>(&'a self, login: Option<&'a SecretBytes>) -> Result<System<'a>, Unusable> {
        let no_login = || Unusable::new(Reason::LoginMissing, "The backend names no login Secret");
        match &self.system {
            Spec::Embedded { endpoint, .. } => {
                Ok(System::Embedded(Embedded { endpoint, login: login.ok_or_else(no_login)? }))
            }
            Spec::Disruptive(spec) => Ok(System::Disruptive(DisruptiveCloud {
                project: &spec.project_id,
                login: login.ok_or_else(no_login)?,
                endpoints: disruptive_endpoints(spec),
            })),
            Spec::Google { spec, trusted } => {
                let login = match (&spec.auth.workload_identity_federation, login) {
                    (Some(WorkloadIdentityFederation { audience, token_file }), None) => {
                        GoogleLogin::Federated { audience, token_file }
                    }
                    (None, Some(file)) => GoogleLogin::File { file, trusted: *trusted },
                    (None, None) if *trusted => GoogleLogin::Ambient,
                    (None, None) => return Err(no_login()),
                    (Some(_), Some(_)) => {
                        let message = "spec.google.auth has both secretRef and workloadIdentityFederation";
                        return Err(Unusable::new(Reason::InvalidSpec, message));
                    }
                };
                Ok(System::Google(GoogleCloud {
                    project: &spec.project_id,
                    login,
                    impersonate: spec.auth.impersonate.as_deref(),
                    endpoints: Box::new(endpoints(spec.endpoints.as_ref())),
                }))
            }
        }
    }
}

fn not_one() -> Unusable {
    Unusable::new(Reason::InvalidSpec, "The spec must have exactly one of google, disruptive and embedded")
}

fn disruptive_endpoints(spec: &ClusterDisruptive) -> DisruptiveEndpoints {
    let own = DisruptiveEndpoints::default();
    let Some(spec) = &spec.endpoints else { return own };
    let chosen = |url: &Option<String>, own: String| {
        url.as_ref().map_or(own, |url| url.trim_end_matches('/').to_owned())
    };
    DisruptiveEndpoints { api: chosen(&spec.api, own.api), token: chosen(&spec.token, own.token) }
}

fn endpoints(spec: Option<&GoogleEndpoints>) -> Endpoints {
    let own = Endpoints::default();
    let Some(spec) = spec else { return own };
    let chosen = |spec: &Option<String>, own: String| {
        spec.as_ref().map_or(own, |url| url.trim_end_matches('/').to_owned())
    };
    Endpoints {
        iam: chosen(&spec.iam, own.iam),
        resource_manager: chosen(&spec.resource_manager, own.resource_manager),
        token: chosen(&spec.token, own.token),
        sts: chosen(&spec.sts, own.sts),
        iam_credentials: chosen(&spec.iam_credentials, own.iam_credentials),
        service_usage: chosen(&spec.service_usage, own.service_usage),
        earth_engine: chosen(&spec.earth_engine, own.earth_engine),
        policy_analyzer: chosen(&spec.policy_analyzer, own.policy_analyzer),
        public_keys: chosen(&spec.public_keys, own.public_keys),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::{Google, GoogleAuth, SecretAuth};

    fn secret_ref() -> SecretKeyRef {
        SecretKeyRef { name: "login".to_owned(), key: "key.json".to_owned() }
    }

    #[test]
    fn a_namespace_gets_nothing_of_the_operators_own() {
        let google =
            Google { project_id: "tenant-1".to_owned(), auth: SecretAuth { secret_ref: secret_ref() } };
        let spec =
            IamBackendSpec { google: Some(google), disruptive: None, embedded: None, rate_limit: None };
        let target = Target::of_namespace(spec, None).unwrap();
        let file = SecretBytes::new(b"{}".to_vec());
        let System::Google(cloud) = target.system(Some(&file)).unwrap() else { panic!("not Google") };
        assert!(matches!(cloud.login, GoogleLogin::File { trusted: false, .. }));
        assert_eq!(target.rate.map(|r| (r.per_minute.get(), r.burst.get())), Some((300, 30)));
        assert_eq!((cloud.impersonate, *cloud.endpoints), (None, Endpoints::default()));
        // Without its Secret it does not fall back on the operator's own account.
        assert_eq!(target.system(None).err().unwrap().reason, Reason::LoginMissing);
    }

    #[test]
    fn an_administrator_chooses_login_and_addresses() {
        let federation =
            WorkloadIdentityFederation { audience: "//iam/p".to_owned(), token_file: "/token".to_owned() };
        let endpoints =
            GoogleEndpoints { iam: Some("http://127.0.0.1:1/".to_owned()), ..GoogleEndpoints::default() };
        let auth = GoogleAuth {
            workload_identity_federation: Some(federation),
            impersonate: Some("a@p.iam.gserviceaccount.com".to_owned()),
            secret_ref: None,
        };
        let google = ClusterGoogle { project_id: "p-123456".to_owned(), auth, endpoints: Some(endpoints) };
        let spec = ClusterIamBackendSpec {
            google: Some(google),
            disruptive: None,
            embedded: None,
            allowed_namespaces: None,
            tenants: None,
            rate_limit: Some(RateLimit { requests_per_minute: 600, ..RateLimit::default() }),
        };
        let mut target = Target::of_cluster(spec).unwrap();
        assert_eq!(target.rate.map(|r| (r.per_minute.get(), r.burst.get())), Some((600, 30)));
        let System::Google(cloud) = target.system(None).unwrap() else { panic!("not Google") };
        assert!(matches!(cloud.login, GoogleLogin::Federated { audience: "//iam/p", token_file: "/token" }));
        assert_eq!(cloud.endpoints.iam, "http://127.0.0.1:1");
        assert_eq!(cloud.endpoints.token, "https://oauth2.googleapis.com/token");
        assert_eq!(cloud.impersonate, Some("a@p.iam.gserviceaccount.com"));
        if let Spec::Google { spec, .. } = &mut target.system {
            spec.auth = GoogleAuth::default();
        }
        let System::Google(cloud) = target.system(None).unwrap() else { panic!("not Google") };
        assert!(matches!(cloud.login, GoogleLogin::Ambient));
    }
}
