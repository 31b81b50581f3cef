//! The page of `tabpo run --open` in a browser. Reported as ignored where there is no Chromium (Debian:
//! `apt-get install chromium`).
//!
//! With `TABPO_SCREENSHOTS` set to a folder, pictures of the page are written there.

#[path = "../../report/tests/support/chromium.rs"]
mod chromium;
#[path = "support/http.rs"]
mod http;
mod support;

use std::{fs, process::Stdio};

use chromium::Chromium;
use http::{command, interrupt, until};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::json;
use support::{Place, tiny_run};

fn main() {
    let arguments = Arguments::from_args();
    let browser = chromium::find();
    let ignored = browser.is_none();
    let trial = Trial::test("the_page_of_a_run_fills_in_the_browser", move || {
        fills(&mut Chromium::start(&browser.ok_or("there is no Chromium")?));
        Ok::<(), Failed>(())
    });
    libtest_mimic::run(&arguments, vec![trial.with_ignored_flag(ignored)]).exit();
}

fn fills(browser: &mut Chromium) {
    let place = Place::new();
    place.write("tiny.toml", &tiny_run(400, 2));
    let mut child = command(&place, &["run", "tiny.toml", "--open"])
        .env("BROWSER", "true")
        .stdout(Stdio::null())
        .stderr(fs::File::create(place.path("said")).expect("writable"))
        .spawn()
        .expect("it starts");
    let said = || fs::read_to_string(place.path("said")).expect("messages");
    let url = until("the address", || {
        let text = said();
        Some(text.lines().find_map(|line| line.strip_prefix("the page is at "))?.trim().to_owned())
    });
    let home = url.split('/').take(3).collect::<Vec<_>>().join("/") + "/";
    browser.visit(&url, &home, 1100, "light", "screen");
    let holds = |browser: &mut Chromium, expression: &str| {
        until(expression, || (browser.evaluate(expression) == json!(true)).then_some(()));
    };
    // The page of the unfinished run is in the frame.
    holds(browser, "document.querySelector('iframe')?.contentDocument?.querySelector('h1')?.innerText === 'tiny'");
    assert!(browser.text("#state").starts_with("tiny: "));
    browser.picture("live-light");
    // Where the reader is in it stays when it is loaded again with what is new, at last with the report.
    browser.evaluate(
        "(() => { const { contentDocument: page, contentWindow: view } = document.querySelector('iframe'); \
         page.querySelectorAll('details').forEach((one) => { one.open = true; }); view.scrollTo(0, 40); })()",
    );
    assert_eq!(browser.evaluate("document.querySelector('iframe').contentWindow.scrollY"), 40);
    holds(browser, "document.querySelector('iframe')?.contentDocument?.getElementById('comparison') != null");
    holds(browser, "document.getElementById('state').innerText === 'tiny: done'");
    assert_eq!(browser.evaluate("document.querySelectorAll('iframe').length"), 1);
    assert_eq!(browser.evaluate("document.querySelector('iframe').contentWindow.scrollY"), 40);
    let stages = browser.evaluate("document.querySelectorAll('#stages li').length");
    assert!(stages.as_u64().is_some_and(|count| count > 8), "{stages}");
    browser.picture("live-done");
    let found = browser.complaints();
    assert!(found.is_empty(), "{found:?}");
    for (width, scheme) in [(400, "dark"), (320, "light")] {
        browser.visit(&url, &home, width, scheme, "screen");
        holds(browser, "document.querySelector('iframe')?.contentDocument?.querySelector('h1') != null");
        let wide = browser.evaluate("document.documentElement.scrollWidth");
        assert!(wide.as_u64().is_some_and(|wide| wide <= u64::from(width)), "{wide} of {width}");
        browser.picture(&format!("live-{width}-{scheme}"));
    }
    until("the last word", || said().contains("until Ctrl-C").then_some(()));
    assert_eq!(interrupt(&mut child).code(), Some(0), "{}", said());
    holds(browser, "document.getElementById('state').innerText === 'The program has ended'");
    // The file alone is all that is needed afterwards.
    browser.open(&place.path("runs/tiny/report.html"), 1100, "light", "screen");
    assert_eq!(browser.evaluate("document.querySelector('h1').innerText"), "tiny");
}
