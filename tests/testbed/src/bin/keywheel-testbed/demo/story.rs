//! The story, step by step, and what is checked in each.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use keywheel_testbed::process::Scratch;
use keywheel_testbed::python::{BackendKey, Exchange};
use keywheel_testbed::wait_until;
use serde_json::Value;

use super::ledger::{self, Row, short};
use super::narrator::Narrator;
use super::refuted;
use super::stage::{NAMESPACE, Stage};
use crate::Outcome;

/// How long the operator may take for one step, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// A turn comes every 30 s; the next one must come within this.
const TURN: Duration = Duration::from_secs(90);
/// How many overlaps may pass by before both keys were tried: only a machine that cannot start Python in 10 s needs more than one.
const TURNS: u32 = 3;

/// Tells all of it; the first check that does not hold ends the story.
pub(super) fn tell(stage: &Stage, narrator: &Narrator) -> Outcome {
    narrator.step("A backend, an account and keys, applied with kubectl")?;
    narrator.note(&format!("$ kubectl apply -f {}", stage.platform.applied()))?;
    narrator.note("(the backend with the address, and the project, of the IAM server that runs here)")?;
    narrator.note(&stage.apply_samples()?)?;
    let story = Story { stage, narrator, vault: Scratch::new("keys")? };
    let email = story.account()?;
    story.key()?;
    story.secret()?;
    story.token()?;
    story.rotation(&email)?;
    story.closing_table()
}

struct Story<'a> {
    stage: &'a Stage,
    narrator: &'a Narrator,
    /// Copies of credentials: a folder with mode 0700 that vanishes with this value.
    vault: Scratch,
}

