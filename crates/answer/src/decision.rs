//! Where the lists of an answer that is being written go on or end.

use std::ops::Range;

use tabpo_ontology::Ontology;
use tabpo_roles::List;

use crate::render::Writer;

/// The place after a record, or at the start of a list, where an answer either writes another record or closes the
/// list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The list.
    pub list: List,
    /// The number of records that are written.
    pub records: usize,
    /// The byte of the answer at which the two continuations part.
    pub at: usize,
    /// Where the last record that is written starts, or 0: a byte of the answer from which on it can be split into
    /// tokens without what precedes.
    pub start: usize,
    /// The answer from `start` on if another record follows, up to the first character that the source decides.
    pub another: String,
    /// The answer from `start` on if the list is closed. Where another list follows, there are two: the first goes on up to
    /// the first character that the source decides of a record in that list, and the second closes it, too.
    pub close: Vec<String>,
    /// Where the two texts of `close` part: the byte of the answer at which the first record of the next list is decided
    /// about.
    pub next: Option<usize>,
}

/// The decision that `added` makes, or begins to make, when it follows `written`, the beginning of an answer in the form
/// of [`render`](crate::render()). `None` if it makes none, or if the two depart from that form.
///
/// A token often holds the end of a record and the decision after it. `added` may also end before the decision as long as
/// only one text can lie between them.
pub fn decision(written: &str, added: &str, ontology: &Ontology) -> Option<Decision> {
    let mut reader = Reader { text: format!("{written}{added}"), position: 0, given: 0, ontology };
    reader.given = reader.text.len();
    let mut frame = Writer::default();
    frame.open_answer(ontology);
    reader.fixed(&frame.text)?;
    let mut record = 0..0;
    if let Step::Decides(found) = reader.list(List::Entities, written.len(), &mut record)? {
        return Some(found);
    }
    if ontology.relations.is_empty() {
        return None;
    }
    let mut between = Writer::default();
    between.close_entities(ontology);
    // The bracket has been read as the end of the list.
    reader.fixed(&between.text[1..])?;
    match reader.list(List::Relations, written.len(), &mut record)? {
        Step::Decides(found) => Some(found),
        Step::Closed => None,
    }
}

/// The beginning of an answer up to byte `at` of a decision about `list`, completed as if every list ended there.
pub fn closed_at(text: &str, list: List, at: usize, ontology: &Ontology) -> String {
    let mut end = Writer::default();
    if list == List::Entities {
        end.close_entities(ontology);
    }
    end.close_answer(ontology);
    format!("{}{}", &text[..at], end.text)
}

/// How the reading of a list ended.
enum Step {
    /// At a decision.
    Decides(Decision),
    /// At the end of the list, before the part that was asked for.
    Closed,
}

/// Reads an answer strictly.
struct Reader<'a> {
    /// What was given, and what must follow it.
    text: String,
    position: usize,
    /// The length of what was given.
    given: usize,
    ontology: &'a Ontology,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.position..]
    }

    /// Reads a text that must follow, and adds what of it lies beyond the end.
    fn fixed(&mut self, expected: &str) -> Option<()> {
        let rest = self.rest();
        if let Some(missing) = expected.strip_prefix(rest) {
            let missing = missing.to_owned();
            self.text.push_str(&missing);
        } else if !rest.starts_with(expected) {
            return None;
        }
        self.position += expected.len();
        Some(())
    }

    /// Reads a list up to the first decision in it that lies at or after byte `from`. `None` if the text departs from the
    /// form. `record` is set to the last record.
    fn list(&mut self, list: List, from: usize, record: &mut Range<usize>) -> Option<Step> {
        let mut records = 0;
        loop {
            if self.position >= from {
                return Some(Step::Decides(self.found(list, records, record.start)));
            }
            if self.rest().starts_with(']') {
                self.position += 1;
                return Some(Step::Closed);
            }
            if records > 0 {
                self.fixed(",")?;
            }
            let start = self.position;
            self.record(list)?;
            *record = start..self.position;
            records += 1;
        }
    }

    fn found(&self, list: List, records: usize, start: usize) -> Decision {
        let context = &self.text[start..self.position];
        let related = !self.ontology.relations.is_empty();
        let begin = |list: List, records: usize| {
            let mut text = Writer::default();
            match list {
                List::Entities => {
                    text.open_entity(records, self.ontology);
                    text.text.push('"');
                }
                List::Relations => {
                    text.open_relation(records, self.ontology);
                    text.text.push_str("\"e");
                }
            }
            text.text
        };
        let mut between = Writer::default();
        if list == List::Entities {
            between.close_entities(self.ontology);
        }
        let mut end = Writer::default();
        end.close_answer(self.ontology);
        let mut close = vec![format!("{context}{}{}", between.text, end.text)];
        // Without entities there are no relations.
        let next = (list == List::Entities && related && records > 0).then(|| self.position + between.text.len());
        if next.is_some() {
            close.insert(0, format!("{context}{}{}", between.text, begin(List::Relations, 0)));
        }
        let another = format!("{context}{}", begin(list, records));
        Decision { list, records, at: self.position, start, another, close, next }
    }

    /// Reads a record of strings and numbers. One that ends directly after its last value is closed.
    fn record(&mut self, list: List) -> Option<()> {
        let mut open = "{";
        loop {
            self.take(open)?;
            open = ",";
            let key = self.string()?;
            self.take(":")?;
            if self.rest().starts_with('"') {
                let value = self.string()?;
                if self.position == self.given && self.is_last(list, &self.text[key], &self.text[value]) {
                    return self.fixed("}");
                }
            } else {
                let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
                self.position += digits;
                if digits == 0 {
                    return None;
                }
            }
            if self.rest().starts_with('}') {
                self.position += 1;
                return Some(());
            }
        }
    }

    /// Whether a record ends after this value, if it has no occurrence.
    fn is_last(&self, list: List, key: &str, value: &str) -> bool {
        let keys = &self.ontology.keys;
        match list {
            List::Entities if key == keys.entity_type => {
                let label = self.ontology.entity_named(value);
                label.is_none_or(|label| self.ontology.entity(label).subtypes.is_empty())
            }
            List::Entities => key == keys.subtype,
            List::Relations => key == keys.tail,
        }
    }

    /// Reads a text that is there.
    fn take(&mut self, expected: &str) -> Option<()> {
        self.rest().starts_with(expected).then_some(())?;
        self.position += expected.len();
        Some(())
    }

    /// Reads a JSON string and returns where what is between its quotes lies.
    fn string(&mut self) -> Option<Range<usize>> {
        self.take("\"")?;
        let start = self.position;
        let mut escaped = false;
        let length = self.rest().bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        self.position += length + 1;
        Some(start..start + length)
    }
}
