//! What those who package the program, or report a fault, get from it.

mod support;

use std::fs;

use support::{Place, root};

#[test]
fn the_short_version_is_a_line_and_the_long_one_says_what_a_report_needs() {
    let place = Place::new();
    let (short, _) = place.run(&["-V"], 0);
    assert_eq!(short, format!("tabpo {}\n", env!("CARGO_PKG_VERSION")));
    let (long, _) = place.run(&["--version"], 0);
    let lines: Vec<&str> = long.lines().collect();
    assert_eq!(lines[0], short.trim_end());
    let names: Vec<&str> = lines[1..].iter().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["commit", "target", "processor", "bf16", "cuda"]);
    assert!(lines[1..].iter().all(|line| line.split_whitespace().count() > 1), "{long}");
}

#[test]
fn every_command_has_a_manual_page_that_does_not_name_this_machine() {
    let place = Place::new();
    place.run(&["man", "man"], 0);
    let names: Vec<String> = fs::read_dir(place.path("man"))
        .expect("the folder was made")
        .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
        .collect();
    let (help, _) = place.run(&["--help"], 0);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A description may go on in further lines, which are indented more.
    let commands = commands.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let commands: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"run") && commands.contains(&"eval") && !commands.contains(&"man"), "{help}");
    for command in commands.into_iter().filter(|command| *command != "help") {
        assert!(names.contains(&format!("tabpo-{command}.1")), "{command} has no page");
    }
    assert!(names.contains(&"tabpo-pairs-build.1".to_owned()));
    for name in &names {
        let page = fs::read_to_string(place.path("man").join(name)).expect("a page is text");
        assert!(page.contains(".TH ") && page.contains(".SH SYNOPSIS"), "{name}");
        assert!(!page.contains("processor "), "{name} says which machine it was made on");
    }
    let page = fs::read_to_string(place.path("man/tabpo-eval.1")).expect("it was written");
    for option in ["gold", "pred", "profile", "resamples"] {
        assert!(page.contains(&format!("\\-\\-{option}")), "--{option} is not on the page");
    }
}

#[test]
fn completions_know_commands_and_options() {
    let place = Place::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (script, _) = place.run(&["completions", shell], 0);
        assert!(script.contains("serve-config") && script.contains("resamples"), "{shell}");
    }
}

#[test]
fn the_citation_names_this_version() {
    let citation = fs::read_to_string(root().join("CITATION.cff")).expect("it is part of the repository");
    assert!(citation.contains(&format!("\nversion: {}\n", env!("CARGO_PKG_VERSION"))), "{citation}");
}
