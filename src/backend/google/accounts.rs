//! Calls about accounts.

use google_cloud_iam_admin_v1::model::ServiceAccount;
use google_cloud_wkt::FieldMask;

use super::Google;
use crate::backend::{BackendError, Description, NewAccount};
use crate::domain::Class;
use crate::domain::account::Account;

impl Google {
    pub(super) async fn find(&self, handle: &str) -> Result<Option<Account>, BackendError> {
        let email = if handle.contains('@') {
            handle.to_owned()
        } else {
            format!("{handle}@{}.iam.gserviceaccount.com", self.facts.project)
        };
        let request = self.once(self.iam.get_service_account().set_name(self.account(&email)));
        match self.within("accounts.get", request.send()).await {
            Ok(found) => Ok(Some(account(found))),
            Err(error) if error.class() == Class::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn create(&self, new: &NewAccount) -> Result<Account, BackendError> {
        let shown =
            ServiceAccount::new().set_display_name(&new.display_name).set_description(&new.description);
        let request = self
            .iam
            .create_service_account()
            .set_name(format!("projects/{}", self.facts.project))
            .set_account_id(&new.account_id)
            .set_service_account(shown);
        let created = self.within("accounts.create", self.once(request).send()).await?;
        Ok(account(created))
    }

    /// The answer of a patch is partial by contract: it is thrown away, the next read shows the whole.
    pub(super) async fn describe(&self, unique_id: &str, to: &Description) -> Result<(), BackendError> {
        let mut shown = ServiceAccount::new().set_name(self.account(unique_id));
        let mut paths = Vec::new();
        if let Some(name) = &to.display_name {
            shown = shown.set_display_name(name);
            paths.push("display_name");
        }
        if let Some(text) = &to.description {
            shown = shown.set_description(text);
            paths.push("description");
        }
        let mask = FieldMask::default().set_paths(paths);
        let request = self.iam.patch_service_account().set_service_account(shown).set_update_mask(mask);
        self.within("accounts.patch", self.once(request).send()).await.map(drop)
    }

    pub(super) async fn set_disabled(&self, unique_id: &str, disabled: bool) -> Result<(), BackendError> {
        let name = self.account(unique_id);
        if disabled {
            let request = self.once(self.iam.disable_service_account().set_name(name));
            self.within("accounts.disable", request.send()).await
        } else {
            let request = self.once(self.iam.enable_service_account().set_name(name));
            self.within("accounts.enable", request.send()).await
        }
    }

    pub(super) async fn undelete(&self, unique_id: &str) -> Result<String, BackendError> {
        let request = self.once(self.iam.undelete_service_account().set_name(self.account(unique_id)));
        let answer = self.within("accounts.undelete", request.send()).await?;
        let restored = answer
            .restored_account
            .ok_or(BackendError::Incomplete { call: "accounts.undelete", what: "restoredAccount" })?;
        Ok(restored.email)
    }

    pub(super) async fn delete(&self, unique_id: &str) -> Result<(), BackendError> {
        let request = self.once(self.iam.delete_service_account().set_name(self.account(unique_id)));
        self.within("accounts.delete", request.send()).await
    }
}

fn account(found: ServiceAccount) -> Account {
    Account {
        name: found.name,
        email: found.email,
        unique_id: found.unique_id,
        display_name: found.display_name,
        description: found.description,
        disabled: found.disabled,
        basic_auth: false,
    }
}
