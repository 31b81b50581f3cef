//! Writes a page with invented figures, to look at the layout:
//! `cargo run -p tabpo-report --example sample -- page.html`.

mod input;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: sample FILE.html")?;
    Ok(std::fs::write(path, tabpo_report::html::page(&input::sample()))?)
}
