//! A headless Chromium, spoken to over a pipe in the DevTools protocol: JSON messages that end with a zero byte.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// The browser that tests use: `TABPO_CHROMIUM`, or the first known name in the search path.
pub(crate) fn find() -> Option<PathBuf> {
    if let Some(path) = env::var_os("TABPO_CHROMIUM") {
        return Some(path.into());
    }
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file())
}

/// A browser with one page.
pub(crate) struct Chromium {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: Option<String>,
    last: u64,
    events: Vec<Value>,
    /// How the addresses begin that the page may ask for.
    home: String,
    _profile: tempfile::TempDir,
}

impl Chromium {
    /// Starts the browser.
    pub(crate) fn start(program: &Path) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        // The protocol uses the descriptors 3 and 4.
        let mut process = Command::new("sh")
            .arg("-c")
            .arg(
                "exec \"$0\" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                 --remote-debugging-pipe --user-data-dir=\"$1\" 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null",
            )
            .arg(program)
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the browser starts");
        let input = process.stdin.take().expect("it is piped");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        let (session, last, events, home) = (None, 0, Vec::new(), String::new());
        let mut new = Self { process, input, output, session, last, events, home, _profile: profile };
        let target = new.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attached = new.call("Target.attachToTarget", &json!({"targetId": target["targetId"], "flatten": true}));
        new.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            new.call(&format!("{domain}.enable"), &json!({}));
        }
        new
    }

    /// Calls a method of the protocol and returns its result.
    pub(crate) fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.input.write_all(format!("{message}\0").as_bytes()).expect("the browser listens");
        loop {
            let answer = self.read();
            if answer["id"] == json!(self.last) {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.output.read_until(0, &mut bytes).expect("the browser answers");
        assert_eq!(bytes.pop(), Some(0), "the browser ended");
        serde_json::from_slice(&bytes).expect("it speaks JSON")
    }

    /// Opens a file in a window of this width, in CSS pixels.
    pub(crate) fn open(&mut self, file: &Path, width: u32, scheme: &str, media: &str) {
        self.visit(&format!("file://{}", file.display()), "file://", width, scheme, media);
    }

    /// Opens an address in a window of this width. What the page asks for outside `home` is a complaint.
    pub(crate) fn visit(&mut self, url: &str, home: &str, width: u32, scheme: &str, media: &str) {
        home.clone_into(&mut self.home);
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", &json!({"media": media, "features": features}));
        self.events.clear();
        self.call("Page.navigate", &json!({"url": url}));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.read();
            self.events.push(event);
        }
    }

    /// The value of an expression in the page.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let wanted =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true});
        let result = self.call("Runtime.evaluate", &wanted);
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// The text of the first element that a selector finds.
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let found = self.evaluate(&format!("document.querySelector({}).innerText", Value::from(selector)));
        found.as_str().unwrap_or_default().to_owned()
    }

    /// Writes a picture of the whole page, in base64, if `TABPO_SCREENSHOTS` names a folder for pictures.
    pub(crate) fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("TABPO_SCREENSHOTS") else { return };
        // A scroll bar would take its width off the picture.
        self.call("Emulation.setScrollbarsHidden", &json!({"hidden": true}));
        let png = self.call("Page.captureScreenshot", &json!({"captureBeyondViewport": true}));
        self.call("Emulation.setScrollbarsHidden", &json!({"hidden": false}));
        let data = png["data"].as_str().expect("a picture");
        std::fs::write(Path::new(&folder).join(format!("{name}.png.base64")), data).expect("writable");
    }

    /// What the page wrote to the console, threw, was refused or asked for from elsewhere since it was opened.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        // What happened before this call is reported before its answer.
        self.evaluate("0");
        let bad =
            ["Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Page.javascriptDialogOpening"];
        let foreign = |event: &&Value| {
            event["method"] == "Network.requestWillBeSent"
                && !event["params"]["request"]["url"].as_str().is_some_and(|url| url.starts_with(&self.home))
        };
        let bad = |event: &&Value| bad.iter().any(|method| event["method"] == *method) || foreign(event);
        self.events.iter().filter(bad).map(ToString::to_string).collect()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The browser ends its own processes.
        let session = self.session.take();
        let message = json!({"id": self.last + 1, "method": "Browser.close"});
        let asked = self.input.write_all(format!("{message}\0").as_bytes());
        if asked.is_err() || session.is_none() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}
