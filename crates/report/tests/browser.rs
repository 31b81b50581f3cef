//! The page in a browser: what its script does, and how it fits on a phone and on paper. Reported as ignored where there
//! is no Chromium (Debian: `apt-get install chromium`).

#[path = "../examples/sample/input.rs"]
mod sample;
#[path = "support/chromium.rs"]
mod support;

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use support::Chromium;
use tabpo_report::{ReportInput, html};

/// A test in a browser.
type Test = fn(&mut Chromium, &Path);

fn main() {
    let mut arguments = Arguments::from_args();
    // A browser at a time.
    arguments.test_threads = Some(1);
    let browser = support::find();
    let tests: [(&str, Test); 9] = [
        ("the_page_complains_of_nothing", complains_of_nothing),
        ("what_documents_say_is_not_executed", documents_are_not_executed),
        ("nothing_is_wider_than_a_phone", fits_on_a_phone),
        ("paper_holds_all_columns", fits_on_paper),
        ("filters_find_what_they_say", filters_find),
        ("counts_lead_to_their_texts", counts_lead_to_texts),
        ("spans_and_relations_are_drawn", spans_are_drawn),
        ("tables_are_sorted_and_copied_as_shown", tables_are_sorted_and_copied),
        ("the_grid_is_read_with_the_keyboard", grid_by_keyboard),
    ];
    let trials = tests.map(|(name, test)| {
        let browser = browser.clone();
        let ignored = browser.is_none();
        Trial::test(name, move || with_browser(&browser.ok_or("there is no Chromium")?, test))
            .with_ignored_flag(ignored)
    });
    libtest_mimic::run(&arguments, trials.into()).exit();
}

fn with_browser(program: &Path, test: Test) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    test(&mut Chromium::start(program), folder.path());
    Ok(())
}

fn written(folder: &Path, input: &ReportInput) -> PathBuf {
    let file = folder.join("report.html");
    std::fs::write(&file, html::page(input)).expect("writable");
    file
}

fn opened(browser: &mut Chromium, folder: &Path) {
    let file = written(folder, &sample::sample());
    browser.open(&file, 1280, "light", "screen");
}

fn complains_of_nothing(browser: &mut Chromium, folder: &Path) {
    let file = written(folder, &sample::sample());
    for scheme in ["light", "dark"] {
        browser.open(&file, 1280, scheme, "screen");
        let found = browser.complaints();
        assert!(found.is_empty(), "{found:?}");
    }
    assert_eq!(browser.evaluate("document.querySelectorAll('article.case').length"), 10);
}

/// Markup, scripts and escapes in every text that comes from outside: they are shown, and nothing happens.
fn documents_are_not_executed(browser: &mut Chromium, folder: &Path) {
    fn fill(value: &mut Value) {
        match value {
            Value::String(text)
                if !["percent", "number", "checkpoint", "control", "system", "remote"].contains(&text.as_str()) =>
            {
                text.push_str("\"'><img src=x onerror=\"window.ran=1\"><script>window.ran=1</script></script><!--\u{2028}${window.ran=1}");
            }
            Value::Array(items) => items.iter_mut().for_each(fill),
            Value::Object(fields) => fields.values_mut().for_each(fill),
            _ => {}
        }
    }
    let mut input = serde_json::to_value(sample::sample()).expect("plain data");
    fill(&mut input);
    let file = written(folder, &serde_json::from_value(input).expect("the same form"));
    browser.open(&file, 1280, "light", "screen");
    browser.evaluate(
        "(() => { const every = document.querySelector('[name=every]'); every.click(); \
         document.querySelectorAll('.relations li').forEach((line) => line.dispatchEvent(new PointerEvent('pointerover', {bubbles: true}))); \
         document.querySelectorAll('th button').forEach((head) => head.click()); \
         document.querySelectorAll('[data-format]').forEach((button) => button.click()); \
         document.querySelector('#pairs-pager button').click(); })()",
    );
    let text = browser.evaluate("document.querySelector('article.case .text').textContent");
    assert!(text.as_str().is_some_and(|text| text.contains("<script>window.ran=1</script>")), "{text}");
    assert_eq!(browser.evaluate("document.querySelectorAll('img, iframe, object').length"), 0);
    assert_eq!(browser.evaluate("typeof window.ran"), "undefined");
    let found = browser.complaints();
    assert!(found.is_empty(), "{found:?}");
    // And should markup ever slip in, the page's policy keeps the browser from running it.
    browser.evaluate(
        "(() => { const slipped = document.createElement('script'); slipped.textContent = 'window.ran = 1'; document.body.append(slipped); \
         const shown = document.createElement('div'); document.body.append(shown); shown.setAttribute('onclick', 'window.ran = 1'); shown.click(); })()",
    );
    assert_eq!(browser.evaluate("typeof window.ran"), "undefined");
}

