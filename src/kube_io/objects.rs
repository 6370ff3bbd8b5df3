//! Calls on objects, each with its timeout; writes carry the uid and resource version of what was read.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::ObjectList;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::KubeIoError;
use crate::defect;

/// Name of this writer in `managedFields`.
const FIELD_MANAGER: &str = "keywheel";

/// The way to the API server.
#[derive(Clone)]
pub struct Io {
    client: Client,
    timeout: Duration,
}

impl Io {
    /// Calls through this client end within `timeout`.
    pub fn new(client: Client, timeout: Duration) -> Self {
        Self { client, timeout }
    }

    /// The client itself, for watches.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Objects of a namespace.
    pub fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Objects of the whole cluster.
    pub fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    async fn bounded<T>(
        &self,
        verb: &'static str,
        object: &str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, KubeIoError> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer.map_err(|e| KubeIoError::of(verb, object, e)),
            Err(_) => Err(KubeIoError::Timeout { verb, object: object.to_owned(), after: self.timeout }),
        }
    }

    /// Quorum read of an object that may not be there.
    pub async fn get<K>(&self, api: &Api<K>, name: &str) -> Result<Option<K>, KubeIoError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.bounded("get", &label::<K>(name), api.get_opt(name)).await
    }

    /// Quorum list.
    pub async fn list<K>(&self, api: &Api<K>, params: &ListParams) -> Result<ObjectList<K>, KubeIoError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.bounded("list", &label::<K>(""), api.list(params)).await
    }

    /// Creates an object; with `dry_run` only asks whether it could be.
    pub async fn create<K>(&self, api: &Api<K>, object: &K, dry_run: bool) -> Result<K, KubeIoError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let params = post(dry_run);
        self.bounded("create", &label::<K>(&object.name_any()), api.create(&params, object)).await
    }

    /// Replaces an object as it was read: a newer one refuses.
    pub async fn replace<K>(&self, api: &Api<K>, object: &K, dry_run: bool) -> Result<K, KubeIoError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let name = object.name_any();
        guarded(object)?;
        let params = post(dry_run);
        self.bounded("replace", &label::<K>(&name), api.replace(&name, &params, object)).await
    }

    /// Replaces the status of an object as it was read.
    pub async fn replace_status<K>(&self, api: &Api<K>, object: &K) -> Result<K, KubeIoError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let name = object.name_any();
        guarded(object)?;
        let params = post(false);
        let call = api.replace_status(&name, &params, object);
        self.bounded("replace status of", &label::<K>(&name), call).await
    }

    /// Sets the finalizers of an object as it was read.
    pub async fn set_finalizers<K>(
        &self,
        api: &Api<K>,
        object: &K,
        finalizers: &[String],
    ) -> Result<(), KubeIoError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.patch_meta(api, object, "set finalizers of", ("finalizers", json!(finalizers))).await
    }

    /// Sets an annotation of an object as it was read.
    pub async fn annotate<K>(
        &self,
        api: &Api<K>,
        object: &K,
        annotation: &str,
        value: &str,
    ) -> Result<(), KubeIoError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let annotations = json!({ annotation: value });
        self.patch_meta(api, object, "annotate", ("annotations", annotations)).await
    }

    async fn patch_meta<K>(
        &self,
        api: &Api<K>,
        object: &K,
        what: &'static str,
        (field, value): (&str, serde_json::Value),
    ) -> Result<(), KubeIoError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let name = object.name_any();
        guarded(object)?;
        let meta = object.meta();
        let patch: Patch<serde_json::Value> = Patch::Merge(json!({ "metadata": {
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
            field: value,
        }}));
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.bounded(what, &label::<K>(&name), api.patch(&name, &params, &patch)).await.map(drop)
    }

    /// Sets an annotation on the pod template of a workload. Nothing else is touched, and the same value again changes
    /// nothing, so that it needs no guard.
    pub async fn stamp<K>(
        &self,
        api: &Api<K>,
        name: &str,
        annotation: &str,
        value: &str,
    ) -> Result<(), KubeIoError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let patch: Patch<serde_json::Value> = Patch::Merge(json!({
            "spec": { "template": { "metadata": { "annotations": { annotation: value } } } }
        }));
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.bounded("restart", &label::<K>(name), api.patch(name, &params, &patch)).await.map(drop)
    }

    /// Deletes exactly the object that was read. One that is gone already counts as deleted.
    pub async fn delete<K>(
        &self,
        api: &Api<K>,
        name: &str,
        uid: &str,
        resource_version: Option<&str>,
    ) -> Result<(), KubeIoError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: resource_version.map(str::to_owned),
            }),
            ..DeleteParams::default()
        };
        match self.bounded("delete", &label::<K>(name), api.delete(name, &params)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn post(dry_run: bool) -> PostParams {
    PostParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()) }
}

fn label<K: Resource<DynamicType = ()>>(name: &str) -> String {
    format!("{} {name}", K::kind(&()))
}

/// A write that names no resource version would win over anybody's.
fn guarded<K: Resource<DynamicType = ()>>(object: &K) -> Result<(), KubeIoError> {
    match object.meta().resource_version {
        Some(_) => Ok(()),
        None if defect!(BlindPublish) => Ok(()),
        None => Err(KubeIoError::Incomplete {
            object: label::<K>(object.meta().name.as_deref().unwrap_or_default()),
            field: "metadata.resourceVersion",
        }),
    }
}
