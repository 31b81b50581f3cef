//! The decisions of a marked answer: at every word whether a bracket opens, at every pair whether it is related.

use tabpo_ontology::Ontology;
use tabpo_roles::List;

use super::{NONE, escape};
use crate::{Decision, Taken};

/// All decisions of a canonical answer in the marked form, in order: at every word outside of brackets and wherever a
/// bracket opens, and in both directions of every line. The JSON repeats them and decides nothing.
///
/// A word begins after a blank and where letters and digits meet another character, which is a word by itself.
pub(crate) fn decisions(answer: &str, ontology: &Ontology) -> Vec<Taken> {
    let mut lines = answer.split('\n');
    let sentence = lines.next().unwrap_or_default();
    let mut found = Vec::new();
    brackets(sentence, &mut found);
    let Some(name) = ontology.relations.first().map(|label| escape::name(&label.name)) else { return found };
    let (mut at, mut records) = (sentence.len() + 1, 0);
    for line in lines.take_while(|line| !line.starts_with('{')) {
        let mut slot = 0;
        for (index, field) in escape::split(line, '|').into_iter().enumerate() {
            // The first field has the numbers of the pair.
            if index > 0 {
                let opens = field != NONE;
                let before = &line[..slot];
                let (another, close) = (format!("{before}{name}"), vec![format!("{before}{NONE}")]);
                let list = List::Relations;
                let place = Decision { list, records, at: at + slot, start: at, another, close, next: None };
                found.push(Taken { place, opens });
                records += usize::from(opens);
            }
            slot += field.len() + 1;
        }
        at += line.len() + 1;
    }
    found
}

/// The decisions of the first line.
fn brackets(line: &str, found: &mut Vec<Taken>) {
    // The last character of the source, where the last blanks outside of brackets begin, and the depth of brackets.
    let (mut previous, mut blanks, mut depth) = (None, [0, 0], 0);
    let (mut at, mut records, mut opened) = (0, 0, false);
    while let Some(next) = escape::next(&line[at..]) {
        let opens = next.is('[');
        if opens || depth == 0 && !opened && begins_word(previous, next.character) {
            let start = if line[..at].ends_with(char::is_whitespace) { blanks[0] } else { blanks[1] };
            let (context, word) = (&line[start..at], word(line[at..].trim_start_matches('[')));
            let (another, close) = (format!("{context}[{word}"), vec![format!("{context}{word}")]);
            let place = Decision { list: List::Entities, records, at, start, another, close, next: None };
            found.push(Taken { place, opens });
            records += usize::from(opens);
        }
        if opens {
            depth += 1;
        } else if depth > 0 && next.is('|') {
            depth -= 1;
            while let Some(field) = escape::next(&line[at..]).filter(|field| !field.is(']')) {
                at += field.length;
            }
        } else {
            let blank = next.character.is_whitespace();
            if blank && depth == 0 && !previous.is_some_and(char::is_whitespace) {
                blanks = [blanks[1], at];
            }
            previous = Some(next.character);
        }
        opened = opens;
        at += escape::next(&line[at..]).map_or(0, |next| next.length);
    }
}

/// The word at the beginning of a written text, up to a blank or a mark.
fn word(written: &str) -> &str {
    let mut at = 0;
    while let Some(next) = escape::next(&written[at..]) {
        let ends = next.character.is_whitespace() || ['[', '|', ']'].into_iter().any(|mark| next.is(mark));
        if ends {
            break;
        }
        at += next.length;
    }
    &written[..at]
}

/// Whether a word begins with this character.
fn begins_word(previous: Option<char>, character: char) -> bool {
    let part = char::is_alphanumeric;
    !character.is_whitespace() && previous.is_none_or(|previous| !part(previous) || !part(character))
}
