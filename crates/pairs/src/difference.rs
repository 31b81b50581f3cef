//! Where two answers differ, for display and statistics.

use std::ops::Range;

/// The bytes of each answer that the other lacks. Ranges are in order, do not touch, and end at
/// character boundaries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Bytes of the gold answer.
    pub chosen: Vec<Range<usize>>,
    /// Bytes of the negative.
    pub rejected: Vec<Range<usize>>,
}

/// Largest table for aligning answers word by word; beyond it, everything between the common prefix and
/// the common suffix counts as different.
const LARGEST_TABLE: usize = 4_000_000;

/// Aligns two answers word by word (longest common subsequence of words and punctuation).
pub fn difference(chosen: &str, rejected: &str) -> Difference {
    let (left, right) = (lexemes(chosen), lexemes(rejected));
    let same = |a: &Range<usize>, b: &Range<usize>| chosen[a.clone()] == rejected[b.clone()];
    let prefix = left.iter().zip(&right).take_while(|(a, b)| same(a, b)).count();
    let (left, right) = (&left[prefix..], &right[prefix..]);
    let suffix = left.iter().rev().zip(right.iter().rev()).take_while(|(a, b)| same(a, b)).count();
    let (left, right) = (&left[..left.len() - suffix], &right[..right.len() - suffix]);
    if left.len() * right.len() > LARGEST_TABLE {
        let mut difference = Difference::default();
        for lexeme in left {
            extend(&mut difference.chosen, lexeme);
        }
        for lexeme in right {
            extend(&mut difference.rejected, lexeme);
        }
        return difference;
    }
    // length[i][j]: the longest common subsequence of left[i..] and right[j..].
    let columns = right.len() + 1;
    let mut length = vec![0u32; (left.len() + 1) * columns];
    for i in (0..left.len()).rev() {
        for j in (0..right.len()).rev() {
            length[i * columns + j] = if same(&left[i], &right[j]) {
                length[(i + 1) * columns + j + 1] + 1
            } else {
                length[(i + 1) * columns + j].max(length[i * columns + j + 1])
            };
        }
    }
    let mut difference = Difference::default();
    let (mut i, mut j) = (0, 0);
    while i < left.len() || j < right.len() {
        if i < left.len() && j < right.len() && same(&left[i], &right[j]) {
            (i, j) = (i + 1, j + 1);
        } else if j == right.len() || (i < left.len() && length[(i + 1) * columns + j] >= length[i * columns + j + 1]) {
            extend(&mut difference.chosen, &left[i]);
            i += 1;
        } else {
            extend(&mut difference.rejected, &right[j]);
            j += 1;
        }
    }
    difference
}

fn extend(ranges: &mut Vec<Range<usize>>, next: &Range<usize>) {
    match ranges.last_mut().filter(|last| last.end == next.start) {
        Some(last) => last.end = next.end,
        None => ranges.push(next.clone()),
    }
}

/// Runs of letters and digits; every other character is a lexeme of its own.
fn lexemes(text: &str) -> Vec<Range<usize>> {
    let mut lexemes: Vec<Range<usize>> = Vec::new();
    let mut in_word = false;
    for (start, character) in text.char_indices() {
        let end = start + character.len_utf8();
        match lexemes.last_mut().filter(|_| in_word && character.is_alphanumeric()) {
            Some(last) => last.end = end,
            None => lexemes.push(start..end),
        }
        in_word = character.is_alphanumeric();
    }
    lexemes
}

/// The length of the common prefix, in bytes.
pub(crate) fn shared_prefix(chosen: &str, rejected: &str) -> usize {
    chosen.bytes().zip(rejected.bytes()).take_while(|(a, b)| a == b).count()
}

/// Whether the first byte of `chosen` that differs from `rejected` is scaffold, and not part of a string
/// or number that carries information (keys and the consecutive ids of entities carry none). Both must
/// be canonical answers.
pub(crate) fn starts_in_scaffold(chosen: &str, rejected: &str) -> bool {
    let first = shared_prefix(chosen, rejected);
    !values(chosen).iter().any(|range| range.contains(&first))
}

/// The bytes of the informative values of a canonical answer in either form.
fn values(answer: &str) -> Vec<Range<usize>> {
    let Some(json) = answer.find("\n{") else { return json_values(answer) };
    let mut values = marked_values(&answer[..json]);
    values.extend(json_values(&answer[json..]).into_iter().map(|range| range.start + json..range.end + json));
    values
}

/// The labels in brackets and lines; numbers are no values, because they are consecutive.
fn marked_values(marks: &str) -> Vec<Range<usize>> {
    let (mut values, mut start, mut escaped) = (Vec::new(), None, false);
    for (at, character) in marks.char_indices() {
        let mark = !escaped && matches!(character, '|' | ']' | '\n');
        escaped = character == '\\' && !escaped;
        if !mark {
            continue;
        }
        let field = start.take().map(|start: usize| start..at);
        values.extend(field.filter(|field| !marks[field.clone()].bytes().all(|byte| byte.is_ascii_digit())));
        start = (character == '|').then_some(at + 1);
    }
    values.extend(start.map(|start| start..marks.len()));
    values
}

/// The values of an answer as JSON.
fn json_values(answer: &str) -> Vec<Range<usize>> {
    let bytes = answer.as_bytes();
    let mut values = Vec::new();
    let (mut list, mut item) = (0, 0);
    let mut first_value = false;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'[' => (list, item) = (list + 1, 0),
            b'{' => (item, first_value) = (item + 1, true),
            b'"' => {
                let start = at + 1;
                at = start;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += 1 + usize::from(bytes[at] == b'\\');
                }
                let end = at.min(bytes.len());
                if bytes.get(at + 1) != Some(&b':') {
                    let is_id = list == 1 && first_value && answer[start..end] == format!("e{item}");
                    if !is_id {
                        values.push(start..end);
                    }
                    first_value = false;
                }
            }
            b'0'..=b'9' => {
                let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                values.push(at..at + digits);
                at += digits - 1;
            }
            _ => {}
        }
        at += 1;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLD: &str = r#"{"entities":[{"id":"e1","text":"optical flow","type":"Task"},{"id":"e2","text":"it","type":"Generic"}],"relations":[]}"#;

    #[test]
    fn a_label_swap_differs_in_the_label_only() {
        let negative = GOLD.replace("Generic", "Method");
        let found = difference(GOLD, &negative);
        assert_eq!(found.chosen.iter().map(|range| &GOLD[range.clone()]).collect::<Vec<_>>(), ["Generic"]);
        assert_eq!(found.rejected.iter().map(|range| &negative[range.clone()]).collect::<Vec<_>>(), ["Method"]);
        assert!(!starts_in_scaffold(GOLD, &negative));
    }

    #[test]
    fn a_missing_item_differs_by_its_bytes() {
        let gone = r#",{"id":"e2","text":"it","type":"Generic"}"#;
        let negative = GOLD.replace(gone, "");
        let found = difference(GOLD, &negative);
        assert!(found.rejected.is_empty());
        assert_eq!(found.chosen.iter().map(Range::len).sum::<usize>(), gone.len());
        assert!(starts_in_scaffold(GOLD, &negative));
    }

    #[test]
    fn ids_of_entities_are_scaffold_and_links_are_not() {
        let gold =
            r#"{"entities":[{"id":"e1","text":"e1","type":"A"}],"relations":[{"head":"e1","type":"R","tail":"e2"}]}"#;
        let informative: Vec<&str> = values(gold).into_iter().map(|range| &gold[range]).collect();
        assert_eq!(informative, ["e1", "A", "e1", "R", "e2"]);
    }
}
