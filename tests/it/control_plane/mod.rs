//! The test bed itself: the control plane is a real one, and refuses what a real one refuses.

mod conformance;

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use keywheel_testbed::audit::Writes;
use keywheel_testbed::control_plane::{self, ADMIN_USER, ControlPlane, OPERATOR_USER, Options};
use keywheel_testbed::pki::Authority;
use keywheel_testbed::ports;
use keywheel_testbed::process::{End, Process, Scratch, Signal};
use keywheel_testbed::shared;
use keywheel_testbed::tools::{Tool, Toolbox};
use libtest_mimic::{Completion, Failed, Trial};

/// Set for a process of this test program that is to be interrupted; see [`hold`].
pub const HOLD: &str = "KEYWHEEL_IT_HOLD";

/// All trials of this file.
pub fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn(&ControlPlane) -> Result<(), Failed>| {
        Trial::test(format!("control_plane::{name}"), move || run(shared::control_plane()?))
    };
    let mut trials = vec![
        trial("the_operator_has_an_identity_and_no_right_beyond_its_rules", operator_rights),
        trial("writes_are_counted_from_the_audit_log_and_dry_runs_apart", audited_writes),
        trial("a_refusal_is_an_error_with_the_servers_words", refusal),
        trial("a_certificate_of_another_authority_is_refused_on_both_sides", strangers),
        trial("a_deleted_namespace_goes_away_with_its_content", namespace_deletion),
        rollout_trial(),
        Trial::test("control_plane::a_port_that_somebody_else_took_is_replaced", taken_ports),
        Trial::test("control_plane::ctrl_c_ends_every_process_and_removes_the_folder", interrupted),
    ];
    trials.extend(conformance::trials());
    trials
}

/// The one trial that needs pods: skipped where their programs were not built (`make tools`).
fn rollout_trial() -> Trial {
    let name = "control_plane::a_deployment_rolls_out_without_a_kubelet";
    let options = Options::default().with_pods();
    let missing = Toolbox::from_env().map(|toolbox| {
        options
            .tools()
            .into_iter()
            .filter(|tool| toolbox.find(*tool).is_none())
            .map(Tool::name)
            .collect::<Vec<_>>()
    });
    match missing {
        Ok(missing) if !missing.is_empty() => Trial::ignorable_test(name, move || {
            Ok(Completion::ignored_with(format!(
                "not built: {}; `make tools` builds them",
                missing.join(", ")
            )))
        }),
        _ => Trial::test(name, move || rollout(options)),
    }
}

fn rollout(options: Options) -> Result<(), Failed> {
    let cp = ControlPlane::start(options)?;
    cp.add_kwok_node("node-1", 20)?;
    cp.kubectl_ok(&["create", "deployment", "web", "--image=none", "--replicas=3"])?;
    cp.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    let web = cp.get_json(&["get", "deployment", "web"])?;
    assert_eq!(web.pointer("/status/readyReplicas").and_then(serde_json::Value::as_u64), Some(3), "{web}");
    Ok(())
}

/// Another program listens where etcd, then where the API server shall listen.
fn taken_ports() -> Result<(), Failed> {
    let squatter = TcpListener::bind("127.0.0.1:0")?;
    let taken = squatter.local_addr()?.port();
    let [one, two, three, four] = ports::free()?;
    for wish in [[taken, one, two], [three, four, taken]] {
        let cp = ControlPlane::start(Options { ports: Some(wish), ..Options::default() })?;
        let port = cp.server().rsplit(':').next().and_then(|port| port.parse().ok());
        assert!(port.is_some_and(|port| !wish.contains(&port)), "{wish:?} {}", cp.server());
        cp.create_namespace("served")?;
    }
    Ok(())
}

fn can_i(cp: &ControlPlane, kubeconfig: &std::path::Path, question: &[&str]) -> Result<bool, Failed> {
    // Asking about everything needs no namespace; `no` is exit code 1, which is an answer.
    let output = cp.kubectl_as(kubeconfig).args(["auth", "can-i"]).args(question).output()?;
    match String::from_utf8_lossy(&output.stdout).trim() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
    }
}

fn operator_rights(cp: &ControlPlane) -> Result<(), Failed> {
    let kubeconfig = cp.operator_kubeconfig()?;
    let questions: [(bool, &[&str]); 14] = [
        (true, &["update", "iamsak.keywheel.dev", "--subresource=status", "-A"]),
        (true, &["patch", "iamsak.keywheel.dev", "-A"]),
        (true, &["create", "secrets", "-A"]),
        (true, &["get", "namespaces", "-A"]),
        (true, &["create", "events.events.k8s.io", "-A"]),
        (false, &["update", "iamsak.keywheel.dev", "-A"]),
        (false, &["create", "iamsak.keywheel.dev", "-A"]),
        (false, &["delete", "iamsak.keywheel.dev", "-A"]),
        (false, &["deletecollection", "secrets", "-A"]),
        (false, &["get", "pods", "-A"]),
        (false, &["watch", "namespaces", "-A"]),
        (false, &["create", "namespaces", "-A"]),
        (false, &["escalate", "clusterroles.rbac.authorization.k8s.io", "-A"]),
        (false, &["impersonate", "users", "-A"]),
    ];
    for (allowed, question) in questions {
        assert_eq!(can_i(cp, &kubeconfig, question)?, allowed, "{question:?}");
    }
    let whoami = cp.kubectl_as(&kubeconfig).args(["auth", "whoami", "-o", "yaml"]).output()?.stdout;
    let text = String::from_utf8(whoami)?;
    assert!(text.contains(OPERATOR_USER), "{text}");
    Ok(())
}

