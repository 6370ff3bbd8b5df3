//! Each kind of error that Google was seen to answer, from the wire to the condition that a person reads: the reason, what the
//! message names, what the operator did next, and that nothing was made or ended meanwhile.

use keywheel::domain::Reason;
use keywheel_testbed::iam::IamOptions;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::case::{Case, condition};
use super::trial;
use super::world::{World, start_iam};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("errors::an_account_that_is_there_already", account_exists),
        trial("errors::an_account_that_is_missing", account_missing),
        trial("errors::a_permission_that_is_missing", permission_missing),
        trial("errors::a_key_that_is_missing", key_missing),
        trial("errors::the_limit_of_keys_without_details", limit),
        trial("errors::the_limit_of_keys_in_legacy_words", legacy_limit),
        trial("errors::keys_that_the_organization_forbids", creation_forbidden),
        trial("errors::uploads_that_the_organization_forbids", upload_forbidden),
        trial("errors::a_policy_that_somebody_else_changed", stale_policy),
        trial("errors::a_rate_that_is_exceeded", rate),
        trial("errors::a_rate_that_says_until_when_for_a_create", rate_of_creates),
        trial("errors::a_rate_that_says_until_when_for_an_upload", rate_of_uploads),
        trial("errors::a_rate_that_says_until_when_for_an_ending", rate_of_endings),
        trial("errors::a_rate_that_says_until_when_for_an_account", rate_of_accounts),
        trial("errors::a_rate_that_says_until_when_for_roles_and_services", rate_of_policies),
        trial("errors::a_token_that_is_not_accepted", unauthenticated),
        trial("errors::a_service_that_is_not_available", unavailable),
        trial("errors::an_assertion_of_another_time_of_day", skew),
    ]
}

/// A backend of the kind `google` at a server of its own, and an account unless a test has another in mind.
fn case(prefix: &str, args: &[&str]) -> Case<'static> {
    let args = args.iter().map(|&arg| arg.to_owned()).collect();
    let iam = start_iam(IamOptions { args, ..IamOptions::default() });
    Case::named(World::shared(), &format!("error-{prefix}"), iam, |iam, name| {
        let url = iam.url();
        let endpoints =
            json!({"iam": url, "resourceManager": url, "token": format!("{url}/token"), "serviceUsage": url});
        json!({"google": {"projectId": iam.project(), "auth": {"secretRef": {"name": name}}, "endpoints": endpoints},
            "tenants": {"adoption": true, "roles": ["roles/viewer"], "services": ["pubsub.*"]}})
    })
}

fn with_account(prefix: &str, args: &[&str]) -> Case<'static> {
    let case = case(prefix, args);
    case.account(&json!({}));
    case.ready("iamsa", "billing");
    case
}

/// Until it is taken back.
fn fails(case: &Case<'_>, operation: &str, status: u16, canonical: &str, message: &str, details: &Value) {
    let fail = json!({"status": status, "canonical": canonical, "message": message, "details": details});
    case.iam().fault(&json!({"operation": operation, "action": {"fail": fail}, "times": 1000})).unwrap();
}

/// What was made and ended at the backend: by the answers, not by the calls.
fn changed(case: &Case<'_>) -> usize {
    let changing =
        ["accounts.create", "accounts.delete", "keys.create", "keys.upload", "keys.disable", "keys.delete"];
    let done = |r: &&keywheel_testbed::iam::Request| {
        changing.contains(&r.operation.as_str()) && r.status == Some(200)
    };
    case.requests().iter().filter(done).count()
}

