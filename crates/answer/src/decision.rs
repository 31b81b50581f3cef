//! Where the lists of an answer go on or end: of a whole one, and of one that is being written.

use std::ops::{ControlFlow, Range};

use tabpo_ontology::{AnswerForm, Arguments, Ontology};
use tabpo_roles::{List, ListDecision};

use crate::marked::{self, form_of};
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

/// A decision of a whole answer, as it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The place.
    pub place: Decision,
    /// Whether a further record follows; otherwise the list is closed.
    pub opens: bool,
}

impl Taken {
    /// What was decided.
    pub fn decision(&self) -> ListDecision {
        ListDecision { list: self.place.list, opens: self.opens }
    }

    /// The answer from [`Decision::start`] on as the other decision would go on, far enough to tell the two apart in any
    /// tokens: with another record, or with the end of the list and no further items.
    pub fn other(&self) -> &str {
        let ends = self.place.close.last().expect("a list can always be closed");
        if self.opens { ends } else { &self.place.another }
    }
}

/// All decisions of a canonical answer, in order. None of what follows a place at which an answer departs from the form of
/// [`render`](crate::render()).
///
/// In the marked form, a word is where a mention is opened or not, and a pair where a relation is written or `-`.
pub fn decisions(answer: &str, ontology: &Ontology) -> Vec<Taken> {
    if form_of(answer) == AnswerForm::Marked {
        return marked::decisions(answer, ontology);
    }
    let mut found = Vec::new();
    let mut reader = Reader::new(answer.to_owned(), ontology);
    reader.answer(&mut |reader, list, records, start| {
        let opens = !reader.rest().starts_with(']');
        found.push(Taken { place: reader.found(list, records, start), opens });
        ControlFlow::Continue(())
    });
    found
}

/// The decision that `added` makes, or begins to make, when it follows `written`, the beginning of an answer in the form
/// of [`render`](crate::render()). `None` if it makes none, or if the two depart from that form.
///
/// A token often holds the end of a record and the decision after it. `added` may also end before the decision as long as
/// only one text can lie between them.
pub fn decision(written: &str, added: &str, ontology: &Ontology) -> Option<Decision> {
    let mut reader = Reader::new(format!("{written}{added}"), ontology);
    let mut found = None;
    reader.answer(&mut |reader, list, records, start| {
        if reader.position < written.len() {
            return ControlFlow::Continue(());
        }
        found = Some(reader.found(list, records, start));
        ControlFlow::Break(())
    });
    found
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

/// Called at every decision with the list, the number of records written and the start of the last one.
type Visit<'v> = dyn FnMut(&Reader<'_>, List, usize, usize) -> ControlFlow<()> + 'v;

/// Reads an answer strictly.
struct Reader<'a> {
    /// What was given, and what must follow it.
    text: String,
    position: usize,
    /// The length of what was given.
    given: usize,
    ontology: &'a Ontology,
    /// The texts of the entities as they are written, between their quotes.
    texts: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(text: String, ontology: &'a Ontology) -> Self {
        Self { given: text.len(), text, position: 0, ontology, texts: Vec::new() }
    }

    /// Reads an answer from its beginning. `None` if it departs from the form, or if `visit` stops.
    fn answer(&mut self, visit: &mut Visit<'_>) -> Option<()> {
        let mut frame = Writer::default();
        frame.open_answer(self.ontology);
        self.fixed(&frame.text)?;
        let last = self.list(List::Entities, 0, visit)?;
        if self.ontology.relations.is_empty() {
            return Some(());
        }
        let mut between = Writer::default();
        between.close_entities(self.ontology);
        // The bracket has been read as the end of the list.
        self.fixed(&between.text[1..])?;
        self.list(List::Relations, last, visit).map(|_| ())
    }

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

    /// Reads a list and visits its decisions. `start` is where the last record starts; returns that of this list's.
    fn list(&mut self, list: List, mut start: usize, visit: &mut Visit<'_>) -> Option<usize> {
        let mut records = 0;
        loop {
            if visit(self, list, records, start).is_break() {
                return None;
            }
            if self.rest().starts_with(']') {
                self.position += 1;
                return Some(start);
            }
            if records > 0 {
                self.fixed(",")?;
            }
            start = self.position;
            self.record(list)?;
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
                    text.text.push_str(match self.ontology.arguments {
                        Arguments::Ids => "\"e",
                        Arguments::Texts => "\"",
                    });
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
                if list == List::Entities && self.text[key.clone()] == self.ontology.keys.text {
                    self.texts.push(self.text[value.clone()].to_owned());
                }
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
            List::Relations if self.ontology.arguments == Arguments::Texts => {
                key == keys.tail && self.texts.iter().filter(|text| *text == value).count() < 2
            }
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
