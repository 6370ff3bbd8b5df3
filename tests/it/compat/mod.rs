//! Unmodified clients, each with the credential that stands in the Secret that Keywheel wrote; the methods that take an
//! administrator with the embedded server's own. `make compat` runs them and prints the table; a client that is not installed
//! is counted as skipped.

#![cfg(test)]

mod auth;
mod disruptive;
mod earth_engine;
mod gcloud;
mod keyless;
mod keys;
mod page;

use std::path::PathBuf;
use std::process::{Command, Output};

use keywheel_testbed::python::interpreter;
use keywheel_testbed::{compat, repo};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::operator::Case;

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("compat::earth_engine_computes_with_the_file_from_the_secret", earth_engine::by_file),
        trial("compat::earth_engine_computes_with_the_account_of_the_machine", earth_engine::by_machine),
        trial("compat::the_earth_engine_sample_runs_and_a_lost_key_is_replaced", earth_engine::sample),
        trial("compat::google_auth_gets_a_token_and_its_id_token_is_believed", auth::google_auth),
        trial("compat::the_rust_client_works_with_the_file_from_the_secret", auth::rust_client),
        trial("compat::the_python_api_client_calls_every_key_method", keys::every_method),
        trial(
            "compat::the_vendors_library_calls_every_method_of_accounts_and_members",
            disruptive::every_method,
        ),
        trial("compat::the_vendors_library_asks_again_as_often_as_it_says", disruptive::failures),
        trial(
            "compat::the_vendors_library_works_with_the_file_from_the_secret_through_a_rotation",
            disruptive::rotation,
        ),
        trial("compat::google_auth_speaks_for_an_account_without_a_key", keyless::federated),
    ];
    let installed = Command::new("gcloud").arg("--version").output().is_ok_and(|out| out.status.success());
    for (name, test) in gcloud::TRIALS {
        trials.push(trial(name, *test).with_ignored_flag(!installed));
    }
    let curl = trial("compat::curl_logs_in_with_a_key_as_name_and_password", disruptive::curl);
    trials.push(curl.with_ignored_flag(!disruptive::has_curl()));
    let page = trial("compat::a_browser_shows_the_page_through_a_rotation", page::rotation);
    trials.push(page.with_ignored_flag(page::browser().is_none()));
    trials
}

fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

/// Runs a script of `tests/compat`; what it told.
fn script(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Value {
    let mut command = Command::new(interpreter().unwrap());
    command.arg(repo::python().join(name)).args(arguments).envs(environment.iter().copied());
    let output = command.output().unwrap();
    let text = told(&output);
    assert!(output.status.success(), "{name}: {text}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{name}: {error}: {text}"))
}

fn told(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// The Secret's credential in a file, as a pod would see it.
fn mounted(case: &Case<'_>) -> PathBuf {
    case.file("key.json", case.data("billing").get("key.json").unwrap())
}

/// Gives the account of a case roles in its project.
fn bind(case: &Case<'_>, roles: &[&str]) {
    let member = format!("serviceAccount:{}", case.email());
    let bindings: Vec<Value> = roles.iter().map(|role| json!({"role": role, "members": [member]})).collect();
    case.person.project("setIamPolicy", &json!({"policy": {"bindings": bindings}}));
}

/// A row of the table.
fn passed(client: &str, version: &str, calls: &str) {
    compat::record(client, version, calls).unwrap();
}
