//! One test's corner of a world: a namespace, an account id of the same name, and what is asked there again and again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywheel::domain::Reason;
use keywheel_testbed::iam::{IamServer, Request};
use keywheel_testbed::process::Scratch;
use keywheel_testbed::python::{Exchange, Judge};
use keywheel_testbed::wait_until;
use serde_json::{Value, json};

use super::kube::path;
use super::person::Person;
use super::world::{SHARED_BACKEND, World, add_backend};

/// For everything that is to happen at once, on a busy machine.
pub const SOON: Duration = Duration::from_mins(1);

/// An IAM server that others use, too, or one of the test's own.
pub enum Server<'w> {
    Shared(&'w IamServer),
    Own(Box<IamServer>),
}

impl Server<'_> {
    fn get(&self) -> &IamServer {
        match self {
            Self::Shared(iam) => iam,
            Self::Own(iam) => iam,
        }
    }
}

impl<'w> From<&'w IamServer> for Server<'w> {
    fn from(iam: &'w IamServer) -> Self {
        Self::Shared(iam)
    }
}

impl From<IamServer> for Server<'_> {
    fn from(iam: IamServer) -> Self {
        Self::Own(Box::new(iam))
    }
}

pub struct Case<'w> {
    pub world: &'w World,
    /// The namespace, and the id of the first account.
    pub name: String,
    pub backend: String,
    iam: Server<'w>,
    pub person: Person,
    scratch: Scratch,
}

impl<'w> Case<'w> {
    /// At the world's own IAM server.
    pub fn new(world: &'w World, prefix: &str) -> Self {
        let name = world.cp().create_namespace(&format!("case-{prefix}")).unwrap();
        Self::with(world, name, SHARED_BACKEND.to_owned(), (&world.iam).into())
    }

    /// At a backend of its own, named as the namespace; `spec` adds to the backend's.
    pub fn at(world: &'w World, prefix: &str, iam: impl Into<Server<'w>>, spec: &Value) -> Self {
        Self::named(world, prefix, iam, |_, _| spec.clone())
    }

    /// The same, where the spec needs the server or the name.
    pub fn named(
        world: &'w World,
        prefix: &str,
        iam: impl Into<Server<'w>>,
        spec: impl FnOnce(&IamServer, &str) -> Value,
    ) -> Self {
        let (name, iam) = (world.cp().create_namespace(&format!("case-{prefix}")).unwrap(), iam.into());
        add_backend(&world.kube, &name, iam.get(), &spec(iam.get(), &name));
        Self::with(world, name.clone(), name, iam)
    }

    fn with(world: &'w World, name: String, backend: String, iam: Server<'w>) -> Self {
        let (person, scratch) = (Person::at(iam.get()), Scratch::new("case").unwrap());
        Self { world, name, backend, iam, person, scratch }
    }

    pub fn iam(&self) -> &IamServer {
        self.iam.get()
    }

    /// To stop and start it; only for one of the test's own.
    pub fn own_iam(&mut self) -> &mut IamServer {
        match &mut self.iam {
            Server::Own(iam) => iam,
            Server::Shared(_) => panic!("others use this IAM server, too"),
        }
    }

    pub fn path(&self, kind: &str, name: &str) -> String {
        path(kind, &self.name, name)
    }

    pub fn email(&self) -> String {
        self.person.email(&self.name)
    }

    /// A `ServiceAccount` named `billing` with this case's account id; `spec` adds to it.
    pub fn account(&self, spec: &Value) {
        self.account_named("billing", &self.name, spec);
    }

    pub fn account_named(&self, name: &str, account_id: &str, spec: &Value) {
        let base = json!({"backendRef": {"name": self.backend}, "accountId": account_id});
        self.create("iamsa", &object("ServiceAccount", name, &merged(base, spec)));
    }

    /// A `ServiceAccountKey` of the account `billing`; `spec` adds to it.
    pub fn key(&self, name: &str, spec: &Value) {
        let base = json!({"serviceAccountRef": {"name": "billing"}});
        self.create("iamsak", &object("ServiceAccountKey", name, &merged(base, spec)));
    }

    /// An account and a key `billing`, both ready.
    pub fn settled(&self, key: &Value) {
        self.account(&json!({}));
        self.key("billing", key);
        self.ready("iamsa", "billing");
        self.ready("iamsak", "billing");
    }