fn fits_on_a_phone(browser: &mut Chromium, folder: &Path) {
    let mut input = sample::sample();
    // A long word and a long name have to be broken.
    input.texts.as_mut().expect("there are texts").cases[0].text.push_str(&"x".repeat(300));
    input.title = "a-very-long-name-".repeat(12);
    let file = written(folder, &input);
    for width in [400, 320] {
        browser.open(&file, width, "light", "screen");
        browser.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })");
        let wide = browser.evaluate("document.documentElement.scrollWidth");
        assert!(wide.as_u64().is_some_and(|wide| wide <= u64::from(width)), "{wide} of {width}");
    }
}

/// A4 in landscape with margins of 10 mm is 277 mm wide: 1047 CSS pixels.
fn fits_on_paper(browser: &mut Chromium, folder: &Path) {
    const PAPER: u32 = 1047;
    let mut input = sample::sample();
    let comparison = input.comparison.as_mut().expect("there is one");
    // As many columns as a comparison has.
    let wide = |list: &mut Vec<_>| {
        let more: Vec<_> = list.iter().cycle().take(13).cloned().collect();
        *list = more;
    };
    for system in &mut comparison.systems {
        let more: Vec<_> = system.scores.iter().cycle().take(13).copied().collect();
        system.scores = more;
    }
    wide(&mut comparison.metrics);
    let contrasts = comparison.contrasts.clone();
    for (column, metric) in comparison.metrics.iter_mut().enumerate() {
        let before = std::mem::replace(&mut metric.name, format!("Relaxed span F1 {column}"));
        let source = if before == "Rel+" { "Rel+" } else { "NER" };
        let own = contrasts.iter().filter(|contrast| contrast.metric == source);
        comparison
            .contrasts
            .extend(own.map(|one| tabpo_report::Contrast { metric: metric.name.clone(), ..one.clone() }));
    }
    let file = written(folder, &input);
    browser.open(&file, PAPER, "dark", "print");
    let outside = browser.evaluate(&format!(
        "[...document.querySelectorAll('.scores th, .scores td, .grid th, .grid td, .labels td')].filter((cell) => \
         cell.getBoundingClientRect().right > {PAPER} || cell.getBoundingClientRect().width === 0).length"
    ));
    assert_eq!(outside, 0, "every column is on the paper");
    assert_eq!(browser.evaluate("document.querySelectorAll('.grid thead th').length"), 14);
    // Paper is white, whatever the screen prefers, and what can only be pointed at is written out.
    assert_eq!(browser.evaluate("getComputedStyle(document.body).backgroundColor"), "rgb(255, 255, 255)");
    assert_eq!(browser.evaluate("getComputedStyle(document.querySelector('.grid .paper')).display"), "block");
    browser.call("Emulation.setEmulatedMedia", &json!({"media": ""}));
    let pdf = browser.call("Page.printToPDF", &json!({"preferCSSPageSize": true, "printBackground": true}));
    assert!(pdf["data"].as_str().is_some_and(|data| data.len() > 20_000));
}

/// Sets filters by name and returns what the page says that it found.
fn filtered(browser: &mut Chromium, fields: &Value) -> String {
    let set = format!(
        "(() => {{ const form = document.querySelector('#texts form'); form.reset(); \
         return new Promise((done) => setTimeout(() => {{ \
         for (const [name, value] of Object.entries({fields})) {{ \
           const field = form.elements[name]; \
           const option = [...(field.options ?? [])].find((option) => option.text === value); \
           field.value = option ? option.value : value; }} \
         form.dispatchEvent(new Event('input')); \
         done(document.querySelector('#texts .found').textContent); }}, 20)); }})()"
    );
    browser.evaluate(&set).as_str().unwrap_or_default().to_owned()
}