fn audited_writes(cp: &ControlPlane) -> Result<(), Failed> {
    let namespace = cp.create_namespace("audit")?;
    let mark = cp.audit().mark()?;
    cp.kubectl_ok(&["create", "configmap", "one", "--namespace", &namespace])?;
    cp.kubectl_ok(&["create", "configmap", "two", "--namespace", &namespace, "--dry-run=server"])?;
    cp.kubectl_ok(&["get", "configmap", "one", "--namespace", &namespace])?;
    // Other trials use the same control plane at the same time.
    let Writes { mut real, mut dry_runs } = cp.audit().writes_since(mark, ADMIN_USER)?;
    real.retain(|entry| entry.namespace == namespace);
    dry_runs.retain(|entry| entry.namespace == namespace);
    let told: Vec<_> =
        real.iter().map(|entry| (entry.verb.as_str(), entry.name.as_str(), entry.code)).collect();
    assert_eq!(told, [("create", "one", 201)]);
    assert_eq!(dry_runs.len(), 1, "{dry_runs:?}");
    Ok(())
}

fn refusal(cp: &ControlPlane) -> Result<(), Failed> {
    let refused = cp.apply_yaml("{apiVersion: v1, kind: Namespace, metadata: {name: Not_A_Name}}");
    match refused {
        Err(control_plane::Error::Kubectl(error)) if error.refusal().contains("Not_A_Name") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn namespace_deletion(cp: &ControlPlane) -> Result<(), Failed> {
    let namespace = cp.create_namespace("short-lived")?;
    cp.kubectl_ok(&["create", "secret", "generic", "content", "--namespace", &namespace])?;
    cp.kubectl_ok(&["delete", "namespace", &namespace, "--wait=false"])?;
    cp.wait_deleted("", &format!("namespace/{namespace}"), Duration::from_mins(1))?;
    Ok(())
}

fn strangers(cp: &ControlPlane) -> Result<(), Failed> {
    let scratch = Scratch::new("strangers")?;
    let stranger = Authority::new(scratch.path())?;
    let says = |flags: &[(&str, &std::path::Path)], words: &str| -> Result<(), Failed> {
        let mut command = cp.kubectl();
        command.args(flags.iter().map(|(flag, path)| format!("--{flag}={}", path.display())));
        let output = command.args(["get", "--raw=/version"]).output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(words), "{flags:?}: {text}");
        Ok(())
    };
    says(&[("certificate-authority", stranger.certificate())], "certificate signed by unknown authority")?;
    let client = stranger.client("admin", ADMIN_USER, Some("system:masters"))?;
    says(&[("client-certificate", &client.certificate), ("client-key", &client.key)], "Unauthorized")
}

/// What the interrupted process does: starts a control plane, says so, and waits for its end.
pub fn hold() -> Result<(), Failed> {
    let cp = ControlPlane::start(Options::default().with_garbage_collection())?;
    writeln!(std::io::stdout(), "export KUBECONFIG={}", cp.admin_kubeconfig().display())?;
    loop {
        std::thread::park();
    }
}

/// As a person at a terminal does it: the whole bed in a process of its own, then SIGINT.
fn interrupted() -> Result<(), Failed> {
    let scratch = Scratch::new("interrupted")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.env(HOLD, "1");
    let bed = Process::spawn("bed", command, &scratch.path().join("log"), End::Kill)?;
    let announced = |line: &str| line.strip_prefix("export KUBECONFIG=").map(PathBuf::from);
    let kubeconfig = bed.wait_for_line(Duration::from_mins(2), announced)?;
    let folder = kubeconfig.parent().map(PathBuf::from).unwrap_or_default();
    let server = std::fs::read_to_string(&kubeconfig)?;
    let port = server.split("127.0.0.1:").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let address = format!("127.0.0.1:{port}");
    TcpStream::connect(&address).map_err(|error| format!("{address} was not served: {error}"))?;

    bed.signal(Signal::INT)?;
    let status = bed.wait(Duration::from_secs(30))?.ok_or("the bed ignored SIGINT")?;
    let left = (status.code(), folder.exists(), TcpStream::connect(&address).is_ok());
    assert_eq!(left, (Some(130), false, false), "(status, folder, port): {}", bed.log());
    Ok(())
}
