//! The chart: what it renders is what a cluster takes, every value does something, and nonsense is refused.

use std::path::PathBuf;
use std::process::{Command, Output};

use keywheel_testbed::tools::{Tool, Toolbox};
use keywheel_testbed::{repo, shared};
use libtest_mimic::{Failed, Trial};

/// All trials of this file.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("chart::every_value_changes_what_is_rendered", every_value),
        Trial::test("chart::values_that_are_not_in_the_schema_are_refused", refused_values),
        Trial::test("chart::the_api_server_takes_what_deploy_holds", accepted_manifests),
    ]
}

fn render(sets: &[&str]) -> Result<Output, Failed> {
    let mut command = Command::new(Toolbox::from_env()?.get(Tool::Helm)?);
    command
        .args(["template", "release", "--namespace", "somewhere"])
        .arg(repo::root().join("charts/keywheel"));
    command.args(sets.iter().flat_map(|set| ["--set-json", set]));
    Ok(command.output()?)
}

fn rendered(sets: &[&str]) -> Result<String, Failed> {
    let output = render(sets)?;
    assert!(output.status.success(), "{sets:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn every_value() -> Result<(), Failed> {
    let usual = rendered(&[])?;
    for (set, expected) in [
        (r#"image.repository="registry.test/kw""#, "registry.test/kw:"),
        (r#"image.tag="v9""#, ":v9\""),
        (r#"image.pullPolicy="Always""#, "imagePullPolicy: Always"),
        (r#"imagePullSecrets=["login"]"#, "- name: login"),
        ("createNamespace=true", "kind: Namespace"),
        (r#"clusterResourceNamespace="logins""#, "--cluster-resource-namespace=logins"),
        (r#"embeddedEndpoint="http://iam.test:1""#, "--embedded-endpoint=http://iam.test:1"),
        (r#"log.filter="keywheel=debug""#, "keywheel=debug"),
        (r#"serviceAccount.name="turner""#, "serviceAccountName: turner"),
        (r#"serviceAccount.annotations={"a.test/b":"c"}"#, "a.test/b: c"),
        ("healthPort=9000", "--health-listen=0.0.0.0:9000"),
        (r#"resources={"limits":{"memory":"1Gi"}}"#, "memory: 1Gi"),
        (r#"podLabels={"team":"x"}"#, "team: x"),
        (r#"podAnnotations={"note":"y"}"#, "note: \"y\""),
        (r#"nodeSelector={"disk":"fast"}"#, "disk: fast"),
        (r#"tolerations=[{"key":"spot"}]"#, "key: spot"),
        (r#"affinity={"nodeAffinity":{}}"#, "nodeAffinity: {}"),
        (r#"priorityClassName="high""#, "priorityClassName: high"),
    ] {
        assert!(!usual.contains(expected), "{expected} is there without {set}");
        let text = rendered(&[set])?;
        assert!(text.contains(expected), "{set} does not lead to {expected}:\n{text}");
    }
    Ok(())
}

fn refused_values() -> Result<(), Failed> {
    for set in [
        "unknown=1",
        "image.unknown=1",
        r#"image.pullPolicy="Sometimes""#,
        r#"image.repository="""#,
        "healthPort=80",
        r#"healthPort="8081""#,
        r#"clusterResourceNamespace="Not_A_Name""#,
        r#"embeddedEndpoint="iam.test""#,
        r#"log.filter="""#,
        "createNamespace=1",
    ] {
        let output = render(&[set])?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{set} was accepted");
        assert!(words.contains("values don't meet the specifications of the schema"), "{set}: {words}");
    }
    Ok(())
}

fn accepted_manifests() -> Result<(), Failed> {
    let cp = shared::control_plane()?;
    let manifest = |name: &str| -> PathBuf { repo::deploy().join(name) };
    for name in ["namespace.yaml", "rbac.yaml", "deployment.yaml"] {
        let path = manifest(name).to_string_lossy().into_owned();
        // Validation is strict: an unknown field is an error, not a warning.
        let said =
            cp.kubectl_ok(&["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", &path])?;
        assert!(said.contains("serverside-applied"), "{name}: {said}");
    }
    Ok(())
}
