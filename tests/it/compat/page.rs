//! The server's page for people, as a browser shows it, while a key is replaced.

use std::process::Command;

use keywheel_testbed::iam::IamOptions;
use keywheel_testbed::process::Scratch;
use serde_json::json;

use super::{passed, told};
use crate::operator::{Case, World, soon, start_iam};

/// What a browser is called, in the order in which they are tried.
pub fn browser() -> Option<&'static str> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| version(name).is_some())
}

fn version(name: &str) -> Option<String> {
    let output =
        Command::new(name).arg("--version").output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
}

/// The document as it stands after the browser has laid it out.
fn shown(browser: &str, url: &str) -> String {
    let scratch = Scratch::new("browser").unwrap();
    let profile = format!("--user-data-dir={}", scratch.path().display());
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    let output = command.args([&profile, "--dump-dom", url]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The phase that the row of a key shows.
fn phase<'t>(page: &'t str, key: &str) -> &'t str {
    let row = page.split("<tr>").find(|row| row.contains(&format!("<code>{key}</code>")));
    let row = row.unwrap_or_else(|| panic!("{key} has no row: {page}"));
    row.rsplit("<td class=\"").next().and_then(|rest| rest.split('"').next()).unwrap()
}

pub fn rotation() {
    let browser = browser().unwrap();
    let iam = start_iam(IamOptions { args: vec!["--page".to_owned()], ..IamOptions::default() });
    let case = Case::at(World::shared(), "page", iam, &json!({}));
    case.settled(&json!({"rotation": {"overlap": "1h", "deleteAfter": "1h"}}));
    let first = case.active("billing");
    let page = shown(browser, case.iam().url());
    assert!(page.contains("<h1>Keywheel IAM</h1>") && page.contains(&case.email()), "{page}");
    assert_eq!(phase(&page, &first), "active");

    let rotate = json!({"metadata": {"annotations": {"keywheel.dev/rotate-at": soon()}}});
    case.patch("iamsak", "billing", &rotate);
    case.when("iamsak", "billing", "another key", |key| key["status"]["activeKeyId"] != json!(first));
    let second = case.active("billing");
    let page = shown(browser, case.iam().url());
    assert_eq!((phase(&page, &first), phase(&page, &second)), ("active", "active"), "both in the overlap");

    // By hand, as after the overlap.
    case.person.disable_key(&case.name, &first);
    let page = shown(browser, case.iam().url());
    assert_eq!((phase(&page, &first), phase(&page, &second)), ("disabled", "active"));
    let requests = page.split("<table id=\"requests\">").nth(1).unwrap();
    assert!(requests.contains("<td>keys.disable</td>") && requests.contains("<td>token</td>"), "{requests}");
    assert!(!page.contains("PRIVATE KEY") && !page.contains("ya29."), "something private is shown");
    passed("Chromium", &version(browser).unwrap(), "the page of the embedded server, through a rotation");
}
