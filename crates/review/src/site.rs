//! The page of a review, and what its script asks for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};
use tabpo_serve::{Answer, Method, Request, Site};

use crate::{Refusal, Session, UnitState, view};

const PAGE: &str = include_str!("../assets/review.html");
/// Colours and the drawing of spans are those of the report.
const STYLE: &str = include_str!("../assets/review.css");
const SCRIPT: &str = concat!(
    "\"use strict\";\n",
    include_str!("../assets/items.js"),
    include_str!("../assets/gold.js"),
    include_str!("../assets/review.js"),
);

/// The page of a review.
pub struct ReviewSite(Arc<Mutex<Session>>);

/// A decision as the page sends it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    revision: u64,
    state: UnitState,
}

impl ReviewSite {
    /// The page of a session, which others may look at while it is served.
    pub fn new(session: Arc<Mutex<Session>>) -> Self {
        Self(session)
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        // A decision is on disk before anything else of it happens, so what a panic leaves is no more than behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, path: &str) -> Answer {
        let session = self.session();
        match path {
            "api/start" => ok(&view::start(&session)),
            "api/patterns" => ok(&json!({"text": session.proposals().to_toml()})),
            _ => match unit_of(path) {
                Some(unit) if unit < session.len() => ok(&view::unit(&session, unit)),
                Some(unit) => refused(&session, &Refusal::NoUnit(unit), None),
                None => Answer::missing(),
            },
        }
    }

    fn write(&self, path: &str, body: &[u8]) -> Answer {
        let mut session = self.session();
        if path == "api/undo" {
            return match session.undo() {
                Ok(unit) => ok(&view::unit(&session, unit)),
                Err(refusal) => refused(&session, &refusal, None),
            };
        }
        let Some(unit) = unit_of(path) else { return Answer::missing() };
        let Decision { revision, state } = match serde_json::from_slice(body) {
            Ok(decision) => decision,
            Err(error) => return refused(&session, &Refusal::Invalid(format!("not a decision: {error}")), None),
        };
        match session.decide(unit, revision, state) {
            Ok(()) => ok(&view::unit(&session, unit)),
            Err(refusal) => refused(&session, &refusal, Some(unit)),
        }
    }
}

impl Site for ReviewSite {
    fn answer(&self, request: &Request) -> Answer {
        match (request.method, request.path.as_str()) {
            (Method::Get, "") => Answer::html(PAGE),
            (Method::Get, "review.css") => Answer::css(STYLE),
            (Method::Get, "colours.css") => Answer::css(tabpo_report::html::COLOURS),
            (Method::Get, "spans.css") => Answer::css(tabpo_report::html::SPANS),
            (Method::Get, "drawing.js") => Answer::script(tabpo_report::html::DRAWING),
            (Method::Get, "review.js") => Answer::script(SCRIPT),
            (Method::Get, path) => self.read(path),
            (Method::Post, path) => self.write(path, &request.body),
        }
    }
}

/// The number in `api/unit/NUMBER`.
fn unit_of(path: &str) -> Option<usize> {
    path.strip_prefix("api/unit/")?.parse().ok()
}

fn ok(value: &Value) -> Answer {
    Answer::json(200, value.to_string())
}

/// Why something was not done, and how the text is now.
fn refused(session: &Session, refusal: &Refusal, unit: Option<usize>) -> Answer {
    let current = unit.filter(|&unit| unit < session.len()).map(|unit| view::unit(session, unit));
    Answer::json(refusal.status(), json!({"error": refusal.to_string(), "unit": current}).to_string())
}
