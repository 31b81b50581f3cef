//! Tells the program what it is built for, and from which commit: of the repository that this file is tracked in, or of
//! the package.

use std::{env, fs, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=TABPO_TARGET={}", env::var("TARGET").unwrap_or_default());
    println!("cargo::rustc-env=TABPO_COMMIT={}", repository().or_else(package).unwrap_or_default());
}

/// The commit of the repository; `None` if this is no checkout of it.
fn repository() -> Option<String> {
    // The package may have been unpacked inside another project's repository.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    // Every commit and checkout adds a line to it.
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// The commit that `cargo package` has noted.
fn package() -> Option<String> {
    let text = fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let after = text.split("\"sha1\"").nth(1)?;
    let digits: String = after.chars().skip_while(|digit| !digit.is_ascii_hexdigit()).take(12).collect();
    (digits.len() == 12 && digits.chars().all(|digit| digit.is_ascii_hexdigit())).then_some(digits)
}

/// The first line that git prints; `None` if it fails.
fn git(arguments: &[&str]) -> Option<String> {
    let folder = env::var_os("CARGO_MANIFEST_DIR")?;
    let done = Command::new("git").args(arguments).current_dir(folder).output().ok()?;
    let line = String::from_utf8(done.stdout).ok()?.lines().next()?.to_owned();
    done.status.success().then_some(line)
}
