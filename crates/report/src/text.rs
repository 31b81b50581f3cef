//! Text from outside, made harmless to look at.

use std::borrow::Cow;

/// A text as a terminal or a page may show it: control characters, which could clear a screen, set a
/// title or go back in a line, and characters that turn the direction of writing stand as `\u{1b}`. Line
/// ends and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_treacherous) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_treacherous(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// JSON as a terminal may show it. JSON escapes the controls of ASCII below the blank by itself; the
/// others, which can only stand in its strings, are escaped here: it says the same.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_treacherous) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 16);
    let mut units = [0; 2];
    for character in json.chars() {
        if is_treacherous(character) {
            for unit in character.encode_utf16(&mut units) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Controls (C0, DEL, C1) but line ends and tabs; separators of lines that editors obey; marks,
/// embeddings, overrides and isolates of direction; annotations and other controls of format.
fn is_treacherous(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{206f}'
        | '\u{fff9}'..='\u{fffb}' => true,
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_shown_and_text_is_not_touched() {
        let harmless = "Ärzte – 漢字 👩‍⚕️ e\u{301}\tnext\nline";
        assert!(matches!(printable(harmless), Cow::Borrowed(text) if text == harmless));
        assert_eq!(printable("\u{1b}[2Jx\r\u{7f}\u{9b}m"), "\\u{1b}[2Jx\\u{d}\\u{7f}\\u{9b}m");
        assert_eq!(printable("a\u{202e}b\u{2066}c\u{2028}\u{0}"), "a\\u{202e}b\\u{2066}c\\u{2028}\\u{0}");
    }

    #[test]
    fn json_says_the_same() {
        let value = serde_json::json!({"k\u{9b}": "\u{1b}\u{7f}\u{85}\u{202e}ü\n"});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = printable_json(&text);
        assert!(!shown.contains(is_treacherous) && shown.contains("\\u009b") && shown.contains('ü'), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
