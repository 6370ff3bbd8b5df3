//! A page for people: accounts, their keys, and the latest requests. It only shows, to whoever reaches the server, and only if
//! it was switched on.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::Server;
use super::disruptive;
use super::model::{Account, Key, Origin};
use super::request_log::Entry;
use super::store::{Ask as _, StoreError};

/// How many requests are shown.
const REQUESTS: usize = 40;
/// How many accounts of a project are shown.
pub const ACCOUNTS: usize = 100;
/// How often a browser asks again. Seconds.
const REFRESH: u8 = 2;
const STYLE: &str = "body{font:14px system-ui,sans-serif;margin:2em;color:#222}table{border-collapse:collapse;margin:0 0 2em}\
    td,th{text-align:left;padding:.2em 1em .2em 0;border-bottom:1px solid #ddd;font-weight:normal}th{color:#777}\
    .active{color:#070}.disabled,.expired{color:#a00}.waiting{color:#a60}code{font-size:13px}";

/// The latest requests, oldest first.
#[derive(Default)]
pub struct Recent(Mutex<VecDeque<Line>>);

/// What is shown of a request.
struct Line {
    time: Timestamp,
    operation: String,
    caller: String,
    status: Option<u16>,
}

impl Recent {
    /// Remembers a request, and forgets the oldest.
    pub fn add(&self, entry: &Entry) {
        let line = Line {
            time: entry.time,
            operation: entry.operation.clone(),
            caller: entry.caller.clone().unwrap_or_default(),
            status: entry.status,
        };
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == REQUESTS {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// The page as it is now.
///
/// # Errors
/// [`StoreError`].
pub async fn render(server: &Server) -> Result<String, StoreError> {
    let (now, projects) = (server.clock.now(), server.settings.projects.clone());
    let activation = server.tunables.activation_delay();
    let accounts = server
        .store
        .read(move |store| {
            let mut found: Vec<(Account, Vec<Key>)> = Vec::new();
            for project in &projects {
                for account in store.accounts_after(project, "", ACCOUNTS)? {
                    let keys = store.keys_of(&account.unique_id)?;
                    found.push((account, keys));
                }
            }
            Ok::<_, StoreError>(found)
        })
        .await?;
    let mut page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"{REFRESH}\">\
         <title>Keywheel IAM</title><style>{STYLE}</style></head><body><h1>Keywheel IAM</h1><h2>Keys</h2>"
    );
    page.push_str(
        "<table id=\"keys\"><tr><th>account</th><th>key</th><th>made by</th><th>made</th><th>phase</th></tr>",
    );
    for (account, keys) in &accounts {
        let mut keys: Vec<&Key> = keys.iter().filter(|key| !key.system).collect();
        keys.sort_by_key(|key| key.created);
        let state = if account.disabled { " (disabled)" } else { "" };
        if keys.is_empty() {
            let email = escaped(&account.email);
            // Writing to a string cannot fail.
            write!(page, "<tr><td>{email}{state}</td><td></td><td></td><td></td><td>no key</td></tr>").ok();
        }
        for key in keys {
            let phase = phase(key, now, activation);
            let made_by = if key.origin == Origin::Server { "server" } else { "user" };
            let (email, id) = (escaped(&account.email), escaped(&key.id));
            write!(
                page,
                "<tr><td>{email}{state}</td><td><code>{id}</code></td><td>{made_by}</td><td>{:.0}</td>\
                 <td class=\"{phase}\">{phase}</td></tr>",
                key.created
            )
            .ok();
        }
    }
    page.push_str("</table>");
    page.push_str(&disruptive::render(server).await?);
    page.push_str("<h2>Requests</h2><table id=\"requests\">");
    page.push_str("<tr><th>time</th><th>operation</th><th>caller</th><th>status</th></tr>");
    let lines = server.recent.0.lock().unwrap_or_else(PoisonError::into_inner);
    for line in lines.iter().rev() {
        let status = line.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let (operation, caller) = (escaped(&line.operation), escaped(&line.caller));
        write!(
            page,
            "<tr><td>{:.0}</td><td>{operation}</td><td>{caller}</td><td>{status}</td></tr>",
            line.time
        )
        .ok();
    }
    page.push_str("</table></body></html>");
    Ok(page)
}

/// Where a key is in its life.
fn phase(key: &Key, now: Timestamp, activation: jiff::SignedDuration) -> &'static str {
    if key.disabled {
        "disabled"
    } else if key.not_after.has_passed(now) {
        "expired"
    } else if key.is_active(now, activation) && key.is_usable(now) {
        "active"
    } else {
        "waiting"
    }
}

/// Nothing that a caller chose is markup.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_markup() {
        assert_eq!(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
