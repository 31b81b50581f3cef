//! What a server serves.

use std::borrow::Cow;

/// Answers requests. It is called on threads of its own, several at a time.
pub trait Site: Send + Sync + 'static {
    /// The answer to a request that has passed all guards.
    fn answer(&self, request: &Request) -> Answer;
}

/// How something is requested. Other methods are refused before a site sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Change; the body is JSON.
    Post,
}

/// A request from the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path below the secret address, without a leading slash: empty for the page itself.
    pub path: String,
    /// The body; empty for [`Method::Get`].
    pub body: Vec<u8>,
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code of HTTP.
    pub status: u16,
    /// The media type of the body.
    pub kind: &'static str,
    /// The body.
    pub body: Cow<'static, [u8]>,
    /// Whether it is a page with a policy of its own, which the site shows in a frame.
    pub framed: bool,
}

impl Answer {
    fn ok(kind: &'static str, body: Cow<'static, [u8]>) -> Self {
        Self { status: 200, kind, body, framed: false }
    }

    /// A page.
    pub fn html(text: &'static str) -> Self {
        Self::ok("text/html; charset=utf-8", text.as_bytes().into())
    }

    /// A page that brings its own `Content-Security-Policy` and may be shown in a frame of the site.
    pub fn framed(text: String) -> Self {
        Self { framed: true, ..Self::ok("text/html; charset=utf-8", text.into_bytes().into()) }
    }

    /// A style sheet.
    pub fn css(text: &'static str) -> Self {
        Self::ok("text/css; charset=utf-8", text.as_bytes().into())
    }

    /// A script.
    pub fn script(text: &'static str) -> Self {
        Self::ok("text/javascript; charset=utf-8", text.as_bytes().into())
    }

    /// JSON with a status code.
    pub fn json(status: u16, text: String) -> Self {
        Self { status, ..Self::ok("application/json", text.into_bytes().into()) }
    }

    /// There is nothing at this path.
    pub fn missing() -> Self {
        Self::text(404, "There is nothing at this address.\n")
    }

    /// A plain text with a status code.
    pub fn text(status: u16, text: &'static str) -> Self {
        Self { status, ..Self::ok("text/plain; charset=utf-8", text.as_bytes().into()) }
    }
}
