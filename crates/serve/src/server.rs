//! The server.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody, to_bytes},
    extract::{Request as HttpRequest, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use rand::Rng;
use tokio::sync::watch;

use crate::{
    Answer, Request, ServeError, Site,
    guard::{Guard, MOST, Refusal, headers, same},
};

/// How long a stop waits for answers under way.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a body may take to arrive.
const SLOWEST: Duration = Duration::from_secs(10);
/// The path that precedes an address that works once.
const ONCE: &str = "/once/";

/// A running server. It ends when it is stopped or dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    guard: Guard,
    site: Arc<dyn Site>,
    /// The secret of the address that works once, until it is used.
    ticket: Mutex<Option<String>>,
}

impl Server {
    /// Starts to serve a site on a port of 127.0.0.1; any free one if none is given.
    pub fn start(port: Option<u16>, site: Arc<dyn Site>) -> Result<Self, ServeError> {
        let port = port.unwrap_or(0);
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| ServeError::listening(port, error))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let guard = Guard::new(address.port(), secret());
        let shared = Arc::new(Shared { guard, site, ticket: Mutex::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            // A listener registers with the runtime that it is made in.
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (stop, stopped) = watch::channel(false);
        let state = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("serve".to_owned()).spawn(move || {
            runtime.block_on(serve(listener, state, stopped));
            runtime.shutdown_timeout(PATIENCE);
        })?;
        Ok(Self { address, shared, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the page. Whoever knows it can use the site, so it is for the eyes of the user only.
    pub fn url(&self) -> String {
        format!("http://{}/{}/", self.address, self.shared.guard.token())
    }

    /// An address that leads to the page once, for command lines, which other users of the machine can see. It replaces
    /// the one before.
    pub fn url_once(&self) -> String {
        let ticket = secret();
        let url = format!("http://{}{ONCE}{ticket}", self.address);
        *self.shared.ticket.lock().unwrap_or_else(PoisonError::into_inner) = Some(ticket);
        url
    }

    /// Ends the server; answers under way get a moment to finish.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If nobody listens, the thread has ended.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// 128 random bits in hexadecimal digits.
fn secret() -> String {
    format!("{:032x}", u128::from(rand::rng().next_u64()) | (u128::from(rand::rng().next_u64()) << 64))
}

async fn serve(listener: tokio::net::TcpListener, shared: Arc<Shared>, stopped: watch::Receiver<bool>) {
    let router = Router::new().fallback(answer).with_state(shared);
    let until = |mut stopped: watch::Receiver<bool>| async move {
        // An error means that the server is gone, which is a stop too.
        let _ = stopped.wait_for(|&stop| stop).await;
    };
    let serving = axum::serve(listener, router).with_graceful_shutdown(until(stopped.clone()));
    // A browser keeps connections open, so a stop does not wait for their end.
    let patience = async {
        until(stopped).await;
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        _ = serving.into_future() => {}
        () = patience => {}
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: HttpRequest) -> Response {
    guarded(&shared, request).await.unwrap_or_else(|Refusal(status, text)| respond(Answer::text(status, text)))
}

/// The answer to a request that passes the guards.
async fn guarded(shared: &Arc<Shared>, request: HttpRequest) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let method = shared.guard.check(&parts)?;
    let path = parts.uri.path();
    if let Some(ticket) = path.strip_prefix(ONCE) {
        return if shared.takes(ticket) { Ok(shared.redirection()) } else { Err(NOTHING) };
    }
    let path = shared.guard.below(path).ok_or(NOTHING)?.to_owned();
    let too_large = Refusal(413, "The body is too large.\n");
    if body.size_hint().lower() > MOST as u64 {
        return Err(too_large);
    }
    let body = tokio::time::timeout(SLOWEST, to_bytes(body, MOST)).await;
    let body = body.map_err(|_| Refusal(408, "The body did not arrive.\n"))?.map_err(|_| too_large)?.to_vec();
    let request = Request { method, path, body };
    let site = Arc::clone(&shared.site);
    let answer = tokio::task::spawn_blocking(move || site.answer(&request)).await;
    answer.map(respond).map_err(|_| Refusal(500, "The program failed to answer.\n"))
}

/// What is said to those who do not know the address.
const NOTHING: Refusal = Refusal(404, "There is nothing at this address.\n");

impl Shared {
    /// Whether a ticket is the one that is out; it is spent then.
    fn takes(&self, ticket: &str) -> bool {
        let mut held = self.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        let right = held.as_deref().is_some_and(|held| same(held, ticket));
        if right {
            *held = None;
        }
        right
    }

    /// Leads to the page.
    fn redirection(&self) -> Response {
        let mut response = respond(Answer::text(303, ""));
        let place = HeaderValue::try_from(format!("/{}/", self.guard.token())).expect("a token is made of digits");
        response.headers_mut().insert(header::LOCATION, place);
        response
    }
}

fn respond(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body.into_owned()));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let list = response.headers_mut();
    list.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.kind));
    list.extend(headers(answer.framed));
    response
}
