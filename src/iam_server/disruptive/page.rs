//! The part of the page for people that shows this API's accounts and keys.

use std::fmt::Write as _;

use super::model::{Account, Key, account_record, key_record};
use crate::iam_server::Server;
use crate::iam_server::page::{ACCOUNTS, escaped};
use crate::iam_server::store::{Ask as _, StoreError};

/// A table, or nothing if there is no account.
///
/// # Errors
/// [`StoreError`].
pub async fn render(server: &Server) -> Result<String, StoreError> {
    let (now, delay) = (server.clock.now(), server.tunables.activation_delay());
    let projects = server.settings.projects.clone();
    let accounts = server
        .store
        .read(move |store| {
            let mut found = Vec::new();
            for project in &projects {
                for account in store.records_after::<Account>(&account_record(project, ""), "", ACCOUNTS)? {
                    let keys = store.records_after::<Key>(&key_record(&account.id, ""), "", usize::MAX)?;
                    found.push((account, keys));
                }
            }
            Ok::<_, StoreError>(found)
        })
        .await?;
    if accounts.is_empty() {
        return Ok(String::new());
    }
    let mut text =
        "<h2>Keys of Disruptive Technologies</h2><table id=\"disruptive\"><tr><th>account</th><th>name</th>\
                    <th>key</th><th>made</th><th>phase</th></tr>"
            .to_owned();
    for (account, keys) in &accounts {
        let basic = if account.basic_auth { " (basic auth)" } else { "" };
        let who = format!(
            "<td>{}{basic}</td><td>{}</td>",
            escaped(&account.email()),
            escaped(&account.display_name)
        );
        // Writing to a string cannot fail.
        if keys.is_empty() {
            write!(text, "<tr>{who}<td></td><td></td><td>no key</td></tr>").ok();
        }
        for key in keys {
            let phase = if key.is_active(now, delay) { "active" } else { "waiting" };
            write!(
                text,
                "<tr>{who}<td><code>{}</code></td><td>{:.0}</td><td class=\"{phase}\">{phase}</td></tr>",
                escaped(&key.id),
                key.created
            )
            .ok();
        }
    }
    text.push_str("</table>");
    Ok(text)
}
