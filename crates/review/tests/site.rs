//! What the page of a review is told, and what it may ask for.

mod support;

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use support::{answer, documents, material, notes};
use tabpo_review::{Material, ReviewSite, Session};
use tabpo_serve::{Method, Request, Site};
use tempfile::TempDir;

struct World {
    site: ReviewSite,
    session: Arc<Mutex<Session>>,
    _folder: TempDir,
}

impl World {
    fn new(material: Material) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let session = Arc::new(Mutex::new(Session::open(folder.path(), material).expect("a review")));
        Self { site: ReviewSite::new(Arc::clone(&session)), session, _folder: folder }
    }

    fn ask(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = self.site.answer(&Request { method, path: path.to_owned(), body });
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask(Method::Get, path, &Value::Null);
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask(Method::Post, path, body)
    }
}

#[test]
fn the_page_decides_and_undoes() {
    let world = World::new(notes());
    let start = world.get("api/start");
    assert_eq!(start["summary"]["texts"], 3);
    assert_eq!(start["entities"][2]["subtypes"], json!(["Single", "Daily"]));
    assert_eq!(start["relations"][0]["domain"], json!(["Drug"]));
    let unit = world.get("api/unit/0");
    assert_eq!(unit["tokens"][1], json!([" ", "caused"]));
    assert_eq!(unit["lost"], json!(["“rash” (Effect), which is not in the text"]));
    let mut state = unit["state"].clone();
    state["entities"][0]["verdict"] = json!("accepted");
    let (status, saved) = world.post("api/unit/0", &json!({"revision": 0, "state": state}));
    assert_eq!((status, &saved["revision"], &saved["summary"]["undo"]), (200, &json!(1), &json!(true)));

    // Another window has not seen this; it is told how the text is now.
    let (status, refused) = world.post("api/unit/0", &json!({"revision": 0, "state": unit["state"]}));
    assert_eq!((status, &refused["unit"]["revision"]), (409, &json!(1)));
    assert!(refused["error"].as_str().is_some_and(|text| text.contains("another window")));

    state["confirmed"] = json!(true);
    let (status, saved) = world.post("api/unit/0", &json!({"revision": 1, "state": state}));
    assert_eq!((status, &saved["summary"]["confirmed"]), (200, &json!(1)));
    assert!(saved["state"]["relations"][0]["verdict"] == "accepted", "what is open counts as accepted");
    let (status, undone) = world.post("api/undo", &json!({}));
    assert_eq!((status, &undone["unit"], &undone["state"]["confirmed"]), (200, &json!(0), &json!(false)));
    world.post("api/undo", &json!({}));
    assert_eq!(world.post("api/undo", &json!({})).0, 409);
    assert!(world.get("api/patterns")["text"].as_str().is_some_and(|text| text.contains("None yet")));
}

#[test]
fn what_is_no_decision_is_refused() {
    let world = World::new(notes());
    let sound = world.get("api/unit/0")["state"].clone();
    let mut unknown = sound.clone();
    unknown["entities"][0]["onclick"] = json!("alert(1)");
    let mut negative = sound.clone();
    negative["entities"][0]["start"] = json!(-1);
    let mut huge = sound.clone();
    huge["entities"][0]["end"] = json!(4294967296_u64);
    let mut verdict = sound.clone();
    verdict["entities"][0]["verdict"] = json!("maybe");
    for state in [json!(null), json!([]), json!({}), unknown, negative, huge, verdict] {
        let (status, refused) = world.post("api/unit/0", &json!({"revision": 0, "state": state}));
        assert_eq!(status, 400, "{refused}");
    }
    for body in [json!(null), json!({"state": sound}), json!({"revision": 0, "state": sound, "more": 1})] {
        assert_eq!(world.post("api/unit/0", &body).0, 400);
    }
    for path in
        ["api/unit/3", "api/unit/99999999999999999999", "api/unit/-1", "api/unit/", "api/", "../journal.jsonl", "x"]
    {
        assert_eq!(world.ask(Method::Get, path, &Value::Null).0, 404, "{path}");
        assert_eq!(world.post(path, &json!({"revision": 0, "state": sound})).0, 404, "{path}");
    }
    assert_eq!(world.session.lock().expect("no panic").revision(0), 0);
}

#[test]
fn texts_come_as_they_read_with_control_characters_shown() {
    let text = "السلام (aspirin)\u{202e} <b>x</b>\u{1b}[31m é👩‍⚕️";
    let all = documents(&[("<i>k\u{7}</i>", text)]);
    let world = World::new(material(all, &[answer(&[("aspirin", "Drug")], &[])]));
    let unit = world.get("api/unit/0");
    let shown: String = unit["tokens"]
        .as_array()
        .expect("tokens")
        .iter()
        .flat_map(|token| [&token[0], &token[1]].map(|part| part.as_str().expect("text").to_owned()))
        .collect();
    assert_eq!(shown, "السلام (aspirin)\\u{202e} <b>x</b>\\u{1b}[31m é👩‍⚕️");
    assert!(unit["place"].as_str().is_some_and(|place| place.starts_with("<i>k\\u{7}</i>")));
    let at = unit["state"]["entities"][0]["start"].as_u64().expect("a token") as usize;
    assert_eq!(unit["tokens"][at][1], "aspirin");
}

#[test]
fn the_files_of_the_page_hold_nothing_from_documents() {
    let world = World::new(notes());
    for (path, kind) in
        [("", "text/html"), ("review.js", "text/javascript"), ("review.css", "text/css"), ("colours.css", "text/css")]
    {
        let request = Request { method: Method::Get, path: path.into(), body: Vec::new() };
        let answer = world.site.answer(&request);
        assert!(answer.status == 200 && answer.kind.starts_with(kind), "{path}");
        let text = String::from_utf8(answer.body.into_owned()).expect("UTF-8");
        for word in [
            "Aspirin",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "onclick=",
            "style=\"",
        ] {
            assert!(!text.contains(word), "{path}: {word}");
        }
    }
}