/// The key is told why it cannot be made, nothing is made meanwhile, and it is made once the reason is gone.
fn key_is_refused(case: &Case<'_>, spec: &Value, reason: Reason, words: &[&str]) {
    let before = changed(case);
    case.key("billing", spec);
    let message = case.told("iamsak", "billing", "Ready", "False", reason);
    for part in words {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    case.event("billing", reason);
    assert_eq!(changed(case), before, "something was made or ended");
    case.iam().clear_faults().unwrap();
}

fn recovers(case: &Case<'_>) {
    case.ready("iamsak", "billing");
    case.accepted("billing");
}

fn account_exists() {
    let case = case("exists", &[]);
    case.person.create_account(&case.name, "made by hand");
    let before = changed(&case);
    case.account(&json!({}));
    let message = case.told("iamsa", "billing", "Stalled", "True", Reason::AccountExists);
    assert!(message.contains(&case.email()) && message.contains("adoptionPolicy: IfExists"), "{message}");
    // The same where the account does not show yet, and the create is refused.
    let text =
        format!("Service account late-one already exists within project projects/{}.", case.iam().project());
    let info = json!([{"@type": "type.googleapis.com/google.rpc.ResourceInfo", "resourceName": "late-one"}]);
    fails(&case, "accounts.create", 409, "ALREADY_EXISTS", &text, &info);
    case.account_named("late", "late-one", &json!({}));
    let message = case.told("iamsa", "late", "Ready", "False", Reason::AccountExists);
    assert!(message.contains("already exists within project"), "{message}");
    assert_eq!(changed(&case), before);
    case.iam().clear_faults().unwrap();
    case.patch("iamsa", "billing", &json!({"spec": {"adoptionPolicy": "IfExists"}}));
    case.ready("iamsa", "billing");
    case.ready("iamsa", "late");
}

fn account_missing() {
    let case = case("missing", &[]);
    case.account(&json!({"adoptionPolicy": "Required"}));
    let message = case.told("iamsa", "billing", "Ready", "False", Reason::AccountNotFound);
    assert!(message.contains(&case.name), "{message}");
    // Where the answer does not tell what is missing from what is hidden, nothing is made.
    let denied = "Permission 'iam.serviceAccounts.get' denied on resource (or it may not exist).";
    fails(&case, "accounts.get", 403, "PERMISSION_DENIED", denied, &json!([]));
    case.account_named("hidden", &format!("{}-2", case.name), &json!({}));
    let message = case.told("iamsa", "hidden", "Ready", "False", Reason::PermissionMissing);
    assert!(message.contains("iam.serviceAccounts.get"), "{message}");
    assert_eq!(case.count("accounts.create"), 0);
    case.iam().clear_faults().unwrap();
    case.ready("iamsa", "hidden");
}

fn permission_missing() {
    let case = with_account("denied", &[]);
    let denied = "Permission 'iam.serviceAccountKeys.create' denied on resource (or it may not exist).";
    let info = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "IAM_PERMISSION_DENIED",
        "domain": "iam.googleapis.com", "metadata": {"permission": "iam.serviceAccountKeys.create"}}]);
    fails(&case, "keys.create", 403, "PERMISSION_DENIED", denied, &info);
    key_is_refused(&case, &json!({}), Reason::PermissionMissing, &["iam.serviceAccountKeys.create"]);
    recovers(&case);
}

fn key_missing() {
    let case = with_account("key", &[]);
    case.key("billing", &json!({"rotation": {"every": "10s", "overlap": "1s", "deleteAfter": "1s"}}));
    case.ready("iamsak", "billing");
    let first = case.active("billing");
    fails(&case, "keys.disable", 404, "NOT_FOUND", "Unknown service account key", &json!([]));
    // It is gone, so it needs no end; a key that is there is never taken for gone by it.
    case.when("iamsak", "billing", "the first key out of the ledger", |key| {
        super::case::entry(key, &first).is_null()
    });
    case.iam().clear_faults().unwrap();
    case.accepted("billing");
}

fn limit() {
    let case = with_account("limit", &[]);
    fails(&case, "keys.create", 400, "FAILED_PRECONDITION", "Precondition check failed.", &json!([]));
    key_is_refused(&case, &json!({}), Reason::PreconditionFailed, &["Precondition check failed."]);
    // What the answer does not say, a list does: nobody made ten keys.
    recovers(&case);
    let listed = case.requests().iter().filter(|r| r.operation == "keys.list").count();
    assert!(listed >= 2, "it was not counted again");
}

fn legacy_limit() {
    let case = with_account("legacy", &[]);
    let delay = json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "86401s"}]);
    fails(
        &case,
        "keys.create",
        429,
        "RESOURCE_EXHAUSTED",
        "Maximum number of keys on account reached.",
        &delay,
    );
    let words = ["Maximum number of keys on account reached.", "86401s"];
    key_is_refused(&case, &json!({}), Reason::PreconditionFailed, &words);
    recovers(&case);
}

