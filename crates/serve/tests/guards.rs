//! What an attacker on this machine, in this browser or with a name that points here can reach.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use tabpo_serve::{Answer, Method, Request, ServeError, Server, Site};

/// Keeps what it is asked.
#[derive(Default)]
struct Notebook(Mutex<Vec<Request>>);

impl Site for Notebook {
    fn answer(&self, request: &Request) -> Answer {
        self.0.lock().expect("no panic").push(request.clone());
        match request.path.as_str() {
            "page" => Answer::framed("<!DOCTYPE html>".to_owned()),
            "panic" => panic!("on purpose"),
            "slow" => {
                std::thread::sleep(Duration::from_secs(60));
                Answer::missing()
            }
            _ => Answer::html("<!DOCTYPE html>secret"),
        }
    }
}

struct World {
    site: Arc<Notebook>,
    server: Server,
}

impl World {
    fn new() -> Self {
        let site = Arc::new(Notebook::default());
        let server = Server::start(None, Arc::clone(&site) as Arc<dyn Site>).expect("a free port");
        Self { site, server }
    }

    fn host(&self) -> String {
        self.server.address().to_string()
    }

    /// The path of the page: `/TOKEN/`.
    fn path(&self) -> String {
        self.server.url().trim_start_matches(&format!("http://{}", self.host())).to_owned()
    }

    fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut self.site.0.lock().expect("no panic"))
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> String {
        exchange(self.server.address(), "GET", path, headers, "")
    }

    fn post(&self, headers: &[(&str, &str)], body: &str) -> String {
        exchange(self.server.address(), "POST", &(self.path() + "act"), headers, body)
    }
}

fn exchange(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let lines: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let lines = lines.concat();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    write!(stream, "{method} {path} HTTP/1.1\r\n{lines}{length}Connection: close\r\n\r\n{body}").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers in UTF-8");
    answer
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn the_user_gets_the_page_with_headers_that_shut_everything_else_out() {
    let world = World::new();
    for host in [world.host(), world.host().replace("127.0.0.1", "localhost")] {
        let answer = world.get(&world.path(), &[("Host", &host)]);
        assert_eq!(status(&answer), 200, "{answer}");
        assert!(answer.ends_with("secret"));
        let lower = answer.to_lowercase();
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';",
            "require-trusted-types-for 'script'; trusted-types 'none'",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
            "cache-control: no-store",
        ] {
            assert!(lower.contains(header), "{header}: {answer}");
        }
        assert!(!lower.contains("access-control-allow"), "{answer}");
        // A page that brings its own policy may be framed by the site alone.
        let framed = world.get(&(world.path() + "page"), &[("Host", &host)]).to_lowercase();
        assert!(framed.contains("content-security-policy: frame-ancestors 'self'"), "{framed}");
    }
    let paths: Vec<String> = world.asked().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["", "page", "", "page"]);
}

#[test]
fn without_the_token_nothing_is_reached() {
    let (world, host) = (World::new(), "Host");
    let name = world.host();
    let token = world.path().trim_matches('/').to_owned();
    assert!(token.len() == 32 && token.bytes().all(|digit| digit.is_ascii_hexdigit()), "{token}");
    let other = World::new().path();
    let shorter = format!("/{}/", &token[..31]);
    let upper = world.path().to_uppercase();
    let quoted = format!("/%{:02x}{}/", token.as_bytes()[0], &token[1..]);
    for path in ["/", "//", "/page", "/once/", "/once/0", &other, &shorter, &upper, &quoted, &format!("/{token}")] {
        let answer = world.get(path, &[(host, &name)]);
        // A token of digits alone has no upper case.
        assert!(status(&answer) == 404 || path == world.path(), "{path}: {answer}");
        assert!(!answer.contains("secret") || path == world.path(), "{path}: {answer}");
    }
    assert!(world.asked().len() <= 1);
    assert_ne!(World::new().path(), World::new().path());
}

/// DNS rebinding: a name of the attacker's resolves to 127.0.0.1, and the browser sends that name.
#[test]
fn other_names_for_this_machine_are_refused() {
    let world = World::new();
    let port = world.server.address().port();
    let (path, own) = (world.path(), world.host());
    for host in [
        "evil.example",
        &format!("evil.example:{port}"),
        "127.0.0.1",
        "localhost",
        "127.0.0.1:1",
        "[::1]",
        "0.0.0.0",
        "",
    ] {
        assert_eq!(status(&world.get(&path, &[("Host", host)])), 421, "{host}");
    }
    assert_ne!(status(&world.get(&path, &[])), 200);
    assert_eq!(status(&world.get(&path, &[("Host", &own), ("Host", "evil.example")])), 421);
    assert!(world.asked().is_empty());
}