fn filters_find(browser: &mut Chromium, folder: &Path) {
    opened(browser, folder);
    // The sample: of forty texts, `DPO` has every second one wrong, `TAB-PO` the first, the hosted model every fifth.
    for (fields, expected) in [
        (json!({}), "40 of 40 texts"),
        (json!({"a": "TAB-PO", "b": "DPO", "show": "A right, B wrong"}), "20 of 40 texts"),
        (json!({"a": "TAB-PO", "b": "DPO", "show": "A wrong, B right"}), "1 of 40 texts"),
        (json!({"a": "TAB-PO", "b": "DPO", "show": "A and B differ"}), "21 of 40 texts"),
        (json!({"a": "DPO", "b": "hosted model, 5-shot", "show": "both wrong"}), "4 of 40 texts"),
        (json!({"a": "DPO", "kind": "label-confusion"}), "20 errors of DPO in 20 of 40 texts"),
        (json!({"a": "TAB-PO", "kind": "spurious-entity"}), "1 error of TAB-PO in 1 of 40 texts"),
        (json!({"a": "DPO", "gold": "Method"}), "20 errors of DPO in 20 of 40 texts"),
        (json!({"a": "DPO", "gold": "Task"}), "0 errors of DPO in 0 of 40 texts"),
        (json!({"a": "DPO", "predicted": "OtherScientificTerm"}), "20 errors of DPO in 20 of 40 texts"),
        (json!({"a": "DPO", "gold": "Method", "kind": "correct"}), "20 items of DPO in 20 of 40 texts"),
        (
            json!({"a": "hosted model, 5-shot", "gold": "Used-for", "kind": "direction"}),
            "8 errors of hosted model, 5-shot in 8 of 40 texts",
        ),
        (json!({"find": "synthetic-39"}), "1 of 40 texts"),
        (json!({"find": "no such words"}), "0 of 40 texts"),
    ] {
        assert_eq!(filtered(browser, &fields), expected, "{fields}");
    }
    assert_eq!(browser.evaluate("document.querySelectorAll('article.case').length"), 0);
    filtered(browser, &json!({}));
    let turned = "(() => { document.querySelector('#texts-pager [data-step=\"1\"]').click(); \
                  return document.querySelector('article.case .place').textContent; })()";
    assert_eq!(browser.evaluate(turned), "synthetic-10, sentence 0");
}

fn counts_lead_to_texts(browser: &mut Chromium, folder: &Path) {
    opened(browser, folder);
    // Kinds are relational or not; the links of the sample are between labels that its texts confuse or get right.
    let follow = |kind: &str, gold: &str, predicted: &str| {
        format!(
            "(() => {{ document.querySelector('a.cases[data-a=\"0\"][data-kind=\"{kind}\"][data-gold=\"{gold}\"][data-predicted=\"{predicted}\"]').click(); \
             return [location.hash, document.querySelector('#texts .found').textContent]; }})()"
        )
    };
    assert_eq!(browser.evaluate(&follow("0", "e1", "e5")), json!(["#texts", "20 errors of SFT in 20 of 40 texts"]));
    assert_eq!(
        browser.evaluate(&follow("correct", "e1", "e1")),
        json!(["#texts", "20 items of SFT in 20 of 40 texts"])
    );
    assert_eq!(browser.evaluate(&follow("2", "", "")), json!(["#texts", "0 errors of SFT in 0 of 40 texts"]));
}

fn spans_are_drawn(browser: &mut Chromium, folder: &Path) {
    opened(browser, folder);
    filtered(browser, &json!({"a": "TAB-PO", "b": "DPO", "find": "synthetic-0,"}));
    let row = |index: usize, what: &str| {
        format!(
            "[...document.querySelectorAll('article.case .answer')[{index}].querySelectorAll('{what}')].map((one) => one.textContent)"
        )
    };
    // The third entity begins inside the second and goes on after it: it is drawn in two parts, its label once.
    assert_eq!(
        browser.evaluate(&row(0, "mark")),
        json!(["optical flowTask", "variational methodMethod", "method", " on image sequencesMaterial"])
    );
    assert_eq!(browser.evaluate(&row(0, ".relations li")), json!(["variational method ─ Used-for → optical flow"]));
    assert_eq!(browser.evaluate(&row(1, ".name")), json!(["TAB-PO"]));
    assert_eq!(
        browser.evaluate(&row(1, ".errors li")),
        json!([
            "✗ label-confusion: gold “variational method” (Method), answer “variational method” (OtherScientificTerm)",
            "✗ spurious-entity: answer “phase correlation” (Method, not in the text)"
        ])
    );
    assert_eq!(browser.evaluate(&row(1, "mark.wrong")), json!(["variational methodOtherScientificTerm ✗"]));
    assert_eq!(browser.evaluate(&row(2, ".good")), json!(["✓ as gold"]));
    let sentence = "document.querySelector('article.case .text').textContent.replace(/Task|Method|Material/g, '')";
    assert_eq!(browser.evaluate(sentence), "We estimate optical flow with a variational method on image sequences.");
}

