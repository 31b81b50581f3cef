//! A review in a browser.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tabpo_review::{Material, ReviewSite, Session, Verdict};
use tabpo_serve::Server;

use crate::chromium::Chromium;

/// A review that is served, in a browser.
pub(crate) struct World<'b> {
    pub(crate) browser: &'b mut Chromium,
    pub(crate) session: Arc<Mutex<Session>>,
    pub(crate) server: Server,
}

impl<'b> World<'b> {
    pub(crate) fn of(browser: &'b mut Chromium, session: Session) -> Self {
        let session = Arc::new(Mutex::new(session));
        let server = Server::start(None, Arc::new(ReviewSite::new(Arc::clone(&session)))).expect("a free port");
        let mut world = Self { browser, session, server };
        world.visit(1100, "light");
        world
    }

    pub(crate) fn new(browser: &'b mut Chromium, folder: &Path, material: Material) -> Self {
        Self::of(browser, Session::open(folder, material).expect("a review"))
    }

    pub(crate) fn visit(&mut self, width: u32, scheme: &str) {
        let (url, home) = (self.server.url(), format!("http://{}/", self.server.address()));
        self.browser.visit(&url, &home, width, scheme, "screen");
        self.until("!document.querySelector('main').hidden");
    }

    /// Waits until an expression holds.
    pub(crate) fn until(&mut self, expression: &str) {
        let start = Instant::now();
        while self.value(expression) != json!(true) {
            assert!(start.elapsed() < Duration::from_secs(30), "{expression}: {}", self.text("body"));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn value(&mut self, expression: &str) -> Value {
        self.browser.evaluate(expression)
    }

    pub(crate) fn text(&mut self, selector: &str) -> String {
        self.browser.text(selector)
    }

    /// Presses a key as a keyboard does.
    pub(crate) fn press(&mut self, key: &str) {
        let (shift, key) = key.strip_prefix("Shift+").map_or((0, key), |key| (8, key));
        let named = key.chars().count() > 1;
        let text = match key {
            "Enter" => "\r",
            _ if named => "",
            key => key,
        };
        let mut down = json!({"type": "keyDown", "key": key, "modifiers": shift, "windowsVirtualKeyCode": code(key)});
        if !text.is_empty() {
            down["text"] = json!(text);
        }
        self.browser.call("Input.dispatchKeyEvent", &down);
        self.browser.call("Input.dispatchKeyEvent", &json!({"type": "keyUp", "key": key, "modifiers": shift}));
    }

    /// Presses keys, and waits after each decision until it is saved.
    pub(crate) fn decide(&mut self, keys: &[&str]) {
        let before = self.decisions();
        for key in keys {
            self.press(key);
        }
        let start = Instant::now();
        while self.decisions() == before {
            assert!(start.elapsed() < Duration::from_secs(30), "{keys:?}: {}", self.text("body"));
            std::thread::sleep(Duration::from_millis(10));
        }
        self.until("document.getElementById('status').textContent !== ''");
        // The page shows what was saved before the next key is read.
        self.value("new Promise((done) => setTimeout(() => requestAnimationFrame(() => done(true)), 60))");
    }

    pub(crate) fn decisions(&self) -> u64 {
        let session = self.session.lock().expect("no panic");
        (0..session.len()).map(|unit| session.revision(unit)).sum()
    }

    pub(crate) fn session<T>(&self, read: impl FnOnce(&Session) -> T) -> T {
        read(&self.session.lock().expect("no panic"))
    }

    /// `text | label | verdict` of every entity of a text.
    pub(crate) fn entities(&self, unit: usize) -> Vec<String> {
        self.session(|session| {
            let (source, _) = session.material().predicted().nth(unit).expect("a text");
            let first = source.span().start;
            let line = |one: &tabpo_review::EntityState| {
                let span = tabpo_corpus::Span::new(first + one.start, first + one.end);
                let subtype = one.subtype.as_ref().map_or(String::new(), |name| format!("/{name}"));
                let verdict = match one.verdict {
                    Verdict::Open => "?",
                    Verdict::Accepted => "yes",
                    Verdict::Rejected => "no",
                };
                format!("{} | {}{subtype} | {verdict}", source.document.span_text(span), one.label)
            };
            session.state(unit).entities.iter().map(line).collect()
        })
    }

    pub(crate) fn complaints(&mut self) -> Vec<String> {
        self.browser.complaints()
    }

    pub(crate) fn picture(&mut self, name: &str) {
        self.browser.picture(name);
    }
}

fn code(key: &str) -> u32 {
    match key {
        "Enter" => 13,
        "Escape" => 27,
        "ArrowLeft" => 37,
        "ArrowUp" => 38,
        "ArrowRight" => 39,
        "ArrowDown" => 40,
        "Delete" => 46,
        "Tab" => 9,
        _ => u32::from(key.to_uppercase().as_bytes()[0]),
    }
}
