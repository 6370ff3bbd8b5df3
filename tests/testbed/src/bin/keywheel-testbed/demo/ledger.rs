//! The ledger as people read it.

use std::fmt::Write as _;

use serde_json::Value;

/// Enough of a key's id to tell it from the others.
const SHORT_ID: usize = 12;

/// One key of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) resource: String,
    pub(super) id: String,
    pub(super) phase: String,
    published_at: String,
    disable_at: String,
    delete_at: String,
}

/// The rows of one `ServiceAccountKey`.
pub(super) fn rows(resource: &Value) -> Vec<Row> {
    let text =
        |value: &Value, path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or("-").to_owned();
    let name = text(resource, "/metadata/name");
    let keys = resource.pointer("/status/keys").and_then(Value::as_array);
    keys.into_iter()
        .flatten()
        .map(|key| Row {
            resource: name.clone(),
            id: text(key, "/id"),
            phase: text(key, "/phase"),
            published_at: text(key, "/publishedAt"),
            disable_at: text(key, "/disableAt"),
            delete_at: text(key, "/deleteAt"),
        })
        .collect()
}

/// The first characters of a key's id.
pub(super) fn short(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

/// A table with one line for each key.
pub(super) fn table(rows: &[Row]) -> String {
    let mut lines =
        vec![["RESOURCE", "KEY", "PHASE", "PUBLISHED", "OVERLAP ENDS", "DELETED FROM"].map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        [
            row.resource.clone(),
            short(&row.id).to_owned(),
            row.phase.clone(),
            row.published_at.clone(),
            row.disable_at.clone(),
            row.delete_at.clone(),
        ]
    }));
    let mut widths = [0; 6];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for line in &lines {
        let mut padded = String::new();
        for (width, cell) in widths.iter().zip(line) {
            // Writing to a String cannot fail.
            write!(padded, "{cell:<width$}   ").ok();
        }
        text.push_str(padded.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_shows_every_key_and_a_dash_where_there_is_no_time() {
        let resource = json!({
            "metadata": { "name": "fast" },
            "status": { "keys": [
                { "id": "0123456789abcdef", "phase": "Active", "publishedAt": "2026-01-01T00:00:30Z" },
                { "id": "fedcba9876543210", "phase": "Overlap", "disableAt": "2026-01-01T00:00:40Z" },
            ] },
        });
        let text = table(&rows(&resource));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("RESOURCE   KEY            PHASE"));
        assert!(lines[1].starts_with("fast       0123456789ab   Active    2026-01-01T00:00:30Z   -"));
        assert!(lines[2].contains("Overlap") && lines[2].contains("2026-01-01T00:00:40Z"));
    }

    #[test]
    fn a_resource_without_status_has_no_rows() {
        assert_eq!(rows(&json!({ "metadata": { "name": "new" } })), []);
    }
}
