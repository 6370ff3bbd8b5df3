//! Earth Engine's own client, by both ways in that its documentation shows.

use std::path::PathBuf;
use std::process::Command;

use keywheel_testbed::control_plane::OPERATOR_NAMESPACE;
use keywheel_testbed::iam::{IamOptions, IamServer};
use keywheel_testbed::process::{End, Process};
use keywheel_testbed::python::interpreter;
use keywheel_testbed::repo;
use serde_json::{Value, json};

use super::{bind, mounted, passed, script};
use crate::operator::{Case, World, condition, data_of, path, set_login, start_iam};

const ROLES: [&str; 2] = ["roles/earthengine.viewer", "roles/serviceusage.serviceUsageConsumer"];

/// A project that is registered and may use Earth Engine.
fn server() -> IamServer {
    let options = IamOptions::default();
    let registered = format!("{}=REGISTERED_NOT_COMMERCIALLY", options.project);
    start_iam(IamOptions { args: vec!["--earth-engine".to_owned(), registered], ..options })
}

fn case() -> Case<'static> {
    let case = Case::at(World::shared(), "earth", server(), &json!({}));
    case.settled(&json!({}));
    bind(&case, &ROLES);
    case.person.project("services/earthengine.googleapis.com:enable", &json!({}));
    case
}

pub fn by_file() {
    let case = case();
    let file = mounted(&case);
    let iam = case.iam();
    let told = script("earth_engine.py", &[file.to_str().unwrap(), iam.url(), iam.project()], &[]);
    assert_eq!((&told["sum"], &told["rest"]), (&json!(3), &json!(7)));
    assert_eq!(told["list"], json!([1, "two"]));
    assert_eq!(told["registered"], "REGISTERED_NOT_COMMERCIALLY");
    passed("earthengine-api (file)", version(&told), "Initialize, algorithms, value:compute, getConfig");
}

/// No key at all: the machine's metadata server hands out tokens of its account.
pub fn by_machine() {
    let case = case();
    let iam = case.iam();
    iam.settings(&json!({"metadataAccount": case.email()})).unwrap();
    let host = iam.url().trim_start_matches("http://").to_owned();
    let environment = [("GCE_METADATA_HOST", host.as_str()), ("GCE_METADATA_IP", host.as_str())];
    let told = script("earth_engine.py", &["--machine", iam.url(), iam.project()], &environment);
    assert_eq!(told["sum"], 3);
    passed("earthengine-api (machine)", version(&told), "Initialize, algorithms, value:compute");
}

/// The sample of `deploy/`, with the embedded server in Google's place.
struct Sample<'w> {
    case: Case<'w>,
}

const NAMESPACE: &str = "earth";

impl Sample<'_> {
    fn applied() -> Self {
        let case = Case::at(World::shared(), "sample", server(), &json!({}));
        let (iam, world) = (case.iam(), case.world);
        let admin = std::fs::read(iam.admin_key_file()).unwrap();
        set_login(&world.kube, OPERATOR_NAMESPACE, "earth-login", &admin);
        let text = std::fs::read_to_string(repo::deploy().join("samples/google/earth-engine.yaml")).unwrap();
        let google = "  google:\n    projectId: my-project\n";
        assert!(text.contains(google), "the sample has another backend now");
        let (url, project) = (iam.url(), iam.project());
        let ours = format!(
            "  google:\n    projectId: {project}\n    auth: {{secretRef: {{name: earth-login}}}}\n    endpoints: \
             {{iam: '{url}', resourceManager: '{url}', serviceUsage: '{url}', earthEngine: '{url}', token: \
             '{url}/token'}}\n"
        );
        world.cp().apply_yaml(&text.replace(google, &ours)).unwrap();
        Self { case }
    }

    fn get(&self, kind: &str, name: &str) -> Value {
        self.case.world.kube.find(&path(kind, NAMESPACE, name)).unwrap_or_default()
    }

    fn when(&self, kind: &str, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.case.until(what, || {
            let object = self.get(kind, name);
            if holds(&object) { Ok(object) } else { Err(object["status"].clone()) }
        })
    }

    /// The Secret's credential, mounted: a new file takes the old one's place at once.
    fn mount(&self) -> PathBuf {
        let data = data_of(&self.get("secret", "earth"));
        let next = self.case.file("next.json", &data["key.json"]);
        let mounted = next.with_file_name("key.json");
        std::fs::rename(next, &mounted).unwrap();
        mounted
    }

    /// The job of the sample, on its mounted file.
    fn start_job(&self) -> Process {
        let script = self.get("configmap", "earth-script")["data"]["job.py"].as_str().unwrap().to_owned();
        let script = self.case.file("job.py", script.as_bytes());
        let mut command = Command::new(interpreter().unwrap());
        let iam = self.case.iam();
        command.arg(script).arg(self.mount()).env("PAUSE", "0.05");
        command.args([format!("url={}", iam.url()), format!("project={}", iam.project())]);
        let log = self.case.file("job.log", b"");
        Process::spawn("job", command, &log, End::Kill).unwrap()
    }

    /// Waits until the job has computed so many more numbers.
    fn computes(&self, job: &Process, more: usize) {
        let computed = || job.log().lines().filter(|line| *line == "3").count();
        let before = computed();
        self.case.until("the job to compute", || {
            job.must_live().unwrap();
            if computed() >= before + more { Ok(()) } else { Err(json!(job.tail())) }
        });
    }
}

/// From `kubectl apply` to a lost key that is replaced, while the job goes on.
pub fn sample() {
    let sample = Sample::applied();
    let is_ready = |object: &Value| condition(object, "Ready")["status"] == "True";
    let account = sample.when("iamsa", "earth-jobs", "the account", is_ready);
    for told in ["RolesBound", "ServicesEnabled", "EarthEngineRegistered"] {
        assert_eq!(condition(&account, told)["status"], "True", "{told}: {account}");
    }
    let key = sample.when("iamsak", "earth", "the key", is_ready);
    let lost = data_of(&sample.get("secret", "earth"))["key.json"].clone();
    let job = sample.start_job();
    sample.computes(&job, 3);

    let now = format!("{:.0}", jiff::Timestamp::now());
    let revoke = json!({"metadata": {"annotations": {"keywheel.dev/revoke-at": now}}});
    sample.case.world.kube.patch(&path("iamsak", NAMESPACE, "earth"), &revoke).unwrap();
    let old = key["status"]["activeKeyId"].clone();
    sample.when("iamsak", "earth", "another key", |key| key["status"]["activeKeyId"] != old && is_ready(key));
    sample.mount();
    let revoked = |key: &Value| key["status"]["keys"].as_array().is_some_and(|keys| keys.len() == 1);
    sample.when("iamsak", "earth", "the lost key to be gone", revoked);
    sample.computes(&job, 10);
    job.must_live().unwrap();
    sample.case.refused(&lost);
    passed("earthengine-api (sample)", "as above", "Initialize, value:compute, across a revocation");

    for (kind, name) in [("iamsak", "earth"), ("iamsa", "earth-jobs"), ("ciamb", "earth")] {
        sample.case.world.kube.delete(&path(kind, NAMESPACE, name));
        sample.when(kind, name, "all to be gone", Value::is_null);
    }
}

fn version(told: &Value) -> &str {
    told["version"].as_str().unwrap()
}
