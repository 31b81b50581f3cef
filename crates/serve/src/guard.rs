//! Which requests are let through, and the headers of answers.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method as HttpMethod, header, request::Parts};

use crate::Method;

/// The most bytes of a body.
pub(crate) const MOST: usize = 4 << 20;

/// What pages of the site may do: run its own script and style files, talk to it, show its own pages in frames, and make no
/// markup out of text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// The addresses under which a server may be asked.
pub(crate) struct Guard {
    hosts: [String; 2],
    origins: [String; 2],
    token: String,
}

/// Why a request is refused: a status code and a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) u16, pub(crate) &'static str);

impl Guard {
    pub(crate) fn new(port: u16, token: String) -> Self {
        let hosts = ["127.0.0.1", "localhost"].map(|name| format!("{name}:{port}"));
        let origins = hosts.clone().map(|host| format!("http://{host}"));
        Self { hosts, origins, token }
    }

    /// The token of the address.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Whether the request is made to this server under its own name, by itself or by a page of it. Everything but the
    /// token is checked.
    pub(crate) fn check(&self, request: &Parts) -> Result<Method, Refusal> {
        let headers = &request.headers;
        let host =
            single(headers, &header::HOST).or_else(|| request.uri.authority().map(axum::http::uri::Authority::as_str));
        if !host.is_some_and(|host| self.hosts.iter().any(|own| own == host)) {
            return Err(Refusal(421, "This server answers only to 127.0.0.1 and localhost.\n"));
        }
        if headers.contains_key(header::ORIGIN)
            && !single(headers, &header::ORIGIN).is_some_and(|origin| self.origins.iter().any(|own| own == origin))
        {
            return Err(Refusal(403, "This server answers only to its own pages.\n"));
        }
        let site = single(headers, &HeaderName::from_static("sec-fetch-site"));
        if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return Err(Refusal(403, "This server answers only to its own pages.\n"));
        }
        match request.method {
            HttpMethod::GET => Ok(Method::Get),
            HttpMethod::POST if single(headers, &header::CONTENT_TYPE) == Some("application/json") => Ok(Method::Post),
            // Forms and simple requests, which browsers send across origins without asking, are never of this type.
            HttpMethod::POST => Err(Refusal(415, "The body must be application/json.\n")),
            _ => Err(Refusal(405, "Only GET and POST are answered.\n")),
        }
    }

    /// The path below the token; `None` without the right token.
    pub(crate) fn below<'p>(&self, path: &'p str) -> Option<&'p str> {
        let (token, rest) = path.strip_prefix('/')?.split_once('/')?;
        same(token, &self.token).then_some(rest)
    }
}

/// The value of a header that is given once.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

/// Whether two texts are the same, in a time that does not tell how much of them is.
pub(crate) fn same(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().zip(other.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// The headers of every answer. A framed page has a policy of its own, to which only is added where it may be framed.
pub(crate) fn headers(framed: bool) -> [(HeaderName, HeaderValue); 7] {
    let (policy, frame) = if framed { ("frame-ancestors 'self'", "SAMEORIGIN") } else { (POLICY, "DENY") };
    [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_FRAME_OPTIONS, frame),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
}
