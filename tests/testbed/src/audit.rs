//! The API server's audit log: who asked for what, and what came of it.
//!
//! The API server writes a request's line before the client sees the end of the answer, so whoever has its
//! answer finds its line.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// The policy that the API server runs with: one line a request, with names; bodies of key statuses only.
pub const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: None
  users: [\"system:apiserver\"]
- level: Request
  resources: [{group: keywheel.dev, resources: [serviceaccountkeys/status]}]
- level: Metadata
";

/// The audit log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("cannot read the audit log {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line.
    #[error("cannot understand a line of the audit log: {line}")]
    Line {
        /// The line.
        line: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// A place in the log: what comes after it happened later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

impl Mark {
    /// The log's beginning.
    pub const START: Self = Self(0);
}

/// One finished request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The request's id.
    pub audit_id: String,
    /// Who asked, for instance `system:serviceaccount:keywheel-system:keywheel`.
    pub user: String,
    /// What the client calls itself.
    pub user_agent: String,
    /// get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: String,
    /// The API group; empty for core, and for requests that name no resource.
    pub group: String,
    /// The resource in the plural; empty for requests that name none.
    pub resource: String,
    /// status, token, finalizers; empty for the resource itself.
    pub subresource: String,
    /// Empty for cluster-scoped resources.
    pub namespace: String,
    /// Empty where the server chose the name, or where there is none.
    pub name: String,
    /// Whether nothing was to be stored (`dryRun=All`).
    pub dry_run: bool,
    /// The HTTP status of the answer; 0 if none was sent.
    pub code: u16,
    /// The path with the query.
    pub uri: String,
    /// When the request arrived: RFC 3339, microseconds.
    pub received: String,
    /// What was sent, where the policy keeps it; else null.
    pub body: Value,
}

impl Entry {
    /// Whether the request was to change something.
    pub fn is_mutating(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    /// Whether it is about a Lease or an Event: budgets do not count them.
    pub fn is_lease_or_event(&self) -> bool {
        self.resource == "events" || (self.group == "coordination.k8s.io" && self.resource == "leases")
    }

    /// Whether the server did what was asked.
    pub fn accepted(&self) -> bool {
        (200..300).contains(&self.code)
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.received, self.verb, self.resource)?;
        for (before, part) in [("/", &self.subresource), (" ", &self.namespace), ("/", &self.name)] {
            if !part.is_empty() {
                write!(f, "{before}{part}")?;
            }
        }
        write!(f, "{} -> {}", if self.dry_run { " (dry run)" } else { "" }, self.code)
    }
}

/// The mutating requests of one user, without Leases and Events.
#[derive(Debug, Clone, Default)]
pub struct Writes {
    /// Requests that were to be stored, refused ones included.
    pub real: Vec<Entry>,
    /// Dry runs.
    pub dry_runs: Vec<Entry>,
}

impl std::fmt::Display for Writes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} writes, {} dry runs", self.real.len(), self.dry_runs.len())?;
        self.real.iter().chain(&self.dry_runs).try_for_each(|entry| writeln!(f, "  {entry}"))
    }
}

/// A reader of one control plane's log.
#[derive(Debug, Clone)]
pub struct Audit {
    path: PathBuf,
}

impl Audit {
    /// A reader of this file; it need not be there yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }

    /// The present end of the log.
    pub fn mark(&self) -> Result<Mark, Error> {
        let text = self.read(Mark::START)?;
        Ok(Mark(whole_lines(&text).len() as u64))
    }

    /// All finished requests after `mark`.
    pub fn since(&self, mark: Mark) -> Result<Vec<Entry>, Error> {
        let text = self.read(mark)?;
        whole_lines(&text).lines().map(parse).filter_map(Result::transpose).collect()
    }

    /// The mutating requests of `user` after `mark`.
    pub fn writes_since(&self, mark: Mark, user: &str) -> Result<Writes, Error> {
        Ok(api_writes_of(user, self.since(mark)?))
    }

    fn read(&self, mark: Mark) -> Result<String, Error> {
        let read = || -> io::Result<String> {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(mark.0))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        };
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            outcome => outcome.map_err(|source| Error::Read { path: self.path.clone(), source }),
        }
    }
}

/// The mutating requests of `user` without Leases and Events, dry runs apart.
pub fn api_writes_of(user: &str, entries: impl IntoIterator<Item = Entry>) -> Writes {
    let counted = entries
        .into_iter()
        .filter(|entry| entry.user == user && entry.is_mutating() && !entry.is_lease_or_event());
    let (dry_runs, real) = counted.partition(|entry| entry.dry_run);
    Writes { real, dry_runs }
}

/// Without the line that is being written.
fn whole_lines(text: &str) -> &str {
    text.rfind('\n').and_then(|end| text.get(..=end)).unwrap_or_default()
}

/// How every record begins. Within one it could only stand with its quotes escaped.
const BEGINNING: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1""#;

/// The record of a line. A server that is killed leaves one half written, and its successor goes on in the same line.
fn record(line: &str) -> Result<Raw, serde_json::Error> {
    serde_json::from_str(line).or_else(|error| {
        let after = line.rfind(BEGINNING).filter(|at| *at > 0).and_then(|at| line.get(at..));
        after.map_or(Err(error), serde_json::from_str)
    })
}

