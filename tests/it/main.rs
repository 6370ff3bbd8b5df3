//! Integration tests: one binary, one link.

#[cfg(test)]
mod wire;

fn main() {
    let args = libtest_mimic::Arguments::from_args();
    let mut trials = Vec::new();
    trials.extend(wire::trials());
    libtest_mimic::run(&args, trials).exit();
}
