//! `keywheel reasons`: the page of all reasons, from which `docs/reasons.md` is made.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::domain::Reason;
use crate::domain::reason::Kind;

/// Prints the page.
pub fn run() -> std::io::Result<()> {
    std::io::stdout().write_all(page().as_bytes())
}

fn page() -> String {
    let mut page = String::from(
        "# Reasons\n\nEvery condition and event carries one of these words. They are stable: alerts may match them.\n\
         Made from the code by `make generate`.\n",
    );
    for (title, kind) in
        [("Something is wrong", Kind::Failure), ("Under way", Kind::Progress), ("All is well", Kind::Good)]
    {
        // Writing to a string cannot fail.
        write!(page, "\n## {title}\n| reason | what it means, and what to do |\n|---|---|\n").ok();
        for reason in Reason::ALL.iter().filter(|r| r.kind() == kind) {
            writeln!(page, "| `{reason}` | {} |", reason.meaning().trim()).ok();
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_reason() {
        assert_eq!(include_str!("../../docs/reasons.md"), page(), "run `make generate`");
    }
}