impl Story<'_> {
    fn account(&self) -> Outcome<String> {
        self.narrator.step("The account at the IAM")?;
        self.stage.cp.wait_condition(NAMESPACE, "iamsa/billing", "Ready", PATIENCE)?;
        self.narrator.kubectl(&self.stage.cp, &["get", "iamsa", "--namespace", NAMESPACE])?;
        let account = self.stage.cp.get_json(&["get", "iamsa", "billing", "--namespace", NAMESPACE])?;
        let email = text(&account, "/status/email").to_owned();
        if !self.stage.platform.is_email(&email, self.stage.iam.project()) {
            return Err(refuted("the account has its e-mail address", email));
        }
        self.narrator.ok(&format!("the account is {email}"))?;
        Ok(email)
    }

    fn key(&self) -> Outcome {
        self.narrator.step("The key, ready, with its next rotation")?;
        self.stage.wait_for_samples()?;
        self.narrator.kubectl(&self.stage.cp, &["get", "iamsak", "--namespace", NAMESPACE])?;
        let key = self.resource("billing")?;
        let next = text(&key, "/status/nextRotationTime");
        let time: Timestamp = next.parse().map_err(|_| refuted("the key has a nextRotationTime", next))?;
        if time <= Timestamp::now() {
            return Err(refuted("the next rotation lies ahead", next));
        }
        self.narrator.ok(&format!("{} is published; the next rotation is at {next}", short(active(&key))))
    }

    fn secret(&self) -> Outcome {
        self.narrator.step("What is in the Secret: names and sizes")?;
        let secret = self.stage.cp.get_json(&["get", "secret", "billing-key", "--namespace", NAMESPACE])?;
        let data = secret.get("data").and_then(Value::as_object);
        let mut names = Vec::new();
        for (name, value) in data.into_iter().flatten() {
            let size = decoded_length(value.as_str().unwrap_or_default());
            self.narrator.note(&format!("{name:<26} {size:>5} bytes"))?;
            if size == 0 {
                return Err(refuted("no entry is empty", name));
            }
            names.push(name.as_str());
        }
        if names != self.stage.platform.entries() {
            return Err(refuted("the Secret has the entries of the spec", names.join(", ")));
        }
        self.narrator.ok("the entries of the spec, and nothing else")
    }

    fn token(&self) -> Outcome {
        let (platform, iam) = (self.stage.platform, &self.stage.iam);
        let client = platform.client();
        self.narrator.step(&format!(
            "An unmodified client takes it: {client} gets a token with {}",
            platform.entry()
        ))?;
        let file = self.take("billing-key", "billing.json")?;
        match platform.exchange(&file, iam)? {
            Exchange::Accepted { token_length, expiry } => {
                self.narrator.ok(&format!("a token of {token_length} characters, valid until {expiry}"))
            }
            Exchange::Refused { reason } => Err(refuted(&format!("{client} gets a token"), reason)),
        }
    }

    fn rotation(&self, email: &str) -> Outcome {
        self.narrator
            .step("The wheel turns: a new key is published, and both are accepted in the overlap")?;
        let (old, old_file, new_file) = self.overlap()?;

        let platform = self.stage.platform;
        let (ended, refusal) = (if platform.disables() { "disabled" } else { "deleted" }, platform.refusal());
        self.narrator.step(&format!("The overlap is over: the old key is {ended}, and refused"))?;
        self.wait_for_phase(&old, ended, |phase| phase != Some("Overlap"))?;
        if self.at_the_backend(email)?.iter().any(|key| key.id == old && !key.disabled) {
            return Err(refuted(&format!("the old key is {ended} at the backend"), short(&old)));
        }
        match self.both(&old_file, &new_file)? {
            (old_answer, Exchange::Accepted { .. }) if old_answer.refused_with(refusal) => {
                if let Exchange::Refused { reason } = old_answer {
                    self.narrator.note(&format!("{}: {reason}", short(&old)))?;
                }
                self.narrator
                    .ok(&format!("the old key is refused with {refusal}, its successor is accepted"))?;
            }
            answers => {
                return Err(refuted(&format!("only the old key is refused, with {refusal}"), told(&answers)));
            }
        }

        if platform.disables() {
            self.narrator.step("Later: the old key is gone")?;
        }
        self.wait_for_phase(&old, "gone from the ledger", |phase| phase.is_none())?;
        let keys = self.at_the_backend(email)?;
        if keys.iter().any(|key| key.id == old) {
            return Err(refuted("the old key is gone from the backend", short(&old)));
        }
        self.narrator.ok(&format!("{} is neither in the ledger nor at the backend", short(&old)))
    }

    /// Waits for a turn of the wheel and tries both keys before the overlap ends.
    fn overlap(&self) -> Outcome<(String, PathBuf, PathBuf)> {
        for _ in 0..TURNS {
            let (old, old_file) = self.take_active("old.json", None)?;
            self.narrator.note(&format!("{} is published; waiting for the next turn", short(&old)))?;
            let (new, new_file) = self.take_active("new.json", Some(&old))?;
            let answers = self.both(&old_file, &new_file)?;
            let resource = self.resource("fast-wheel")?;
            let rows = ledger::rows(&resource);
            if phase_of(&rows, &old) == Some("Overlap") {
                self.narrator.note(&ledger::table(&rows))?;
                return match answers {
                    (Exchange::Accepted { .. }, Exchange::Accepted { .. }) => {
                        self.narrator.ok(&format!(
                            "{} gets tokens with {} and {}",
                            self.stage.platform.client(),
                            short(&old),
                            short(&new)
                        ))?;
                        Ok((old, old_file, new_file))
                    }
                    answers => Err(refuted("both keys are accepted in the overlap", told(&answers))),
                };
            }
            self.narrator
                .note("the overlap of 10 s was over before both keys were tried; the next turn comes")?;
        }
        Err(refuted("both keys could be tried within an overlap", format!("not in {TURNS} turns")))
    }

    /// The active key's id and a copy of its key.json, once it is another than `than`.
    fn take_active(&self, name: &str, than: Option<&str>) -> Outcome<(String, PathBuf)> {
        let question = "the status to name the key that the Secret publishes";
        let (id, file) = wait_until(question, TURN, || {
            let id = active(&self.resource("fast-wheel").map_err(|error| error.to_string())?).to_owned();
            if id == "-" || Some(id.as_str()) == than {
                return Err(format!("the active key is {id}"));
            }
            let file = self.take("fast-wheel-key", name).map_err(|error| error.to_string())?;
            let credential = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
            let value: Value = serde_json::from_str(&credential).map_err(|error| error.to_string())?;
            let published = self.stage.platform.key_id(&value).unwrap_or("-");
            // The Secret is written before the status; between the two they differ.
            if published == id { Ok((id, file)) } else { Err(format!("the Secret publishes {published}")) }
        })?;
        Ok((id, file))
    }

    fn wait_for_phase(&self, id: &str, what: &str, reached: impl Fn(Option<&str>) -> bool) -> Outcome {
        let what = format!("{} to be {what}", short(id));
        wait_until(&what, PATIENCE, || {
            let resource = self.resource("fast-wheel").map_err(|error| error.to_string())?;
            let rows = ledger::rows(&resource);
            if reached(phase_of(&rows, id)) { Ok(()) } else { Err(ledger::table(&rows)) }
        })?;
        let rows = ledger::rows(&self.resource("fast-wheel")?);
        self.narrator.note(&ledger::table(&rows))
    }

    fn closing_table(&self) -> Outcome {
        self.narrator.step("The ledger of every key")?;
        let list = self.stage.cp.get_json(&["get", "iamsak", "--namespace", NAMESPACE])?;
        let items = list.get("items").and_then(Value::as_array);
        let rows: Vec<Row> = items.into_iter().flatten().flat_map(ledger::rows).collect();
        self.narrator.note(&ledger::table(&rows))?;
        for resource in ["billing", "fast-wheel"] {
            let active = rows.iter().filter(|row| row.resource == resource && row.phase == "Active").count();
            if active != 1 {
                return Err(refuted(
                    "each resource has exactly one active key",
                    format!("{resource} has {active}"),
                ));
            }
        }
        self.narrator.ok("each resource has exactly one active key")
    }

    fn resource(&self, name: &str) -> Outcome<Value> {
        Ok(self.stage.cp.get_json(&["get", "iamsak", name, "--namespace", NAMESPACE])?)
    }

    /// All keys of the account, as the backend tells its administrator.
    fn at_the_backend(&self, email: &str) -> Outcome<Vec<BackendKey>> {
        let keys = self.stage.platform.keys(&self.stage.iam, email)?;
        for key in &keys {
            let state = if key.disabled { "disabled" } else { "enabled" };
            self.narrator.note(&format!("at the backend: {} {state}", short(&key.id)))?;
        }
        Ok(keys)
    }

    /// Both exchanges at the same time: an overlap of 10 s does not wait for slow starters.
    fn both(&self, old: &Path, new: &Path) -> Outcome<(Exchange, Exchange)> {
        let (platform, iam) = (self.stage.platform, &self.stage.iam);
        thread::scope(|scope| {
            let other = scope.spawn(|| platform.exchange(new, iam).map_err(|error| error.to_string()));
            let old = platform.exchange(old, iam)?;
            let new = other.join().map_err(|_| super::Error::Panicked)??;
            Ok((old, new))
        })
    }

    /// Copies the credentials file of the Secret into the vault.
    fn take(&self, secret: &str, name: &str) -> Outcome<PathBuf> {
        let entry = self.stage.platform.entry();
        let template = format!(r#"-o=go-template={{{{index .data "{entry}" | base64decode}}}}"#);
        let credential =
            self.stage.cp.kubectl_ok(&["get", "secret", secret, "--namespace", NAMESPACE, &template])?;
        let path = self.vault.path().join(name);
        std::fs::write(&path, credential)?;
        Ok(path)
    }
}

fn told((old, new): &(Exchange, Exchange)) -> String {
    let word = |answer: &Exchange| match answer {
        Exchange::Accepted { .. } => "accepted".to_owned(),
        Exchange::Refused { reason } => format!("refused ({reason})"),
    };
    format!("old key {}, new key {}", word(old), word(new))
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("-")
}

fn active(resource: &Value) -> &str {
    text(resource, "/status/activeKeyId")
}

fn phase_of<'a>(rows: &'a [Row], id: &str) -> Option<&'a str> {
    rows.iter().find(|row| row.id == id).map(|row| row.phase.as_str())
}

/// How many bytes a base64 text with padding stands for.
fn decoded_length(base64: &str) -> usize {
    base64.len() / 4 * 3 - base64.bytes().rev().take_while(|byte| *byte == b'=').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_decoded_bytes() {
        for (base64, size) in [("", 0), ("YQ==", 1), ("YWI=", 2), ("YWJj", 3), ("YWJjZA==", 4)] {
            assert_eq!(decoded_length(base64), size, "{base64}");
        }
    }
}
