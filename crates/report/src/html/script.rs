//! Scripts of the page and the data that they read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

/// The script of the page; each file is one subject.
const SCRIPT: &str = concat!(
    "\"use strict\";\n",
    include_str!("../../assets/tables.js"),
    include_str!("../../assets/grid.js"),
    include_str!("../../assets/pager.js"),
    include_str!("../../assets/drawing.js"),
    include_str!("../../assets/sides.js"),
    include_str!("../../assets/texts.js"),
    include_str!("../../assets/pairs.js"),
);

/// The script itself.
pub(super) fn own() -> Markup {
    html! { script { (PreEscaped(SCRIPT)) } }
}

/// What the browser may do with the page: run its own script, apply its styles, and nothing else.
pub(super) fn policy() -> String {
    let digest = STANDARD.encode(Sha256::digest(SCRIPT.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    )
}

/// JSON as the text of a `script` element: without characters that markup could begin or end with.
pub(super) fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 16);
    for character in json.chars() {
        match character {
            // JSON has these characters inside strings only.
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            other => out.push(other),
        }
    }
    out
}

/// A block of data, which browsers do not run. Its strings must have been made printable.
pub(super) fn data(id: &str, json: &str) -> Markup {
    html! { script type="application/json" id=(id) { (PreEscaped(escaped(json))) } }
}

/// A block of data that the script finds by its place.
pub(super) fn unnamed(json: &str) -> Markup {
    html! { script type="application/json" { (PreEscaped(escaped(json))) } }
}