    pub fn create(&self, kind: &str, object: &Value) {
        if let Err(refused) = self.world.kube.create(&self.path(kind, ""), object) {
            panic!("{object} was refused: {refused:?}");
        }
    }

    pub fn find(&self, kind: &str, name: &str) -> Option<Value> {
        self.world.kube.find(&self.path(kind, name))
    }

    #[track_caller]
    pub fn get(&self, kind: &str, name: &str) -> Value {
        self.find(kind, name).unwrap_or_else(|| panic!("{kind} {name} is not there"))
    }

    pub fn patch(&self, kind: &str, name: &str, patch: &Value) {
        self.world.kube.patch(&self.path(kind, name), patch).unwrap();
    }

    pub fn delete(&self, kind: &str, name: &str) {
        self.world.kube.delete(&self.path(kind, name));
    }

    #[track_caller]
    pub fn gone(&self, kind: &str, name: &str) {
        self.until(&format!("{kind} {name} to go"), || match self.find(kind, name) {
            None => Ok(()),
            Some(object) => Err(object["status"].clone()),
        });
    }

    /// Waits for something; `Err` is what is seen meanwhile.
    #[track_caller]
    pub fn until<T>(&self, what: &str, ask: impl FnMut() -> Result<T, Value>) -> T {
        wait_until(what, SOON, ask).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Waits until the object is as `holds` says, and gives it.
    #[track_caller]
    pub fn when(&self, kind: &str, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.until(&format!("{kind} {name}: {what}"), || match self.find(kind, name) {
            Some(object) if holds(&object) => Ok(object),
            Some(object) => Err(object["status"].clone()),
            None => Err(json!("absent")),
        })
    }

    /// Waits until its spec is dealt with and it is Ready.
    #[track_caller]
    pub fn ready(&self, kind: &str, name: &str) -> Value {
        self.when(kind, name, "Ready", |object| {
            let ready = condition(object, "Ready");
            ready["status"] == "True" && ready["observedGeneration"] == object["metadata"]["generation"]
        })
    }

    /// Waits until the condition is so, for this reason, and gives its message.
    #[track_caller]
    pub fn told(&self, kind: &str, name: &str, type_: &str, status: &str, reason: Reason) -> String {
        let what = format!("{type_} {status} {reason}");
        let object = self.when(kind, name, &what, |object| {
            let condition = condition(object, type_);
            condition["status"] == status && condition["reason"] == reason.as_str()
        });
        condition(&object, type_)["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits for an event about the object with this reason, and gives its note.
    #[track_caller]
    pub fn event(&self, name: &str, reason: Reason) -> String {
        self.event_saying(name, reason, "")
    }

    /// The same, for one whose note has these words.
    #[track_caller]
    pub fn event_saying(&self, name: &str, reason: Reason, words: &str) -> String {
        self.until(&format!("event {reason} about {name} saying {words:?}"), || {
            let events = self.world.kube.list(&self.path("event", ""));
            let note = |event: &Value| event["note"].as_str().unwrap_or_default().to_owned();
            let found = events.iter().find(|event| {
                event["regarding"]["name"] == name
                    && event["reason"] == reason.as_str()
                    && note(event).contains(words)
            });
            let told =
                || events.iter().map(|event| json!([event["reason"], event["note"]])).collect::<Value>();
            found.map(note).ok_or_else(told)
        })
    }

    /// The id of the key that the object says to be active.
    #[track_caller]
    pub fn active(&self, key: &str) -> String {
        let object = self.get("iamsak", key);
        object["status"]["activeKeyId"].as_str().unwrap_or_else(|| panic!("{object}")).to_owned()
    }

    /// The decoded data of a Secret.
    #[track_caller]
    pub fn data(&self, secret: &str) -> BTreeMap<String, Vec<u8>> {
        data_of(&self.get("secret", secret))
    }

    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.scratch.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// google-auth's verdict on a credentials file.
    pub fn judge(&self, content: &[u8]) -> Exchange {
        static JUDGES: Mutex<Vec<Judge>> = Mutex::new(Vec::new());
        let idle = JUDGES.lock().unwrap().pop();
        let mut judge = idle.unwrap_or_else(|| Judge::start().unwrap());
        let thread = format!("{:?}.json", std::thread::current().id());
        let verdict = judge.exchange(&self.file(&thread, content)).unwrap();
        JUDGES.lock().unwrap().push(judge);
        verdict
    }

    /// Whether the `key.json` of a Secret opens the door.
    #[track_caller]
    pub fn accepted(&self, secret: &str) {
        let verdict = self.judge(&self.data(secret)["key.json"]);
        assert!(verdict.accepted(), "{}: {verdict:?}", self.name);
    }

    #[track_caller]
    pub fn refused(&self, file: &[u8]) {
        let verdict = self.judge(file);
        assert!(verdict.refused_with("invalid_grant"), "{}: {verdict:?}", self.name);
    }

    /// The requests about this case's account, or by its keys.
    pub fn requests(&self) -> Vec<Request> {
        let (email, mut ids) = (self.email(), vec![self.email()]);
        let account = self.find("iamsa", "billing").unwrap_or_default();
        ids.extend(account["status"]["uniqueId"].as_str().map(str::to_owned));
        let all = self.iam().requests().unwrap();
        let ours = |request: &Request| {
            let path = request.raw["path"].as_str().unwrap_or_default();
            request.caller == email || ids.iter().any(|id| path.contains(id.as_str()))
        };
        all.into_iter().filter(ours).collect()
    }

    /// How many of the requests are of this operation.
    pub fn count(&self, operation: &str) -> usize {
        self.requests().iter().filter(|request| request.operation == operation).count()
    }

    /// Names of the staging Secrets in the namespace.
    pub fn staged(&self) -> Vec<String> {
        let query = format!("{}?labelSelector=keywheel.dev/staging", self.path("secret", ""));
        let name = |secret: &Value| secret["metadata"]["name"].as_str().unwrap().to_owned();
        self.world.kube.list(&query).iter().map(name).collect()
    }

    /// Waits until nothing is staged, the last step of every attempt.
    #[track_caller]
    pub fn unstaged(&self) {
        self.until("staging Secrets to go", || match self.staged() {
            names if names.is_empty() => Ok(()),
            names => Err(json!(names)),
        });
    }
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        // A second panic here would abort the program, and leave everything that it has started behind.
        let tidy = std::panic::AssertUnwindSafe(|| {
            if std::thread::panicking() {
                self.show();
            }
            // Nothing of it shall keep the operator busy.
            self.world.kube.delete(&path("namespace", "", &self.name));
        });
        if std::panic::catch_unwind(tidy).is_err() {
            eprintln!("{} could not be tidied up", self.name);
        }
    }
}

impl Case<'_> {
    /// What a failure may have come from.
    fn show(&self) {
        for kind in ["iamsa", "iamsak", "iamb"] {
            for object in self.world.kube.list(&self.path(kind, "")) {
                eprintln!("{} {kind} {} {}", self.name, object["metadata"]["name"], object["status"]);
            }
        }
        let log = self.world.operator().log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&self.name)).collect();
        for line in lines.iter().skip(lines.len().saturating_sub(40)) {
            eprintln!("{line}");
        }
    }
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "keywheel.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn merged(mut base: Value, more: &Value) -> Value {
    for (field, value) in more.as_object().into_iter().flatten() {
        base[field] = value.clone();
    }
    base
}

/// A condition of the object, or null.
pub fn condition(object: &Value, type_: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|c| c["type"] == type_).cloned().unwrap_or_default()
}

/// The decoded data of a Secret that was read.
pub fn data_of(secret: &Value) -> BTreeMap<String, Vec<u8>> {
    let data = secret["data"].as_object().into_iter().flatten();
    data.map(|(key, value)| (key.clone(), STANDARD.decode(value.as_str().unwrap()).unwrap())).collect()
}

/// A key's entry in the ledger, or null.
pub fn entry(object: &Value, id: &str) -> Value {
    let keys = object["status"]["keys"].as_array();
    keys.into_iter().flatten().find(|key| key["id"] == id).cloned().unwrap_or_default()
}

/// A time in a status.
#[track_caller]
pub fn time(value: &Value) -> jiff::Timestamp {
    value.as_str().unwrap_or_else(|| panic!("{value} is no time")).parse().unwrap()
}

/// Two seconds from now: what was published before is older than that, in whole seconds, too.
pub fn soon() -> String {
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
    soon.round(jiff::Unit::Second).unwrap().to_string()
}
