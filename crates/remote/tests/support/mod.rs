//! A scripted HTTP server on loopback that implements as much of the protocol as the tests need, with a
//! thread for each connection and no library shared with the client.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// A request.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// How many requests with this last message (or, without messages, this path) came before.
    pub(crate) earlier: usize,
}

/// What the server does with a request.
pub(crate) enum Reply {
    /// Status, further headers, body.
    Json(u16, Vec<(&'static str, String)>, Value),
    /// Status and an arbitrary body.
    Text(u16, String),
    /// Waits, then replies.
    After(Duration, Box<Reply>),
    /// Announces a body and sends half of it.
    HalfBody,
    /// Spaces until the client hangs up, at most this many MiB.
    Blanks(usize),
    /// Closes the connection without a reply.
    Close,
}

pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) state: Arc<State>,
}

#[derive(Default)]
pub(crate) struct State {
    /// Requests by last message.
    pub(crate) requests: Mutex<HashMap<String, usize>>,
    /// Whole replies by last message.
    pub(crate) replies: Mutex<HashMap<String, usize>>,
    /// Requests whose idempotency key had not been answered before.
    pub(crate) charged: Mutex<HashMap<String, usize>>,
    pub(crate) in_flight: AtomicUsize,
    pub(crate) most_in_flight: AtomicUsize,
    pub(crate) total: AtomicUsize,
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The text of the last message.
    pub(crate) fn prompt(&self) -> String {
        let body = self.json();
        let messages = body["messages"].as_array().cloned().unwrap_or_default();
        messages.last().and_then(|message| message["content"].as_str()).unwrap_or(&self.path).to_owned()
    }
}

/// A chat completion with this answer.
pub(crate) fn answer(text: &str) -> Reply {
    Reply::Json(200, Vec::new(), completion(text))
}

pub(crate) fn completion(text: &str) -> Value {
    json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "served-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110, "prompt_tokens_details": {"cached_tokens": 40}},
    })
}

pub(crate) fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::Json(status, Vec::new(), json!({"error": {"message": message, "code": code}}))
}

impl Server {
    /// Starts a server that answers every request by the script.
    pub(crate) fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let (shared, script) = (Arc::clone(&state), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (state, script) = (Arc::clone(&shared), Arc::clone(&script));
                thread::Builder::new().stack_size(256 << 10).spawn(move || serve(&stream, &state, &*script)).unwrap();
            }
        });
        Self { url, state }
    }

    pub(crate) fn total(&self) -> usize {
        self.state.total.load(Ordering::SeqCst)
    }
}

fn serve(stream: &TcpStream, state: &State, script: &dyn Fn(&Request) -> Reply) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(mut request) = read(&mut reader) {
        let prompt = request.prompt();
        state.total.fetch_add(1, Ordering::SeqCst);
        let now = state.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        state.most_in_flight.fetch_max(now, Ordering::SeqCst);
        {
            let mut requests = state.requests.lock().unwrap();
            let count = requests.entry(prompt.clone()).or_default();
            request.earlier = *count;
            *count += 1;
        }
        let reply = script(&request);
        if let Some(key) = request.headers.get("idempotency-key") {
            *state.charged.lock().unwrap().entry(key.clone()).or_default() += 1;
        }
        let whole = write(stream, reply);
        state.in_flight.fetch_sub(1, Ordering::SeqCst);
        if !whole {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
        *state.replies.lock().unwrap().entry(prompt).or_default() += 1;
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    if headers.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked") {
        body = chunked(reader)?;
    }
    Some(Request { method, path, headers, body, earlier: 0 })
}

fn chunked(reader: &mut BufReader<&TcpStream>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; length + 2];
        reader.read_exact(&mut chunk).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(&chunk[..length]);
    }
}

/// Whether the reply was sent whole.
fn write(mut stream: &TcpStream, reply: Reply) -> bool {
    let (status, headers, body) = match reply {
        Reply::Json(status, headers, body) => (status, headers, body.to_string()),
        Reply::Text(status, body) => (status, Vec::new(), body),
        Reply::After(delay, reply) => {
            thread::sleep(delay);
            return write(stream, *reply);
        }
        Reply::HalfBody => {
            let body = completion("half").to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{}", &body[..body.len() / 2]).as_bytes());
            return false;
        }
        Reply::Blanks(mebibytes) => {
            let blanks = vec![b' '; 1 << 20];
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            for _ in 0..mebibytes {
                let sent = stream.write_all(b"100000\r\n").and_then(|()| stream.write_all(&blanks));
                if sent.and_then(|()| stream.write_all(b"\r\n")).is_err() {
                    return false;
                }
            }
            return stream.write_all(b"0\r\n\r\n").is_ok();
        }
        Reply::Close => return false,
    };
    let headers = headers.iter().fold(String::new(), |all, (name, value)| format!("{all}{name}: {value}\r\n"));
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).is_ok()
}
