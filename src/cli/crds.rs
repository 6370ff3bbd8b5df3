//! `keywheel crds`: the custom resource definitions, printed, written or compared.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use crate::api::v1alpha1;

/// Options of `keywheel crds`.
#[derive(Debug, Args)]
pub struct CrdsArgs {
    /// Write one file per kind into this folder instead of printing all.
    #[arg(long, value_name = "DIR", conflicts_with = "check")]
    output_dir: Option<PathBuf>,
    /// Compare with the files of this folder; fail if one differs.
    #[arg(long, value_name = "DIR")]
    check: Option<PathBuf>,
}

/// The definitions cannot be printed, written or compared.
#[derive(Debug, thiserror::Error)]
pub enum CrdsError {
    /// A definition makes no YAML.
    #[error("the definition of {kind} cannot be written as YAML: {source}")]
    Yaml {
        /// Its kind.
        kind: String,
        /// Cause.
        source: Box<serde_saphyr::ser::Error>,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A file is not what the code says.
    #[error("{path} differs from the code: run `make generate`")]
    Drift {
        /// The file.
        path: PathBuf,
    },
}

/// Runs the subcommand.
pub fn run(args: &CrdsArgs) -> Result<(), CrdsError> {
    let files = files()?;
    match (&args.output_dir, &args.check) {
        (Some(dir), _) => files.iter().try_for_each(|(name, yaml)| {
            let path = dir.join(name);
            std::fs::write(&path, yaml).map_err(|source| CrdsError::Write { path, source })
        }),
        (None, Some(dir)) => files.iter().try_for_each(|(name, yaml)| check(&dir.join(name), yaml)),
        (None, None) => {
            let all = files.iter().map(|(_, yaml)| yaml.as_str()).collect::<Vec<_>>().join("---\n");
            let path = PathBuf::from("standard output");
            std::io::stdout().write_all(all.as_bytes()).map_err(|source| CrdsError::Write { path, source })
        }
    }
}

fn check(path: &Path, yaml: &str) -> Result<(), CrdsError> {
    match std::fs::read_to_string(path) {
        Ok(found) if found == yaml => Ok(()),
        _ => Err(CrdsError::Drift { path: path.to_owned() }),
    }
}

fn files() -> Result<Vec<(String, String)>, CrdsError> {
    v1alpha1::crds()
        .iter()
        .map(|crd| {
            let name = format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
            Ok((name, yaml(crd)?))
        })
        .collect()
}

fn yaml(crd: &CustomResourceDefinition) -> Result<String, CrdsError> {
    serde_saphyr::to_string(crd)
        .map_err(|source| CrdsError::Yaml { kind: crd.spec.names.kind.clone(), source: Box::new(source) })
}