/// `None` for stages other than the end of a request.
fn parse(line: &str) -> Result<Option<Entry>, Error> {
    let raw = record(line).map_err(|source| Error::Line { line: line.to_owned(), source })?;
    if raw.stage != "ResponseComplete" && raw.stage != "Panic" {
        return Ok(None);
    }
    let object = raw.object_ref.unwrap_or_default();
    Ok(Some(Entry {
        audit_id: raw.audit_id,
        user: raw.user.username,
        user_agent: raw.user_agent,
        verb: raw.verb,
        group: object.api_group,
        resource: object.resource,
        subresource: object.subresource,
        namespace: object.namespace,
        name: object.name,
        dry_run: asks_for_dry_run(&raw.request_uri),
        code: raw.response_status.map_or(0, |status| status.code),
        uri: raw.request_uri,
        received: raw.request_received_timestamp,
        body: raw.request_object,
    }))
}

fn asks_for_dry_run(uri: &str) -> bool {
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    query.split('&').any(|pair| pair == "dryRun=All")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(rename = "auditID")]
    audit_id: String,
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: RawUser,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<RawObject>,
    response_status: Option<RawStatus>,
    #[serde(default)]
    request_received_timestamp: String,
    #[serde(default)]
    request_object: Value,
}

#[derive(Deserialize)]
struct RawUser {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawObject {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct RawStatus {
    #[serde(default)]
    code: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(user: &str, verb: &str, object: &str, query: &str, code: u16) -> String {
        format!(
            r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","stage":"ResponseComplete","requestURI":"/api/v1/x{query}","verb":"{verb}","user":{{"username":"{user}","groups":["g"]}},"userAgent":"t","objectRef":{object},"responseStatus":{{"metadata":{{}},"code":{code}}},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z"}}"#
        )
    }

    const SECRET: &str = r#"{"resource":"secrets","namespace":"a","name":"s","apiVersion":"v1"}"#;
    const LEASE: &str = r#"{"resource":"leases","apiGroup":"coordination.k8s.io","apiVersion":"v1"}"#;
    const EVENT: &str = r#"{"resource":"events","apiGroup":"events.k8s.io","apiVersion":"v1"}"#;

    fn log(lines: &[String]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines.join("\n") + "\n").unwrap();
        file
    }

    #[test]
    fn writes_are_one_users_without_leases_events_and_reads_and_dry_runs_apart() {
        let file = log(&[
            line("op", "create", SECRET, "", 201),
            line("op", "create", SECRET, "?dryRun=All&fieldManager=keywheel", 201),
            line("op", "patch", LEASE, "", 200),
            line("op", "create", EVENT, "", 201),
            line("op", "get", SECRET, "", 200),
            line("somebody", "delete", SECRET, "", 200),
            line("op", "update", SECRET, "", 409),
        ]);
        let writes = Audit::new(file.path()).writes_since(Mark::START, "op").unwrap();
        assert_eq!(writes.real.iter().map(|entry| entry.code).collect::<Vec<_>>(), [201, 409]);
        assert_eq!(writes.real.iter().filter(|entry| entry.accepted()).count(), 1);
        assert_eq!(writes.dry_runs.len(), 1);
    }

    #[test]
    fn a_mark_hides_what_came_before_and_a_line_in_the_making() {
        let file = log(&[line("op", "create", SECRET, "", 201)]);
        let audit = Audit::new(file.path());
        let mark = audit.mark().unwrap();
        assert_eq!(audit.since(mark).unwrap(), []);

        let second = line("op", "delete", SECRET, "", 200);
        let (half, rest) = second.split_at(40);
        let append = |text: &str| {
            use std::io::Write as _;
            File::options().append(true).open(file.path()).unwrap().write_all(text.as_bytes()).unwrap();
        };
        append(half);
        assert_eq!(audit.since(mark).unwrap(), []);
        assert_eq!(audit.mark().unwrap(), mark);
        append(&format!("{rest}\n"));
        let entries = audit.since(mark).unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].verb.as_str(), entries[0].name.as_str()), ("delete", "s"));
    }

    #[test]
    fn a_record_that_a_kill_cut_off_is_passed_over_and_the_next_one_is_not() {
        let (cut, next) = (line("op", "create", SECRET, "", 201), line("op", "delete", SECRET, "", 200));
        for length in [1, 60, cut.len() - 1] {
            let file = log(&[format!("{}{next}", &cut[..length])]);
            let entries = Audit::new(file.path()).since(Mark::START).unwrap();
            assert_eq!(
                entries.iter().map(|entry| entry.verb.as_str()).collect::<Vec<_>>(),
                ["delete"],
                "{length}"
            );
        }
    }

    #[test]
    fn an_absent_log_is_empty_and_a_broken_line_is_an_error() {
        let file = log(&["{".to_owned()]);
        assert!(matches!(Audit::new(file.path()).since(Mark::START), Err(Error::Line { .. })));
        let gone = file.path().to_path_buf();
        drop(file);
        assert_eq!(Audit::new(&gone).since(Mark::START).unwrap(), []);
    }

    #[test]
    fn a_dry_run_is_told_by_its_query_only() {
        assert!(asks_for_dry_run("/api/v1/secrets?fieldManager=x&dryRun=All"));
        assert!(!asks_for_dry_run("/api/v1/secrets/dryRun=All"));
        assert!(!asks_for_dry_run("/api/v1/secrets"));
    }
}
