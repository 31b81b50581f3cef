//! The body of a reply, read as JSON.

use serde_json::Value;
use tabpo_corpus::mend_surrogates;

use crate::stream;

/// Characters shown of a body that is not JSON.
const SHOWN: usize = 120;

/// Reads a body. A byte order mark is skipped, unpaired surrogates become U+FFFD, and a stream of events
/// becomes the completion that it is made of. The error says why the body is not JSON and shows its
/// beginning, as `redact` leaves it.
pub(crate) fn body(text: &str, redact: impl Fn(String) -> String) -> Result<Value, String> {
    let text = text.trim_start_matches('\u{feff}');
    value(text).or_else(|problem| match text.trim_start() {
        _ if stream::is_stream(text) => stream::joined(text, value),
        page if page.starts_with('<') => Err(format!(
            "the reply is a web page instead of JSON, `{}`: is the address right? Most end in `/v1`",
            beginning(page, redact)
        )),
        "" => Err("the reply is empty".to_owned()),
        other => Err(format!("the reply is not JSON: {problem}; it begins with `{}`", beginning(other, redact))),
    })
}

/// Reads one JSON value; unpaired surrogates become U+FFFD, as in corpora.
pub(crate) fn value(text: &str) -> Result<Value, String> {
    let read = |text: &str| serde_json::from_str(text).map_err(|error| error.to_string());
    read(text).or_else(|problem| mend_surrogates(text).ok_or(problem).and_then(|(mended, _)| read(&mended)))
}

/// The beginning of a text on one line. The key is redacted in more than is shown, because it could be
/// cut in half.
fn beginning(text: &str, redact: impl Fn(String) -> String) -> String {
    let start = redact(text.chars().take(8 * SHOWN).collect());
    let line = start.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Result<Value, String> {
        super::body(text, |start| start.replace("secret", "[key]"))
    }

    #[test]
    fn unpaired_surrogates_and_byte_order_marks_are_tolerated() {
        for (text, content) in [
            (r#"{"a":"x \ud83d y"}"#, "x \u{fffd} y"),
            (r#"{"a":"\ude00"}"#, "\u{fffd}"),
            (r#"{"a":"\ud83d\ud83d\ude00"}"#, "\u{fffd}\u{1f600}"),
            ("\u{feff}{\"a\":\"b\"}", "b"),
        ] {
            assert_eq!(body(text).unwrap()["a"], content, "{text}");
        }
    }

    #[test]
    fn text_that_is_not_json_is_shown() {
        let page = body("\n<!DOCTYPE html>\n<title>Open WebUI</title>").unwrap_err();
        assert!(page.contains("`<!DOCTYPE html> <title>Open WebUI</title>`") && page.contains("/v1"), "{page}");
        let long = body(&format!("Welcome {}", "x".repeat(5000))).unwrap_err();
        assert!(long.contains("begins with `Welcome xxx") && long.chars().count() < 300, "{long}");
        let cut = body(&format!("{}secret", "x".repeat(SHOWN - 3))).unwrap_err();
        assert!(cut.contains("xxx[ke…"), "{cut}");
        assert_eq!(body(" \n").unwrap_err(), "the reply is empty");
    }
}
