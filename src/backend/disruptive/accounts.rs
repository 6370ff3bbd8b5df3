//! Calls about accounts. They have no chosen id, no description and no state; what people call them is all that a create carries.

use reqwest::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::pages::Pages;
use super::{Disruptive, PAGE};
use crate::backend::{AccountListing, BackendError, Description, NewAccount};
use crate::domain::Class;
use crate::domain::account::Account;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAccount {
    name: String,
    email: String,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    enable_basic_auth: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    service_accounts: Vec<WireAccount>,
    next_page_token: String,
}

impl Disruptive {
    /// The path of an account.
    pub(super) fn account(&self, id: &str) -> String {
        format!("projects/{}/serviceaccounts/{id}", self.facts.project)
    }

    /// By id, or by e-mail, whose first part is the id.
    pub(super) async fn find(&self, handle: &str) -> Result<Option<Account>, BackendError> {
        let id = handle.split_once('@').map_or(handle, |(id, _)| id);
        let found = self.session.send("accounts.get", Method::GET, &self.account(id), &[], None).await;
        match found {
            Ok(answer) => {
                let account = self.read(answer.document)?;
                Ok((!handle.contains('@') || account.email == handle).then_some(account))
            }
            Err(error) if error.class() == Class::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn list_all(&self) -> Result<AccountListing, BackendError> {
        const CALL: &str = "accounts.list";
        let path = format!("projects/{}/serviceaccounts", self.facts.project);
        let (mut accounts, mut backend_time, mut pages) = (Vec::new(), None, Pages::default());
        loop {
            let query = [("pageSize", PAGE), ("pageToken", pages.token())];
            let answer = self.session.send::<Page>(CALL, Method::GET, &path, &query, None).await?;
            // What was made after the first page may be missing.
            backend_time = backend_time.or(answer.date);
            for account in answer.document.service_accounts {
                accounts.push(self.read(account)?);
            }
            if !pages.goes_on(CALL, answer.document.next_page_token)? {
                let backend_time =
                    backend_time.ok_or(BackendError::Incomplete { call: CALL, what: "Date" })?;
                return Ok(AccountListing { accounts, backend_time });
            }
        }
    }

    pub(super) async fn create(&self, account: &NewAccount) -> Result<Account, BackendError> {
        let path = format!("projects/{}/serviceaccounts", self.facts.project);
        let body = json!({"displayName": account.display_name, "enableBasicAuth": account.basic_auth});
        let made = self.session.send("accounts.create", Method::POST, &path, &[], Some(&body)).await?;
        self.read(made.document)
    }

    pub(super) async fn describe(&self, id: &str, to: &Description) -> Result<(), BackendError> {
        let mut body = Map::new();
        if let Some(name) = &to.display_name {
            body.insert("displayName".to_owned(), json!(name));
        }
        if let Some(enabled) = to.basic_auth {
            body.insert("enableBasicAuth".to_owned(), json!(enabled));
        }
        let (path, body) = (self.account(id), Value::Object(body));
        self.session
            .send::<IgnoredAny>("accounts.patch", Method::PATCH, &path, &[], Some(&body))
            .await
            .map(drop)
    }

    pub(super) async fn delete(&self, id: &str) -> Result<(), BackendError> {
        let path = self.account(id);
        self.session.send::<IgnoredAny>("accounts.delete", Method::DELETE, &path, &[], None).await.map(drop)
    }

    fn read(&self, account: WireAccount) -> Result<Account, BackendError> {
        let id = account.name.rsplit_once("/serviceaccounts/").map(|(_, id)| id.to_owned());
        let unique_id = id
            .filter(|id| !id.is_empty() && account.name == self.account(id))
            .ok_or(BackendError::Incomplete { call: "accounts.get", what: "name" })?;
        Ok(Account {
            name: account.name,
            email: account.email,
            unique_id,
            display_name: account.display_name,
            description: String::new(),
            disabled: false,
            basic_auth: account.enable_basic_auth,
        })
    }
}
