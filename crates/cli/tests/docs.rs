//! The pages of the book show what its commands print.
//!
//! Blocks marked `console` are run, page after page in the order of the table of contents, in one folder that has
//! the repository's `examples` and a small random model under the name of a real one. Blocks marked `sh` are not: what
//! they show takes a real model, the network or long.
#![cfg(unix)]

mod support;

use std::{env, fs, os::unix::fs::symlink, path::Path, process::Command};

use assert_cmd::cargo::cargo_bin;
use snapbox::Assert;
use support::{Place, gguf, root};

/// A command of a page and what the page shows of its output.
#[derive(Debug, Default)]
struct Step {
    command: String,
    shown: String,
}

/// The steps of a page: `$ ` begins a command, `> ` continues it, other lines are output.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if !inside {
        } else if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), shown: String::new() });
        } else {
            let step = steps.last_mut().expect("a block of commands begins with one");
            match line.strip_prefix("> ").filter(|_| step.shown.is_empty()) {
                Some(more) => step.command += &format!("\n{more}"),
                None => step.shown += &format!("{line}\n"),
            }
        }
    }
    steps
}

/// What a command prints, errors included, if it succeeds.
fn printed(command: &str, folder: &Path) -> String {
    let program = cargo_bin("tabpo");
    let beside = program.parent().expect("the program is in a folder");
    let path =
        env::join_paths([beside.into()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())));
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{command}")])
        .current_dir(folder)
        .env("PATH", path.expect("folders without colons"))
        .env("COLUMNS", "120")
        .output()
        .expect("a shell is there");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{command}\n{text}");
    text
}

#[test]
fn commands_print_what_the_pages_show() {
    let place = Place::new();
    symlink(root().join("examples"), place.path("examples")).expect("a link can be made");
    fs::create_dir(place.path("models")).expect("a folder can be made");
    gguf::model(&place.path("models/smollm2-135m-q4_1.gguf"));
    let book = root().join("docs/src");
    let contents = fs::read_to_string(book.join("SUMMARY.md")).expect("the table of contents");
    let pages = contents.split('(').skip(1).filter_map(|rest| rest.split_once(')')).map(|(page, _)| page);
    let mut count = 0;
    for page in pages {
        for step in steps(&fs::read_to_string(book.join(page)).expect(page)) {
            let text = printed(&step.command, &place.path(""));
            let seen = |output: &str| format!("{page}\n$ {}\n{output}", step.command);
            Assert::new().normalize_paths(false).eq(seen(&text), seen(&step.shown));
            count += 1;
        }
    }
    assert!(count >= 8, "the pages have lost their commands");
}

#[test]
fn the_reference_is_that_of_the_program() {
    let place = Place::new();
    let page = fs::read_to_string(root().join("docs/src/reference.md")).expect("the page");
    assert!(place.run(&["config", "reference"], 0).0 == page, "tabpo config reference > docs/src/reference.md");
}