fn tables_are_sorted_and_copied(browser: &mut Chromium, folder: &Path) {
    opened(browser, folder);
    let first = "document.querySelector('.scores tbody th').textContent";
    assert_eq!(browser.evaluate(first), "SFT checkpoint");
    let sort = "document.querySelectorAll('.scores thead .sort')[1].click()";
    browser.evaluate(sort);
    assert_eq!(browser.evaluate(first), "TAB-PO");
    assert_eq!(browser.evaluate("document.querySelectorAll('.scores th[aria-sort=descending]').length"), 1);
    let copied = browser.evaluate(
        "(() => { let text; navigator.clipboard.writeText = async (copied) => { text = copied; }; \
         document.querySelector('[data-format=Markdown]').click(); \
         return new Promise((done) => setTimeout(() => done(text), 20)); })()",
    );
    let rows: Vec<&str> = copied.as_str().expect("a text").lines().skip(2).collect();
    assert!(rows.len() == 7 && rows[0].starts_with("| TAB-PO | 88.1 ") && rows[6].starts_with("| hosted"), "{rows:?}");
    browser.evaluate(sort);
    assert_eq!(browser.evaluate(first), "hosted model, 5-shot hosted");
    // Where the clipboard is out of reach, the text is there to be copied by hand.
    let shown = browser.evaluate(
        "(() => { navigator.clipboard.writeText = async () => { throw new Error('no'); }; \
         document.querySelector('[data-format=LaTeX]').click(); \
         return new Promise((done) => setTimeout(() => done(document.querySelector('.tools textarea').value), 20)); })()",
    );
    assert!(shown.as_str().is_some_and(|text| text.starts_with("\\begin{tabular}")), "{shown}");
}

fn grid_by_keyboard(browser: &mut Chromium, folder: &Path) {
    opened(browser, folder);
    assert_eq!(browser.evaluate("document.querySelectorAll('.grid [tabindex=\"0\"]').length"), 1);
    browser.evaluate("document.querySelector('.grid [tabindex=\"0\"]').focus()");
    let width = "document.activeElement.querySelector('.tip').getBoundingClientRect().width";
    assert!(browser.evaluate(width).as_f64().is_some_and(|width| width > 100.0), "its explanation is seen");
    for (key, expected) in [
        ("ArrowRight", "DPO minus continued SFT, equal steps, Rel+"),
        ("ArrowDown", "TAB-PO minus continued SFT, equal steps, Rel+"),
        ("ArrowLeft", "TAB-PO minus continued SFT, equal steps, NER"),
        ("ArrowDown", "DPO minus continued SFT, equal FLOPs, NER"),
    ] {
        browser.call("Input.dispatchKeyEvent", &json!({"type": "keyDown", "key": key}));
        let tip = browser.evaluate("document.activeElement.querySelector('.tip').textContent");
        assert!(tip.as_str().is_some_and(|tip| tip.starts_with(expected)), "{key}: {tip}");
    }
    // Better and worse differ by sign and word, and by grounds that are blue and orange.
    let ground = |class: &str| format!("getComputedStyle(document.querySelector('.grid td.{class}')).backgroundColor");
    assert_eq!(browser.evaluate(&ground("better")), "rgb(217, 234, 247)");
    assert_eq!(browser.evaluate(&ground("worse")), "rgb(251, 227, 210)");
    assert_eq!(
        browser.evaluate("document.querySelector('.grid td.better [aria-hidden]').textContent.slice(0, 3)"),
        "▲ +"
    );
}
