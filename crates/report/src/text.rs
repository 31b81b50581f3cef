//! Text from outside, made safe to display.

use std::borrow::Cow;

/// A text that is safe to show in a terminal or on a page: control characters (which could clear the
/// screen, set a title or overwrite a line) and characters that change the direction of text are escaped
/// as `\u{1b}`. Line breaks and tabs are kept.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unsafe(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// For every byte of a text where a character begins, and for its end, how many UTF-16 units of [`printable`] text come
/// before it; 0 for bytes inside a character.
pub(crate) fn shown_offsets(text: &str) -> Vec<u32> {
    let mut offsets = vec![0; text.len() + 1];
    let mut shown = 0;
    for (place, character) in text.char_indices() {
        offsets[place] = shown;
        shown += if is_unsafe(character) { character.escape_unicode().count() } else { character.len_utf16() } as u32;
    }
    offsets[text.len()] = shown;
    offsets
}

/// JSON that is safe to show in a terminal. JSON itself escapes ASCII control characters; the others, which
/// can only occur in strings, are escaped here, which does not change the value.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 16);
    let mut units = [0; 2];
    for character in json.chars() {
        if is_unsafe(character) {
            for unit in character.encode_utf16(&mut units) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Control characters (C0, DEL, C1) except line breaks and tabs, Unicode line separators, directional
/// formatting characters, and interlinear annotations.
fn is_unsafe(character: char) -> bool {
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
    fn control_characters_are_escaped_and_text_is_unchanged() {
        let harmless = "Ärzte – 漢字 👩‍⚕️ e\u{301}\tnext\nline";
        assert!(matches!(printable(harmless), Cow::Borrowed(text) if text == harmless));
        assert_eq!(printable("\u{1b}[2Jx\r\u{7f}\u{9b}m"), "\\u{1b}[2Jx\\u{d}\\u{7f}\\u{9b}m");
        assert_eq!(printable("a\u{202e}b\u{2066}c\u{2028}\u{0}"), "a\\u{202e}b\\u{2066}c\\u{2028}\\u{0}");
    }

    #[test]
    fn offsets_are_those_of_the_shown_text() {
        let text = "a\u{1b}é👩b\u{202e}";
        let offsets = shown_offsets(text);
        for (place, _) in text.char_indices().chain([(text.len(), ' ')]) {
            let before = printable(&text[..place]).encode_utf16().count();
            assert_eq!(offsets[place] as usize, before, "{place}");
        }
    }

    #[test]
    fn escaped_json_has_the_same_value() {
        let value = serde_json::json!({"k\u{9b}": "\u{1b}\u{7f}\u{85}\u{202e}ü\n"});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = printable_json(&text);
        assert!(!shown.contains(is_unsafe) && shown.contains("\\u009b") && shown.contains('ü'), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
