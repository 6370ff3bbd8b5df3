//! The accounts that Google itself makes in a project: they are there before anybody asks, and their addresses are not formed
//! like those of others.

use super::Server;
use super::accounts;
use super::model::Account;
use super::wire::errors::ApiError;

/// Gives each project those that it does not have.
///
/// # Errors
/// [`ApiError::Store`] and other internal ones.
pub async fn ensure(server: &Server) -> Result<(), ApiError> {
    for project in &server.settings.projects {
        let number = server.projects.number(project).unwrap_or_default();
        let defaults = [
            (format!("{project}@appspot.gserviceaccount.com"), "App Engine default service account"),
            (
                format!("{number}-compute@developer.gserviceaccount.com"),
                "Compute Engine default service account",
            ),
        ];
        for (email, name) in defaults {
            let account = Account {
                unique_id: String::new(),
                project: project.clone(),
                email: email.clone(),
                display_name: name.to_owned(),
                description: String::new(),
                disabled: false,
                admin: false,
                created: server.clock.now(),
                deleted: None,
                revision: 1,
            };
            match accounts::insert(server, email, account).await {
                Ok(_) | Err(ApiError::AccountExists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
