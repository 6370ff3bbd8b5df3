//! Mutation tests of `src/domain` (`cargo mutants`): its own tests against a package that holds nothing but the pure layers,
//! because a build of the whole crate for each of a thousand mutants takes half a day. `api` is a package of its own
//! there: a mutant does not change it, and its derives take longer to build than all of `domain`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use keywheel_testbed::progress::say;
use keywheel_testbed::repo;

use super::Outcome;

/// What `api` and `domain` depend on. A build that needs more says that one of them has learned of I/O.
const PURE: [&str; 10] = [
    "croner",
    "jiff",
    "k8s-openapi",
    "kube",
    "proptest",
    "regex",
    "schemars",
    "serde",
    "serde_json",
    "thiserror",
];

/// A test run that takes longer than this is one that a mutant sent round in circles. Seconds.
const PATIENCE: &str = "20";

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the root manifest has no dependency {name}")]
    Dependency { name: &'static str },
    #[error("cannot read or write {path}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("cargo mutants cannot be run: `cargo install cargo-mutants --locked`")]
    Run(#[source] std::io::Error),
    #[error("cargo mutants came to no verdict: {0}")]
    NoVerdict(std::process::ExitStatus),
    #[error("{0} mutants survive that docs/mutants.md does not explain")]
    Survivors(usize),
}

/// Runs all mutants, or a part such as `3/16`, and compares the survivors with `docs/mutants.md`.
pub fn run(shard: Option<&str>) -> Outcome {
    let folder = repo::root().join("target").join("mutants");
    let package = folder.join("pure");
    lay_out(&package)?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["mutants", "--no-shuffle", "--jobs", "2", "--timeout", PATIENCE]);
    command.args(["--file", "src/domain/**", "--exclude", "src/domain/defect.rs"]);
    // Code of the seeded defects, which are off.
    command.args(["--exclude-re", r"match guard defect!\(", "--exclude-re", r"\bwrongly_"]);
    command.arg("--dir").arg(&package).arg("--output").arg(&folder);
    command.args(shard.into_iter().flat_map(|shard| ["--shard", shard]));
    command.args(["--", "--lib"]).env_remove("CARGO_TARGET_DIR");
    let status = command.status().map_err(Error::Run)?;
    // 0: all caught; 2: some survive; 3: some ran too long, which is a catch.
    if !matches!(status.code(), Some(0 | 2 | 3)) {
        return Err(Error::NoVerdict(status).into());
    }
    let explained = read(&repo::root().join("docs").join("mutants.md"))?;
    let missed = read(&folder.join("mutants.out").join("missed.txt"))?;
    let survivors: BTreeSet<String> = missed.lines().map(without_place).collect();
    let unexplained: Vec<&String> =
        survivors.iter().filter(|mutant| !explained.contains(&format!("`{mutant}`"))).collect();
    for mutant in &unexplained {
        say(&format!("survives, and docs/mutants.md does not say why: {mutant}"));
    }
    if unexplained.is_empty() { Ok(()) } else { Err(Error::Survivors(unexplained.len()).into()) }
}

/// A package with copies of both layers, with the dependencies and the lock of the real one.
fn lay_out(package: &Path) -> Result<(), Error> {
    let root = repo::root();
    let (source, api) = (package.join("src"), package.join("api"));
    for old in [&source, &api] {
        if old.exists() {
            fs::remove_dir_all(old).map_err(|error| file(old, error))?;
        }
    }
    copy(&root.join("src").join("domain"), &source.join("domain"))?;
    copy(&root.join("src").join("api"), &api.join("src").join("api"))?;
    write(&source.join("lib.rs"), "pub use keywheel_api::api;\npub mod domain;\n")?;
    write(&api.join("src").join("lib.rs"), "pub mod api;\n")?;
    write(&package.join("Cargo.lock"), &read(&root.join("Cargo.lock"))?)?;
    let dependencies = dependencies(&read(&root.join("Cargo.toml"))?)?;
    write(&api.join("Cargo.toml"), &format!("{}{dependencies}", head("keywheel-api")))?;
    let whole = "[workspace]\nmembers = [\"api\"]\n\n[features]\ntest-timing = []\ndefects = []\n\n\
                 [profile.dev]\ndebug = false\n\n\
                 [profile.dev.package.croner]\nopt-level = 3\n\n\
                 [profile.dev.package.jiff]\nopt-level = 3\n\n";
    let api = "keywheel-api = { path = \"api\" }\n";
    write(&package.join("Cargo.toml"), &format!("{whole}{}{api}{dependencies}", head("keywheel")))
}

fn head(name: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n")
}

fn dependencies(root: &str) -> Result<String, Error> {
    let mut text = String::new();
    for name in PURE {
        let line =
            root.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(" = ")));
        text.push_str(line.ok_or(Error::Dependency { name })?);
        text.push('\n');
    }
    Ok(text)
}

/// `src/domain/lease.rs:12:5: replace a with b` without the line and the column, which move.
fn without_place(mutant: &str) -> String {
    let mut parts = mutant.splitn(4, ':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(file), Some(_), Some(_), Some(what)) => format!("{file}:{what}"),
        _ => mutant.to_owned(),
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(to).map_err(|error| file(to, error))?;
    let entries = fs::read_dir(from).map_err(|error| file(from, error))?;
    for entry in entries {
        let path = entry.map_err(|error| file(from, error))?.path();
        let Some(name) = path.file_name() else { continue };
        let target = to.join(name);
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target).map_err(|error| file(&path, error))?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| file(path, error))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|error| file(path, error))
}

fn file(path: &Path, source: std::io::Error) -> Error {
    Error::File { path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dependencies_are_those_of_the_real_package() {
        let text = dependencies(&read(&repo::root().join("Cargo.toml")).unwrap()).unwrap();
        assert!(text.contains("\nthiserror = ") && text.contains("\nkube = "));
        assert!(!text.contains("tokio"), "the pure layers know no I/O");
    }

    #[test]
    fn a_survivor_is_known_by_what_it_does() {
        let line = "src/domain/lease.rs:12:5: replace decide -> Decision with x::y()";
        assert_eq!(without_place(line), "src/domain/lease.rs: replace decide -> Decision with x::y()");
    }
}
