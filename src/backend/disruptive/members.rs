//! The calls about members.

use async_trait::async_trait;
use reqwest::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::Disruptive;
use crate::backend::BackendError;
use crate::backend::members::Members;
use crate::domain::Class;

#[derive(Deserialize)]
struct Member {
    roles: Vec<String>,
}

#[async_trait]
impl Members for Disruptive {
    async fn read_member(&self, resource: &str, id: &str) -> Result<Vec<String>, BackendError> {
        let path = format!("{resource}/members/{id}");
        match self.session.send::<Member>("members.get", Method::GET, &path, &[], None).await {
            Ok(answer) => Ok(answer.document.roles),
            Err(error) if error.class() == Class::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn create_member(&self, resource: &str, email: &str, role: &str) -> Result<(), BackendError> {
        let body = json!({"roles": [role], "email": email});
        self.write("members.create", Method::POST, &format!("{resource}/members"), Some(&body)).await
    }

    async fn replace_role(&self, resource: &str, id: &str, role: &str) -> Result<(), BackendError> {
        let body = json!({"roles": [role]});
        self.write("members.patch", Method::PATCH, &format!("{resource}/members/{id}"), Some(&body)).await
    }

    async fn delete_member(&self, resource: &str, id: &str) -> Result<(), BackendError> {
        self.write("members.delete", Method::DELETE, &format!("{resource}/members/{id}"), None).await
    }
}

impl Disruptive {
    async fn write(
        &self,
        call: &'static str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(), BackendError> {
        self.session.send::<IgnoredAny>(call, method, path, &[], body).await.map(drop)
    }
}
