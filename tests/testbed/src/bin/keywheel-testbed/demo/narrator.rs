//! How the story is told.

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use keywheel_testbed::control_plane::ControlPlane;
use keywheel_testbed::progress::say;

use crate::Outcome;

/// Tells the steps, numbered, on standard output; or, where that is for a program to read, on standard error.
#[derive(Debug, Default)]
pub(super) struct Narrator {
    steps: AtomicU32,
    aside_only: bool,
}

impl Narrator {
    /// Leaves standard output to the one line that a shell evaluates.
    pub(super) fn on_stderr() -> Self {
        Self { aside_only: true, ..Self::default() }
    }

    fn line(&self, line: &str) -> Outcome {
        if self.aside_only {
            say(line);
        } else {
            writeln!(std::io::stdout().lock(), "{line}")?;
        }
        Ok(())
    }

    /// The headline of a step.
    pub(super) fn step(&self, title: &str) -> Outcome {
        let number = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        self.line(&format!("\n{number}. {title}"))
    }

    /// A check that held.
    pub(super) fn ok(&self, fact: &str) -> Outcome {
        self.line(&format!("   ok: {fact}"))
    }

    /// Something to know that is not checked.
    pub(super) fn note(&self, text: &str) -> Outcome {
        text.lines().try_for_each(|line| self.line(&format!("   {line}")))
    }

    /// Runs kubectl as a user would, and shows command and output.
    pub(super) fn kubectl(&self, cp: &ControlPlane, args: &[&str]) -> Outcome {
        self.note(&format!("$ kubectl {}", args.join(" ")))?;
        let output = cp.kubectl_ok(args)?;
        self.note(&output)
    }
}
