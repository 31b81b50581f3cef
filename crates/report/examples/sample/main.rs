//! Writes a page with invented figures, to look at the layout:
//! `cargo run -p tabpo-report --example sample -- page.html`.

mod input;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: sample FILE.html");
        return ExitCode::from(2);
    };
    match tabpo_report::write_report(Path::new(&path), &input::sample()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