/// Another page in the same browser that has learnt the address, token and all.
#[test]
fn other_pages_neither_read_nor_write() {
    let world = World::new();
    let host = world.host();
    let own = format!("http://{host}");
    let json = ("Content-Type", "application/json");
    for origin in
        ["http://evil.example", "null", "file://", "http://127.0.0.1:1", &format!("https://{host}"), "", &host]
    {
        for answer in [
            world.post(&[("Host", &host), ("Origin", origin), json], "{}"),
            world.get(&world.path(), &[("Host", &host), ("Origin", origin)]),
        ] {
            assert_eq!(status(&answer), 403, "{origin}: {answer}");
        }
    }
    for site in ["cross-site", "same-site", "x"] {
        assert_eq!(status(&world.post(&[("Host", &host), ("Sec-Fetch-Site", site), json], "{}")), 403, "{site}");
    }
    // What a form can send without being asked for permission.
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain; application/json"]
    {
        assert_eq!(status(&world.post(&[("Host", &host), ("Content-Type", kind)], "{}")), 415, "{kind}");
    }
    assert_eq!(status(&world.post(&[("Host", &host)], "{}")), 415);
    for method in ["PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"] {
        let answer = exchange(world.server.address(), method, &world.path(), &[("Host", &host), json], "");
        assert_eq!(status(&answer), 405, "{method}");
    }
    assert!(world.asked().is_empty());

    let site = ("Sec-Fetch-Site", "same-origin");
    let answer = world.post(&[("Host", &host), ("Origin", &own), site, json], "{\"a\": 1}");
    assert_eq!(status(&answer), 200, "{answer}");
    let asked = world.asked();
    assert_eq!(asked, [Request { method: Method::Post, path: "act".into(), body: b"{\"a\": 1}".to_vec() }]);
}

#[test]
fn an_address_for_a_command_line_works_once() {
    let world = World::new();
    let host = world.host();
    let (first, second) = (world.server.url_once(), world.server.url_once());
    let path = |url: &str| url.trim_start_matches(&format!("http://{host}")).to_owned();
    assert!(!second.contains(world.path().trim_matches('/')), "it does not hold the token");
    assert_eq!(status(&world.get(&path(&first), &[("Host", &host)])), 404, "a newer one replaces it");
    assert_eq!(status(&world.get(&path(&second), &[("Host", "evil.example")])), 421);
    let answer = world.get(&path(&second), &[("Host", &host)]);
    assert_eq!(status(&answer), 303);
    assert!(answer.to_lowercase().contains(&format!("location: {}", world.path())), "{answer}");
    assert_eq!(status(&world.get(&path(&second), &[("Host", &host)])), 404);
}

#[test]
fn a_body_is_limited_and_a_panic_is_an_answer() {
    let world = World::new();
    let host = world.host();
    let headers = [("Host", host.as_str()), ("Content-Type", "application/json")];
    assert_eq!(status(&world.post(&headers, &" ".repeat(4 << 20))), 200);
    let mut stream = TcpStream::connect(world.server.address()).expect("it listens");
    let path = world.path();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"
    )
    .expect("it reads");
    let mut start = [0; 12];
    stream.read_exact(&mut start).expect("it answers before the body is there");
    assert_eq!(&start, b"HTTP/1.1 413");
    assert_eq!(status(&world.get(&(path.clone() + "panic"), &[("Host", &host)])), 500);
    assert_eq!(status(&world.get(&path, &[("Host", &host)])), 200);
}

#[test]
fn a_port_that_is_taken_is_named_and_a_stopped_server_is_gone() {
    let world = World::new();
    let address = world.server.address();
    let refused = Server::start(Some(address.port()), Arc::new(Notebook::default())).err().expect("it is taken");
    assert!(matches!(refused, ServeError::Taken { port } if port == address.port()), "{refused}");
    assert!(refused.to_string().contains(&address.port().to_string()) && refused.hint().is_some());
    assert!(address.ip().is_loopback());

    // A connection that is kept open, and an answer that takes a minute, do not hold it up.
    let kept = TcpStream::connect(address).expect("it listens");
    let mut slow = TcpStream::connect(address).expect("it listens");
    write!(slow, "GET {}slow HTTP/1.1\r\nHost: {address}\r\n\r\n", world.path()).expect("it reads");
    while world.site.0.lock().expect("no panic").is_empty() {
        std::thread::yield_now();
    }
    world.server.stop();
    drop((kept, slow));
    TcpListener::bind(address).expect("the port is free again");
}
