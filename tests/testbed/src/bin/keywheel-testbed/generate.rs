//! Files that are made from others: `crds/`, `docs/reasons.md` and the table of `docs/wire.md` from the code, the
//! chart's copies from `crds/`, `deploy/` from the chart.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use keywheel_testbed::progress::say;
use keywheel_testbed::tools::{Tool, Toolbox};
use keywheel_testbed::{keywheel, repo, wire_page};

use crate::Outcome;

/// Write, or only compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Bring the files up to date.
    Write,
    /// Fail if a file would change.
    Check,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("not up to date: {}; run `make generate`", .0.join(", "))]
    Drift(Vec<String>),
    #[error("{program} {arguments} failed: {output}")]
    Program { program: String, arguments: String, output: String },
    #[error("{0} does not say where its table stands; take the marks from its last version")]
    Unmarked(String),
    #[error("cannot {action} {path}")]
    File { action: &'static str, path: PathBuf, source: io::Error },
}

/// What a file of `deploy/` holds: these templates of the chart.
const MANIFESTS: [(&str, &str); 3] = [
    ("namespace.yaml", "namespace.yaml"),
    ("rbac.yaml", "rbac.yaml"),
    ("deployment.yaml", "deployment.yaml"),
];

const HEADER: &str = "# Made from charts/keywheel by `make generate`; edit it there.\n";

/// Brings all generated files up to date, or says which are not.
pub(crate) fn run(mode: Mode) -> Outcome {
    let mut drift = Vec::new();
    crds(mode)?;
    let copies = repo::root().join("charts/keywheel/crds");
    let originals = yaml_files(&repo::crds())?;
    for stray in yaml_files(&copies)?.keys().filter(|name| !originals.contains_key(*name)) {
        let path = copies.join(stray);
        match mode {
            Mode::Check => drift.push(shown(&path)),
            Mode::Write => fs::remove_file(&path).map_err(file("remove", &path))?,
        }
    }
    for (name, text) in &originals {
        settle(mode, &copies.join(name), text, &mut drift)?;
    }
    let mut reasons = Command::new(keywheel::program(None)?);
    reasons.arg("reasons");
    settle(mode, &repo::root().join("docs/reasons.md"), &output(reasons)?, &mut drift)?;
    let page = repo::root().join("docs/wire.md");
    let text = fs::read_to_string(&page).map_err(file("read", &page))?;
    let text = wire_page::with_table(&text).ok_or_else(|| Error::Unmarked(shown(&page)))?;
    settle(mode, &page, &text, &mut drift)?;
    let helm = Toolbox::from_env()?.get(Tool::Helm)?;
    for (manifest, template) in MANIFESTS {
        let text = format!("{HEADER}{}", render(&helm, template)?);
        settle(mode, &repo::deploy().join(manifest), &text, &mut drift)?;
    }
    if drift.is_empty() {
        say(if mode == Mode::Check {
            "generated files are up to date"
        } else {
            "generated files are written"
        });
        Ok(())
    } else {
        Err(Error::Drift(drift).into())
    }
}

fn crds(mode: Mode) -> Outcome {
    let mut command = Command::new(keywheel::program(None)?);
    command.arg("crds").arg(if mode == Mode::Check { "--check" } else { "--output-dir" }).arg(repo::crds());
    output(command)?;
    Ok(())
}

fn render(helm: &Path, template: &str) -> Outcome<String> {
    let mut command = Command::new(helm);
    command.args(["template", "keywheel"]).arg(repo::root().join("charts/keywheel"));
    command.args(["--namespace", "keywheel-system", "--set", "createNamespace=true", "--show-only"]);
    command.arg(format!("templates/{template}"));
    output(command)
}

fn settle(mode: Mode, path: &Path, text: &str, drift: &mut Vec<String>) -> Outcome {
    let current = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        outcome => Some(outcome.map_err(file("read", path))?),
    };
    if current.as_deref() == Some(text) {
        return Ok(());
    }
    match mode {
        Mode::Check => drift.push(shown(path)),
        Mode::Write => {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(file("make", folder))?;
            }
            fs::write(path, text).map_err(file("write", path))?;
        }
    }
    Ok(())
}

fn yaml_files(folder: &Path) -> Outcome<BTreeMap<OsString, String>> {
    let listing = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        outcome => outcome.map_err(file("list", folder))?,
    };
    let mut files = BTreeMap::new();
    for entry in listing {
        let path = entry.map_err(file("list", folder))?.path();
        if let (Some("yaml"), Some(name)) = (path.extension().and_then(|end| end.to_str()), path.file_name())
        {
            files.insert(name.to_owned(), fs::read_to_string(&path).map_err(file("read", &path))?);
        }
    }
    Ok(files)
}

fn output(mut command: Command) -> Outcome<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(file("run", Path::new(&program)))?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let arguments = command.get_args().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let text = [output.stdout, output.stderr].concat();
    let output = String::from_utf8_lossy(&text).trim().to_owned();
    Err(Error::Program { program, arguments, output }.into())
}

fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File { action, path, source }
}

fn shown(path: &Path) -> String {
    path.strip_prefix(repo::root()).unwrap_or(path).display().to_string()
}
