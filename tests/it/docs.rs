//! What the documentation says about tests is true: every test that it names exists.

#![cfg(test)]

use std::path::{Path, PathBuf};

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    vec![Trial::test("docs::every_test_that_the_failures_page_names_exists", || {
        named_tests_exist();
        Ok(())
    })]
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn named_tests_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/failures.md")).unwrap();
    let mut files = Vec::new();
    for folder in ["src", "tests/it"] {
        sources(&root.join(folder), &mut files);
    }
    let code: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |"));
    let named: Vec<&str> = rows.filter_map(|row| row.rsplit('`').nth(1)).collect();
    assert!(named.len() >= 50, "only {} tests are named", named.len());
    let missing: Vec<&&str> = named
        .iter()
        .filter(|name| {
            let trial = format!("\"{name}\"");
            let function = format!("fn {name}(");
            !code.contains(&trial) && !code.contains(&function)
        })
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
    let variants = std::fs::read_to_string(root.join("src/domain/defect.rs")).unwrap();
    let holes = page.lines().filter(|line| line.starts_with("| ") && line.matches(" | ").count() == 3);
    let cells: Vec<&str> = holes.filter_map(|row| row.split(" | ").nth(2)?.strip_prefix('`')).collect();
    let named: Vec<&str> = cells.iter().filter_map(|cell| cell.strip_suffix('`')).collect();
    assert!(named.len() >= 20, "only {} variants are named", named.len());
    let unknown: Vec<&&str> =
        named.iter().filter(|name| !variants.contains(&format!("    {name} "))).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}