fn creation_forbidden() {
    let case = with_account("forbids", &["--constraint", "iam.disableServiceAccountKeyCreation"]);
    let words = ["constraints/iam.disableServiceAccountKeyCreation", "keySource: Local may work"];
    key_is_refused(&case, &json!({}), Reason::OrgPolicyForbids, &words);
    // It does.
    case.key("local", &json!({"keySource": "Local"}));
    case.ready("iamsak", "local");
    case.accepted("local");
    case.iam().settings(&json!({"constraints": []})).unwrap();
    recovers(&case);
}

fn upload_forbidden() {
    let case = with_account("uploads", &["--constraint", "iam.disableServiceAccountKeyUpload"]);
    let words = ["constraints/iam.disableServiceAccountKeyUpload"];
    key_is_refused(&case, &json!({"keySource": "Local"}), Reason::OrgPolicyForbids, &words);
    case.iam().settings(&json!({"constraints": []})).unwrap();
    recovers(&case);
}

fn stale_policy() {
    let case = case("policy", &[]);
    let other = "user:somebody@example.com";
    let theirs = json!({"policy": {"bindings": [{"role": "roles/viewer", "members": [other]}]}});
    case.person.project("setIamPolicy", &theirs);
    let text = "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.";
    let fail = json!({"status": 409, "canonical": "ABORTED", "message": text});
    let fault = json!({"operation": "projects.setIamPolicy", "action": {"fail": fail}, "times": 2});
    case.iam().fault(&fault).unwrap();
    case.account(&json!({"roles": [{"role": "roles/viewer"}]}));
    let account = case.ready("iamsa", "billing");
    assert_eq!(condition(&account, "RolesBound")["status"], "True");
    let policy = case.person.project("getIamPolicy", &json!({}));
    let members = policy["bindings"][0]["members"].to_string();
    assert!(members.contains(other) && members.contains(&case.email()), "{policy}");
    // Read again each time: the whole is repeated, not the write.
    let asked = case.requests();
    let count = |operation: &str| asked.iter().filter(|r| r.operation == operation).count();
    assert!(count("projects.getIamPolicy") >= count("projects.setIamPolicy"));
}

fn rate() {
    let case = with_account("rate", &[]);
    let info = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED",
        "domain": "googleapis.com"}]);
    fails(&case, "keys.create", 429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric", &info);
    key_is_refused(&case, &json!({}), Reason::BackendThrottled, &["Quota exceeded"]);
    recovers(&case);
}

/// Longer than any wait of the operator's own in these tests.
pub const ASKED: i64 = 7;

/// One call of this method is told that its quota is exhausted; how else, `more` says.
pub fn asks(case: &Case<'_>, operation: &str, more: &Value) {
    let mut fail = json!({"status": 429, "canonical": "RESOURCE_EXHAUSTED", "message": "Quota exceeded for quota metric"});
    fail.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    case.iam().fault(&json!({"operation": operation, "action": {"fail": fail}})).unwrap();
}

/// `google.rpc.RetryInfo`.
fn info() -> Value {
    json!({"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{ASKED}s")}]})
}

/// The header, in seconds.
pub fn header() -> Value {
    json!({"retry_after": ASKED.to_string()})
}

/// When the server was asked so, which it was at least twice: the first one was refused.
pub fn tries(case: &Case<'_>, operation: &str) -> Vec<jiff::Timestamp> {
    let all = case.iam().requests().unwrap();
    let tried = all.iter().filter(|r| r.operation == operation);
    let refused = tried.clone().position(|r| r.raw["fault"] == "fail").expect("a refused call");
    let times: Vec<_> = tried.skip(refused).map(|r| super::case::time(&r.raw["time"])).collect();
    assert!(times.len() >= 2, "{operation} was not tried again");
    times
}

/// It was tried again, and not before the backend wanted it.
pub fn kept_away(case: &Case<'_>, operation: &str) {
    let times = tries(case, operation);
    let pause = times[1].duration_since(times[0]);
    assert!(pause >= jiff::SignedDuration::from_secs(ASKED), "{operation} again after {pause:#}");
}

#[track_caller]
pub fn says_when(message: &str) {
    assert!(message.contains("Quota exceeded"), "{message}");
    assert!(message.contains("the backend asks not to be tried again before 20"), "{message}");
}

fn rate_of_creates() {
    let case = with_account("rate-create", &[]);
    asks(&case, "keys.create", &info());
    case.key("billing", &json!({}));
    says_when(&case.told("iamsak", "billing", "Ready", "False", Reason::BackendThrottled));
    recovers(&case);
    kept_away(&case, "keys.create");
}

