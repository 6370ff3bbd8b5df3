//! What the documentation says about tests is true: every test that it names exists, and no failure is left out.

#![cfg(test)]

use std::path::{Path, PathBuf};

use keywheel_testbed::wire_page::ROWS;
use libtest_mimic::Trial;

/// Columns of the page's first table, the failures, and of its second one, the holes.
const FAILURES: usize = 4;
const HOLES: usize = 5;

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("docs::every_test_that_the_failures_page_names_exists", || {
            named_tests_exist();
            named_variants_exist();
            Ok(())
        }),
        Trial::test("docs::every_failure_and_every_hole_has_its_row", || {
            nothing_is_left_out();
            Ok(())
        }),
        Trial::test("docs::every_row_of_the_wire_has_tests_that_run", || {
            every_row_of_the_wire_is_tested();
            Ok(())
        }),
    ]
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
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

/// The code of all tests that the page may name.
fn code() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests/it", "tests/sim", "tests/model"] {
        sources(&root.join(folder), &mut files);
    }
    files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

/// The rows of a table that has so many columns, cell by cell; a row ends with the name of its test, or with names.
fn rows(page: &str, columns: usize) -> Vec<Vec<&str>> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |"));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells.filter(|cells| cells.len() == columns).collect()
}

/// What a cell says in backquotes.
fn quoted(cell: &str) -> &str {
    cell.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).unwrap_or_else(|| panic!("{cell:?}"))
}

fn named_tests_exist() {
    let (page, code) = (read("docs/failures.md"), code());
    let all = [rows(&page, FAILURES), rows(&page, HOLES)].concat();
    let ends = page.lines().filter(|line| line.ends_with("` |")).count();
    assert_eq!(all.len(), ends, "a row has too few or too many cells");
    let named = all.iter().flat_map(|row| quoted(row[row.len() - 1]).split("`, `"));
    assert_exist(&code, named);
}

fn assert_exist<'p>(code: &str, named: impl Iterator<Item = &'p str>) {
    let missing: Vec<&str> = named
        .filter(|name| {
            let trial = format!("\"{name}\"");
            let function = format!("fn {name}(");
            !code.contains(&trial) && !code.contains(&function)
        })
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The page itself is held to the rows by `make verify`.
fn every_row_of_the_wire_is_tested() {
    let expected: Vec<u8> = (1..=24).collect();
    assert_eq!(ROWS.iter().map(|row| row.number).collect::<Vec<_>>(), expected);
    let trials = crate::wire::trials();
    let run: Vec<&str> = trials.iter().filter_map(|trial| trial.name().strip_prefix("wire::")).collect();
    for row in ROWS {
        assert!(!row.tests.is_empty(), "row {} has no test", row.number);
        let missing: Vec<_> = row.tests.iter().filter(|test| !run.contains(test)).collect();
        assert!(missing.is_empty(), "row {}: {missing:?}", row.number);
    }
}

fn named_variants_exist() {
    let (page, variants) = (read("docs/failures.md"), read("src/domain/defect.rs"));
    let holes = rows(&page, HOLES);
    let named: Vec<&str> =
        holes.iter().map(|row| row[3]).filter(|cell| !cell.is_empty()).map(quoted).collect();
    assert!(named.len() >= 30, "only {} variants are named", named.len());
    let unknown: Vec<&&str> =
        named.iter().filter(|name| !variants.contains(&format!("    {name} "))).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}

fn numbered(letter: char, last: usize) -> impl Iterator<Item = String> {
    (1..=last).map(move |number| format!("{letter}{number}"))
}

/// The ids of a table's rows, in order; a row that belongs to none has a dash.
fn ids<'p>(table: &[Vec<&'p str>]) -> Vec<&'p str> {
    table.iter().map(|row| row[0]).filter(|id| *id != "-").collect()
}

fn nothing_is_left_out() {
    let page = read("docs/failures.md");
    assert_eq!(ids(&rows(&page, FAILURES)), numbered('F', 20).collect::<Vec<_>>());
    let holes = [('A', 15), ('B', 10), ('C', 16), ('D', 23)];
    let holes: Vec<String> = holes.into_iter().flat_map(|(letter, last)| numbered(letter, last)).collect();
    assert_eq!(ids(&rows(&page, HOLES)), holes);
}
