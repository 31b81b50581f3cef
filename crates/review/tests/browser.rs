//! The page of a review in a browser: what keys do, and that nothing in a document is ever run. Reported as ignored where
//! there is no Chromium (Debian: `apt-get install chromium`).
//!
//! With `TABPO_SCREENSHOTS` set to a folder, pictures of the page are written there.

#[path = "../../report/tests/support/chromium.rs"]
mod chromium;
mod support;
#[path = "support/world.rs"]
mod world;

use std::{path::Path, sync::Arc};

use chromium::Chromium;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::json;
use support::{answer, documents, material, notes};
use tabpo_review::{Confidence, Material, ReviewSite, Session, Verdict};
use tabpo_serve::Server;
use world::World;

/// A test in a browser.
type Test = fn(&mut Chromium, &Path);

fn main() {
    let mut arguments = Arguments::from_args();
    // A browser at a time.
    arguments.test_threads = Some(1);
    let browser = chromium::find();
    let tests: [(&str, Test); 10] = [
        ("a_text_is_reviewed_with_keys_alone", review_with_keys),
        ("entities_are_added_and_their_words_changed_with_keys", spans_with_keys),
        ("relations_are_added_and_changed_with_keys", relations_with_keys),
        ("the_mouse_does_the_same", review_with_the_mouse),
        ("what_documents_say_is_not_executed", documents_are_not_executed),
        ("crossing_and_nested_spans_are_drawn", spans_are_drawn),
        ("gold_is_shown_beside_predictions_and_cannot_be_edited", gold_beside),
        ("text_from_right_to_left_is_read_that_way", right_to_left),
        ("the_page_fits_and_every_control_has_a_name", fits_and_names),
        ("a_long_document_and_an_ended_program", long_and_ended),
    ];
    let trials = tests.map(|(name, test)| {
        let browser = browser.clone();
        let ignored = browser.is_none();
        let run = move || -> Result<(), Failed> {
            let folder = tempfile::tempdir()?;
            test(&mut Chromium::start(&browser.ok_or("there is no Chromium")?), folder.path());
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(ignored)
    });
    libtest_mimic::run(&arguments, trials.into()).exit();
}

/// The notes with how sure a model was of them: of the first text least.
fn scored(folder: &Path) -> Session {
    let mut session = Session::open(folder, notes()).expect("a review");
    let of = |entities: &[[f64; 2]], relations: &[[f64; 2]], complete: f64| {
        Some(Confidence { entities: entities.to_vec(), relations: relations.to_vec(), complete: vec![complete, 0.99] })
    };
    session.set_confidence([
        of(&[[0.98, 0.97], [0.55, 0.9]], &[[0.62, 0.95]], 0.71),
        of(&[[0.9, 0.99], [0.6, 0.99]], &[], 0.9),
        of(&[], &[], 0.97),
    ]);
    session
}

fn review_with_keys(browser: &mut Chromium, folder: &Path) {
    let mut world = World::of(browser, scored(folder));
    assert!(world.text("#place").starts_with("a, sentence 0 (1 of 3)"), "{}", world.text("#place"));
    assert!(world.text("#lost").contains("“rash” (Effect), which is not in the text"));
    assert!(world.text("#hint").contains("not sure that nothing is missing (71 %)"));
    // The least certain entity is selected first, and the keyboard is on it.
    assert_eq!(world.text("#entities li[aria-current] .words"), "severe nosebleed");
    assert_eq!(world.value("document.activeElement.getAttribute('aria-current')"), "true");
    assert!(world.text("#entities li[aria-current] .sure").contains("label 55 %"));
    world.picture("review-light");
    world.decide(&["a"]);
    assert_eq!(world.entities(0), ["Aspirin | Drug | ?", "severe nosebleed | Effect | yes"]);
    // Having decided, one is at the next that is open.
    assert_eq!(world.text("#entities li[aria-current] .words"), "Aspirin");
    world.decide(&["x"]);
    assert_eq!(world.entities(0)[0], "Aspirin | Drug | no");
    assert_eq!(world.value("document.querySelectorAll('#text mark').length"), 1);
    world.decide(&["u"]);
    assert_eq!(world.entities(0)[0], "Aspirin | Drug | ?");
    world.decide(&["Enter"]);
    assert!(world.session(|session| session.state(0).confirmed));
    world.until("document.getElementById('place').innerText.startsWith('a, sentence 1')");
    // Give `aspirin` its right label by number, then one by choice with a sub-label.
    assert_eq!(world.text("#entities li[aria-current] .words"), "aspirin");
    world.decide(&["1"]);
    assert_eq!(world.entities(1)[1], "aspirin | Drug | yes");
    world.press("ArrowDown");
    world.press("l");
    world.until("document.getElementById('chooser').open");
    assert_eq!(world.value("document.activeElement.innerText.includes('Drug')"), json!(true));
    world.press("3");
    world.until("document.getElementById('chooser-title').innerText === 'Sub-label of Dose'");
    world.decide(&["1"]);
    assert_eq!(world.entities(1)[0], "100 mg | Dose/Single | yes");
    world.decide(&["Enter"]);
    world.until("document.getElementById('place').innerText.startsWith('b, sentence 0')");
    world.decide(&["Enter"]);
    world.until("document.getElementById('status').innerText === 'Every text is confirmed.'");
    assert_eq!(world.text("#count"), "3 of 3 texts confirmed · 2 corrections · 0 patterns proposed");
    // Help and patterns are dialogs that Escape leaves.
    world.press("?");
    world.until("document.getElementById('keys').open");
    assert!(world.text("#key-list").contains("confirm the text as it is shown"));
    world.picture("review-keys");
    world.press("Escape");
    world.until("!document.getElementById('keys').open");
    world.press("p");
    world.until("document.getElementById('patterns').open");
    assert!(world.text("#patterns-text").contains("None yet"));
    world.press("Escape");
    let found = world.complaints();
    assert!(found.is_empty(), "{found:?}");
}

fn spans_with_keys(browser: &mut Chromium, folder: &Path) {
    let mut world = World::of(browser, scored(folder));
    // `Aspirin caused a severe nosebleed .`: the words of the second entity without `severe`.
    world.press("e");
    world.until("!document.getElementById('mode').hidden");
    world.picture("review-span");
    world.decide(&["]", "Enter"]);
    assert_eq!(world.entities(0)[1], "nosebleed | Effect | yes");
    // Escape leaves everything as it was.
    world.press("s");
    world.press("Shift+ArrowLeft");
    world.press("Escape");
    world.until("document.getElementById('mode').hidden");
    // A new entity before it: from the end of the selected one to the left, and two words long.
    world.press("s");
    world.press("ArrowLeft");
    world.press("ArrowLeft");
    assert_eq!(world.text(".pending"), "severe");
    world.press("Shift+ArrowRight");
    world.decide(&["2"]);
    assert_eq!(world.entities(0)[2], "severe nosebleed | Effect | yes");
    // Twice the same on the same words is refused, and told.
    world.press("s");
    for _ in 0..8 {
        world.press("ArrowLeft");
    }
    world.press("1");
    world.until("!document.getElementById('alert').hidden");
    assert!(world.text("#alert").contains("`Drug` is on these words already"));
    assert_eq!(world.entities(0).len(), 3);
    world.decide(&["u"]);
    assert_eq!(world.entities(0).len(), 2);
}

fn relations_with_keys(browser: &mut Chromium, folder: &Path) {
    let mut world = World::of(browser, scored(folder));
    let relation = |world: &World, index: usize| {
        world.session(|session| {
            let one = &session.state(0).relations[index];
            (one.head, one.label.clone(), one.tail, one.verdict)
        })
    };
    world.press("ArrowDown");
    world.press("ArrowDown");
    assert!(world.text("#relations li[aria-current]").contains("Causes"));
    world.decide(&["x"]);
    assert_eq!(relation(&world, 0).3, Verdict::Rejected);
    // From `Aspirin`, which is selected: Enter takes the entity after it, then the type is chosen; those that fit come first.
    world.press("k");
    world.press("k");
    world.press("j");
    assert_eq!(world.text("#entities li[aria-current] .words"), "Aspirin");
    world.press("r");
    world.until("!document.getElementById('mode').hidden");
    assert_eq!(world.value("document.querySelectorAll('#text mark.end').length"), 2);
    world.press("Enter");
    world.until("document.getElementById('chooser').open");
    assert!(world.text("#choices li").contains("Causes"));
    world.decide(&["2"]);
    assert_eq!(relation(&world, 1), (0, "Same-as".into(), 1, Verdict::Accepted));
    world.decide(&["d"]);
    assert_eq!(relation(&world, 1).0, 1);
    // The other way round it cannot be `Causes`.
    world.press("1");
    world.until("!document.getElementById('alert').hidden");
    assert!(world.text("#alert").contains("`Causes` goes from Drug to Effect"));
    world.decide(&["d"]);
    world.decide(&["1"]);
    assert_eq!(relation(&world, 1), (0, "Causes".into(), 1, Verdict::Accepted));
}

fn review_with_the_mouse(browser: &mut Chromium, folder: &Path) {
    let mut world = World::of(browser, scored(folder));
    let place = |world: &mut World, selector: &str| -> (f64, f64) {
        let found = world.value(&format!(
            "(() => {{ const box = document.querySelector({}).getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()",
            json!(selector)
        ));
        (found[0].as_f64().expect("a place"), found[1].as_f64().expect("a place"))
    };
    let mouse = |world: &mut World, kind: &str, (x, y): (f64, f64)| {
        let buttons = u8::from(kind != "mouseReleased");
        let event = json!({"type": kind, "x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1});
        world.browser.call("Input.dispatchMouseEvent", &event);
    };
    let click = |world: &mut World, selector: &str| {
        let at = place(world, selector);
        mouse(world, "mousePressed", at);
        mouse(world, "mouseReleased", at);
    };
    click(&mut world, "#text mark[data-entity='0'] .t");
    assert_eq!(world.text("#entities li[aria-current] .words"), "Aspirin");
    // A drag over `caused a` and a click on a label.
    let (from, to) = (place(&mut world, "[data-token='1']"), place(&mut world, "[data-token='2']"));
    mouse(&mut world, "mousePressed", from);
    mouse(&mut world, "mouseMoved", to);
    mouse(&mut world, "mouseReleased", to);
    world.until("document.getElementById('chooser').open");
    let before = world.decisions();
    click(&mut world, "#choices li:nth-child(2) button");
    world.until("document.querySelectorAll('#text mark').length === 3");
    assert_eq!(world.decisions(), before + 1);
    assert_eq!(world.entities(0)[2], "caused a | Effect | yes");
    // The buttons of the selected item.
    click(&mut world, "#entities li[aria-current] .buttons button:nth-child(2)");
    world.until("document.querySelectorAll('#text mark').length === 2");
    click(&mut world, "#undo");
    world.until("document.querySelectorAll('#text mark').length === 3");
    click(&mut world, "#confirm");
    world.until("document.getElementById('place').innerText.startsWith('a, sentence 1')");
    let found = world.complaints();
    assert!(found.is_empty(), "{found:?}");
}

/// Scripts, event handlers and markup in everything that comes from outside.
fn documents_are_not_executed(browser: &mut Chromium, folder: &Path) {
    let hostile = "<script>window.ran=1</script><img src=x onerror=\"window.ran=1\"> <svg/onload=window.ran=1> \
                   \"'><b onmouseover=\"window.ran=1\">javascript:window.ran=1</b> ${window.ran=1} {{window.ran=1}} \u{2028}";
    let all = documents(&[(hostile, hostile), ("b", hostile)]);
    let count: usize = all.iter().map(|document| document.sentences.len()).sum();
    let predicted =
        answer(&[("<script>", "Drug"), ("<img src=x onerror=\"window.ran=1\">", "Effect"), ("script", "Drug")], &[]);
    let mut world = World::new(browser, folder, material(all, &vec![predicted; count]));
    let text = world.text("#text");
    assert!(text.contains("window.ran=1</script><img src=x onerror=\"window.ran=1\">"), "{text}");
    for key in ["j", "j", "k", "s", "Shift+ArrowRight", "Shift+ArrowRight", "1", "j", "a", "x", "Enter", "p"] {
        world.press(key);
        world.value("new Promise((done) => setTimeout(() => done(true), 80))");
    }
    world.value(
        "document.querySelectorAll('#text *, .items *, #lost *').forEach((one) => { \
         for (const kind of ['pointerover', 'mouseover', 'focus', 'error', 'load']) one.dispatchEvent(new Event(kind, {bubbles: true})); })",
    );
    assert_eq!(world.value("document.querySelectorAll('img, svg, iframe, object, b, body script').length"), 0);
    assert_eq!(world.value("typeof window.ran"), "undefined");
    let found = world.complaints();
    assert!(found.is_empty(), "{found:?}");
    // And should a script ever want to make markup or run what it is given, the browser refuses.
    let refused = world.value(
        "(() => { let refused = 0; \
         for (const attempt of [() => { document.getElementById('text').innerHTML = '<img src=x onerror=\"window.ran=1\">'; }, \
                                () => { document.body.insertAdjacentHTML('beforeend', '<b>x</b>'); }, \
                                () => { const made = document.createElement('script'); made.text = 'window.ran = 1'; document.body.append(made); }]) \
           { try { attempt(); } catch { refused += 1; } } \
         const shown = document.createElement('div'); document.body.append(shown); \
         try { shown.setAttribute('onclick', 'window.ran = 1'); } catch { } shown.click(); \
         return refused; })()",
    );
    assert_eq!(refused, 3);
    assert_eq!(world.value("typeof window.ran"), "undefined");
}

fn spans_are_drawn(browser: &mut Chromium, folder: &Path) {
    let all = documents(&[("a", "(one two three) four  five")]);
    let predicted = answer(
        &[
            ("one two", "Drug"),
            ("two three", "Effect"),
            ("one two three", "Drug"),
            ("four five", "Effect"),
            ("five", "Drug"),
        ],
        &[],
    );
    let mut world = World::new(browser, folder, material(all, &[predicted]));
    // All words in their order, with what stands between them, and each piece of each entity under its number.
    let words = world.value(
        "(() => { const copy = document.getElementById('text').cloneNode(true); \
         copy.querySelectorAll('.label').forEach((one) => one.remove()); return copy.textContent; })()",
    );
    assert_eq!(words, "(one two three) four  five");
    let covered = world.value(
        "[0, 1, 2, 3, 4].map((id) => [...document.querySelectorAll(`mark[data-entity='${id}']`)] \
         .flatMap((mark) => [...mark.querySelectorAll('.t')].map((one) => one.textContent)).join(' '))",
    );
    let names: Vec<String> =
        world.entities(0).iter().map(|line| line.split(" | ").next().unwrap_or("").replace("  ", " ")).collect();
    assert_eq!(covered, json!(names));
    assert_eq!(world.value("document.querySelectorAll('#text .label').length"), 5);
}

/// What gold says and the review does not is marked, whatever is decided; where documents have no gold there is no switch.
fn gold_beside(browser: &mut Chromium, folder: &Path) {
    let mut world = World::of(browser, scored(&folder.join("without")));
    assert_eq!(world.value("document.getElementById('gold-choice').hidden"), true);
    world.press("g");
    assert_eq!(world.value("document.getElementById('gold').hidden"), true);
    let mut world = World::new(world.browser, &folder.join("with"), support::gold());
    // Nobody is shown what is right before they ask for it.
    assert_eq!(world.value("document.getElementById('gold').hidden"), true);
    world.press("g");
    world.until("!document.getElementById('gold').hidden");
    let marks = "[...document.querySelectorAll('#gold mark')].map((one) => one.textContent)";
    assert_eq!(world.value(marks), json!(["AspirinDrug", "nosebleedEffect ≠"]));
    assert_eq!(
        world.value("[...document.querySelectorAll('#gold .relations li')].map((one) => one.textContent)"),
        json!(["Aspirin ─ Causes → nosebleed ≠"])
    );
    assert_eq!(world.text("#gold .note"), "2 of gold’s 3 items are not above (≠); 2 of the 3 above are not in gold.");
    world.picture("review-gold");
    // It is no place to edit.
    let before = world.decisions();
    world.value("document.querySelectorAll('#gold *').forEach((one) => one.click())");
    assert_eq!(world.value("document.getElementById('mode').hidden"), true);
    assert_eq!(world.decisions(), before);
    // With the words corrected, both say the same.
    world.press("ArrowDown");
    world.press("e");
    world.until("!document.getElementById('mode').hidden");
    world.decide(&["]", "Enter"]);
    assert_eq!(world.text("#gold .note"), "The same as above.");
    assert_eq!(world.value("document.querySelectorAll('#gold .differs').length"), 0);
    for (width, scheme) in [(1100, "dark"), (400, "light")] {
        world.visit(width, scheme);
        world.press("g");
        world.until("!document.getElementById('gold').hidden");
        world.picture(&format!("review-gold-{width}-{scheme}"));
        assert_eq!(world.value(BEYOND), 0, "at {width}");
        assert_eq!(world.value(CONTRAST), json!([]), "contrast of text, in {scheme}");
    }
    let found = world.complaints();
    assert!(found.is_empty(), "{found:?}");
}

fn right_to_left(browser: &mut Chromium, folder: &Path) {
    let all = documents(&[("a", "الأسبرين يسبب النزيف عند بعض المرضى")]);
    let mut world = World::new(browser, folder, material(all, &[answer(&[("النزيف", "Effect")], &[])]));
    assert_eq!(world.value("getComputedStyle(document.getElementById('text')).direction"), "rtl");
    world.picture("review-rtl");
    // In such a text, the arrow to the left goes forward.
    world.press("s");
    assert_eq!(world.text(".pending"), "عند");
    world.press("ArrowLeft");
    assert_eq!(world.text(".pending"), "بعض");
    world.press("ArrowRight");
    world.press("ArrowRight");
    world.press("ArrowRight");
    world.press("ArrowRight");
    world.decide(&["1"]);
    assert_eq!(world.entities(0)[1], "الأسبرين | Drug | yes");
}

fn fits_and_names(browser: &mut Chromium, folder: &Path) {
    let mut world = World::of(browser, scored(folder));
    for (width, scheme) in [(1100, "dark"), (400, "light"), (400, "dark"), (320, "light")] {
        world.visit(width, scheme);
        world.picture(&format!("review-{width}-{scheme}"));
        let beyond = world.value(BEYOND);
        assert_eq!(beyond, 0, "at {width}");
    }
    world.press("s");
    assert_eq!(world.value(BEYOND), 0, "while an entity is added");
    world.picture("review-320-span");
    world.press("Escape");
    // Every control has a name, for those who cannot see it.
    let unnamed = world.value(
        "[...document.querySelectorAll('button, select, input')].filter((one) => \
         !one.innerText?.trim() && !one.getAttribute('aria-label') && !one.closest('label')).length",
    );
    assert_eq!(unnamed, 0);
    // Tab goes round all controls, and where the keyboard is can be seen.
    world.press("Tab");
    let outline = world.value("getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(outline, "solid");
    let low = world.value(CONTRAST);
    assert_eq!(low, json!([]), "contrast of text, in light");
    world.visit(1100, "dark");
    let low = world.value(CONTRAST);
    assert_eq!(low, json!([]), "contrast of text, in dark");
}

/// By how many pixels the page is wider than its window.
const BEYOND: &str = "document.documentElement.scrollWidth - document.documentElement.clientWidth";

/// Texts whose contrast with their ground is below 4.5 (WCAG 2.2, success criterion 1.4.3).
const CONTRAST: &str = r#"(() => {
  const canvas = document.createElement("canvas"); canvas.width = canvas.height = 1;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const mixed = (colours) => { pen.clearRect(0, 0, 1, 1); colours.forEach((one) => { pen.fillStyle = one; pen.fillRect(0, 0, 1, 1); }); return [...pen.getImageData(0, 0, 1, 1).data]; };
  const linear = (part) => { const one = part / 255; return one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4; };
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const low = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const box = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !box.checkVisibility() || box.closest("button:disabled, option, .skip")) continue;
    const grounds = [];
    for (let one = box; one; one = one.parentElement) grounds.unshift(getComputedStyle(one).backgroundColor);
    const ground = mixed(grounds);
    const ink = mixed([...grounds, getComputedStyle(box).color]);
    const [a, b] = [luminance(ink), luminance(ground)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(`${walk.currentNode.data.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return low;
})()"#;

fn long_and_ended(browser: &mut Chromium, folder: &Path) {
    let text = "word ".repeat(6000);
    let line = json!({"doc_key": "long", "text": text.trim()}).to_string();
    let all = tabpo_corpus::read_str(&line, tabpo_corpus::Format::Jsonl, &support::ontology()).expect("a document");
    let material = Material::new("test", support::ontology(), tabpo_corpus::Level::Document, all.documents, None)
        .expect("material");
    let mut world = World::new(browser, folder, material);
    assert_eq!(world.value("document.querySelectorAll('#text .t').length"), 6000);
    assert!(world.text("#hint").contains("The model found nothing here."));
    world.press("s");
    world.press("Shift+ArrowRight");
    world.decide(&["1"]);
    assert_eq!(world.entities(0), ["word word | Drug | yes"]);
    // When the program has ended, the page says that nothing is lost.
    let World { browser, session, server } = world;
    server.stop();
    let mut world = World {
        browser,
        server: Server::start(None, Arc::new(ReviewSite::new(Arc::clone(&session)))).expect("a port"),
        session,
    };
    world.press("x");
    world.until("!document.getElementById('alert').hidden");
    assert!(world.text("#alert").contains("Everything that was saved is kept"));
}