fn rate_of_uploads() {
    let case = with_account("rate-upload", &[]);
    asks(&case, "keys.upload", &header());
    case.key("billing", &json!({"keySource": "Local"}));
    says_when(&case.told("iamsak", "billing", "Ready", "False", Reason::BackendThrottled));
    recovers(&case);
    kept_away(&case, "keys.upload");
}

fn rate_of_endings() {
    let case = with_account("rate-end", &[]);
    case.key("billing", &json!({"rotation": {"overlap": "1s", "deleteAfter": "1s"}}));
    case.ready("iamsak", "billing");
    let first = case.active("billing");
    asks(&case, "keys.disable", &header());
    asks(&case, "keys.delete", &info());
    let annotation = json!({"keywheel.dev/rotate-at": super::case::soon()});
    case.patch("iamsak", "billing", &json!({"metadata": {"annotations": annotation}}));
    says_when(&case.told("iamsak", "billing", "Rotating", "False", Reason::BackendThrottled));
    case.when("iamsak", "billing", "the first key out of the ledger", |key| {
        key["status"]["activeKeyId"] != json!(first) && super::case::entry(key, &first).is_null()
    });
    kept_away(&case, "keys.disable");
    kept_away(&case, "keys.delete");
    case.accepted("billing");
}

fn rate_of_accounts() {
    let case = case("rate-account", &[]);
    asks(&case, "accounts.create", &header());
    asks(&case, "accounts.delete", &info());
    case.account(&json!({}));
    says_when(&case.told("iamsa", "billing", "Ready", "False", Reason::BackendThrottled));
    case.ready("iamsa", "billing");
    kept_away(&case, "accounts.create");
    case.delete("iamsa", "billing");
    case.gone("iamsa", "billing");
    kept_away(&case, "accounts.delete");
}

fn rate_of_policies() {
    let case = case("rate-roles", &[]);
    asks(&case, "projects.setIamPolicy", &info());
    // As a time, which is read against the answer's own.
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(ASKED + 3);
    let until = jiff::Timestamp::from_second(until.as_second()).unwrap();
    let text = until.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    asks(&case, "services.enable", &json!({"retry_after": text}));
    case.account(&json!({"roles": [{"role": "roles/viewer"}], "services": ["pubsub.googleapis.com"]}));
    says_when(&case.told("iamsa", "billing", "RolesBound", "False", Reason::BackendThrottled));
    says_when(&case.told("iamsa", "billing", "ServicesEnabled", "False", Reason::BackendThrottled));
    case.ready("iamsa", "billing");
    kept_away(&case, "projects.setIamPolicy");
    let tried = tries(&case, "services.enable");
    assert!(tried[0] < until && tried[1] >= until, "{tried:?} {until}");
}

fn unauthenticated() {
    let case = with_account("token", &[]);
    let text = "Request had invalid authentication credentials. Expected OAuth 2 access token.";
    fails(&case, "keys.create", 401, "UNAUTHENTICATED", text, &json!([]));
    key_is_refused(&case, &json!({}), Reason::LoginRefused, &["invalid authentication credentials"]);
    recovers(&case);
}

fn unavailable() {
    let case = with_account("gone", &[]);
    fails(&case, "keys.list", 503, "UNAVAILABLE", "The service is currently unavailable.", &json!([]));
    key_is_refused(&case, &json!({}), Reason::BackendUnreachable, &["currently unavailable"]);
    assert_eq!(case.count("keys.create"), 0, "what cannot be counted is not added to");
    recovers(&case);
}

fn skew() {
    let case = with_account("skew", &[]);
    let text = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and \
                exp values in the JWT claim.";
    fails(&case, "token", 400, "invalid_grant", text, &json!([]));
    case.key("billing", &json!({}));
    let message = case.told("iamsak", "billing", "Ready", "False", Reason::ClockSkew);
    assert!(message.contains("reasonable timeframe"), "{message}");
    assert_eq!(case.find("secret", "billing"), None, "an unproved key is not published");
    assert_eq!(case.count("keys.create"), 1, "the same key is tried again");
    case.iam().clear_faults().unwrap();
    recovers(&case);
    assert_eq!(case.count("keys.create"), 1);
}
