//! A page that the program serves, asked as a browser would.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::Place;

/// The program while it serves a page.
pub(crate) struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) url: String,
}

impl Serving {
    /// Starts the program, whose first line on stdout is the address.
    pub(crate) fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut child =
            command(place, arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut url = String::new();
        stdout.read_line(&mut url).expect("it prints its address");
        assert!(url.starts_with("http://127.0.0.1:"), "{url:?}");
        Self { child, stdout, url: url.trim().to_owned() }
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        ask(&self.url, "GET", path, "").1
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        ask(&self.url, "POST", path, &body.to_string())
    }

    /// Kills it, so that it can do nothing more.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it has ended");
    }

    /// Ends it as Ctrl-C does, and returns its exit code and what else it printed.
    pub(crate) fn interrupt(mut self) -> (Option<i32>, String) {
        let status = interrupt(&mut self.child);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("it prints text");
        (status.code(), rest)
    }
}

/// The program in the place's folder.
pub(crate) fn command(place: &Place, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tabpo"));
    command.args(arguments).current_dir(place.path(""));
    command
}

/// Ends a program as Ctrl-C does.
pub(crate) fn interrupt(child: &mut Child) -> ExitStatus {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("there is a `kill`");
    assert!(sent.success());
    child.wait().expect("it has ended")
}

/// Asks for a path below an address; the answer's status code and JSON, or null for another type.
pub(crate) fn ask(url: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let (status, text) = text(url, method, path, body);
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// The same as text.
pub(crate) fn text(url: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let rest = url.strip_prefix("http://").expect("an address");
    let (host, base) = rest.split_once('/').expect("an address with a path");
    let mut stream = TcpStream::connect(host).expect("it listens");
    let content = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
    };
    write!(
        stream,
        "{method} /{base}{path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n{content}Connection: close\r\n\r\n{body}"
    )
    .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers in UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{head}"));
    (status, body.to_owned())
}

/// Waits until something is there.
pub(crate) fn until<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(300), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
