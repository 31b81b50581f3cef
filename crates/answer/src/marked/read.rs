//! Reading the marks of an answer, however broken.

use std::ops::Range;

use rustc_hash::FxHashMap;
use tabpo_ontology::{EntityLabelId, Ontology, RelationLabelId, SubtypeId};

use super::{NONE, escape, is_near, write};
use crate::json::Json;
use crate::{Answer, Rendered};

/// What the marked part of an answer says.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// The sentence without its marks.
    pub(super) sentence: String,
    /// The mentions, by (start, end); of those on the same words, the inner ones first.
    pub(super) mentions: Vec<Mention>,
    /// The relations, in order of their lines.
    pub(super) relations: Vec<MarkedRelation>,
    /// The byte of the answer at which the marks first depart from their form.
    pub(super) broken: Option<usize>,
    /// Where the JSON begins.
    pub(super) json: Option<usize>,
    /// The first mention with each number.
    numbers: FxHashMap<u32, u32>,
}

/// A mention in brackets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mention {
    /// Its bytes in the sentence.
    pub(super) range: Range<usize>,
    pub(super) label: Option<EntityLabelId>,
    pub(super) subtype: Option<SubtypeId>,
    /// The number that stands there.
    number: Option<u32>,
    /// The byte of the answer at which its bracket opens.
    pub(super) byte: usize,
}

/// A relation in the line of a pair.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MarkedRelation {
    /// Positions in [`Marks::mentions`]; `None` for a number that no mention has.
    pub(super) ends: [Option<u32>; 2],
    pub(super) label: Option<RelationLabelId>,
    /// The byte of the answer at which its line begins.
    pub(super) byte: usize,
}

impl Marks {
    /// Reads the marks of what a model wrote. Takes time linear in its length, apart from sorting, and never fails.
    pub(super) fn read(raw: &str, ontology: &Ontology) -> Self {
        let mut marks = Self::default();
        let first = raw.split('\n').next().unwrap_or_default();
        if first.len() == raw.len() && raw.trim_start().starts_with('{') && Json::read(raw).is_ok() {
            // Nothing but the JSON.
            return Self { broken: Some(0), json: Some(0), ..marks };
        }
        marks.sentence(first, ontology);
        marks.number();
        let (mut at, mut pairs) = (first.len() + 1, Vec::new());
        while at < raw.len() {
            let line = raw[at..].split('\n').next().unwrap_or_default();
            if line.starts_with('{') {
                marks.json = Some(at);
                break;
            }
            if ontology.relations.is_empty() || marks.pair(line, at, ontology, &mut pairs).is_none() {
                marks.break_at(at);
            }
            at += line.len() + 1;
        }
        if marks.json.is_none() {
            marks.break_at(raw.len());
        } else if !ontology.relations.is_empty() && !marks.has_all(&pairs) {
            marks.break_at(first.len() + 1);
        }
        marks
    }

    fn break_at(&mut self, byte: usize) {
        self.broken = Some(self.broken.map_or(byte, |first| first.min(byte)));
    }

    /// Reads the first line.
    fn sentence(&mut self, line: &str, ontology: &Ontology) {
        let mut open: Vec<(usize, usize)> = Vec::new();
        let mut at = 0;
        while let Some(next) = escape::next(&line[at..]) {
            let mark = [('[', true), ('|', !open.is_empty())].into_iter().find(|&(mark, fits)| fits && next.is(mark));
            match mark {
                Some(('[', _)) => open.push((self.sentence.len(), at)),
                Some(_) => {
                    let (start, byte) = open.pop().expect("a bar is a mark only inside of brackets");
                    let fields = &line[at + 1..];
                    let Some(end) = position(fields, ']') else {
                        self.break_at(at);
                        return;
                    };
                    let range = start..self.sentence.len();
                    match Mention::of(&escape::split(&fields[..end], '|'), range, byte, ontology) {
                        Some(mention) => {
                            if mention.label.is_none() {
                                self.break_at(byte);
                            }
                            self.mentions.push(mention);
                        }
                        None => self.break_at(byte),
                    }
                    at += 1 + end;
                }
                None => {
                    if ['|', ']'].into_iter().any(|mark| next.is(mark)) {
                        self.break_at(at);
                    }
                    self.sentence.push(next.character);
                }
            }
            at += next.length;
        }
        if at < line.len() || !open.is_empty() {
            self.break_at(open.first().map_or(at, |&(_, byte)| byte));
        }
    }

    /// Puts the mentions in order and checks their numbers.
    fn number(&mut self) {
        // Inner brackets close first, and sorting keeps that order.
        self.mentions.sort_by_key(|mention| (mention.range.start, mention.range.end));
        let mut wrong = None;
        for (index, mention) in (0..).zip(&self.mentions) {
            let Some(number) = mention.number else { continue };
            self.numbers.entry(number).or_insert(index);
            if number != index + 1 {
                wrong = wrong.or(Some(mention.byte));
            }
        }
        if let Some(byte) = wrong {
            self.break_at(byte);
        }
    }

    /// Reads the line of a pair that begins at `byte`. `None` if it is not one.
    fn pair(&mut self, line: &str, byte: usize, ontology: &Ontology, pairs: &mut Vec<Pair>) -> Option<()> {
        let fields = escape::split(line, '|');
        let [numbers, forth, back] = fields.as_slice() else { return None };
        let (first, second) = numbers.split_once(' ')?;
        let (first, second) = (number(first)?, number(second)?);
        let [one, other] = [first, second].map(|number| self.numbers.get(&number).copied());
        let before = self.relations.len();
        for (slot, ends) in [(forth, [one, other]), (back, [other, one])] {
            if *slot == NONE {
                continue;
            }
            for name in escape::split(slot, '&') {
                let label = ontology.relation_named(&escape::unescaped(name));
                if label.is_none() {
                    self.break_at(byte);
                }
                self.relations.push(MarkedRelation { ends, label, byte });
            }
        }
        pairs.push(Pair { numbers: (first, second), related: self.relations.len() > before });
        Some(())
    }

    /// Whether these are the pairs that must have a line, and further ones only where they are related, in order.
    fn has_all(&self, pairs: &[Pair]) -> bool {
        let count = self.mentions.len() as u32;
        let near = |first: u32| (first + 1..count).take_while(move |&second| is_near(first, second));
        let mut wanted = (0..count).flat_map(|first| near(first).map(move |second| (first + 1, second + 1)));
        let mut next = wanted.next();
        let mut last = (0, 0);
        for pair in pairs {
            let (first, second) = pair.numbers;
            let inside = 0 < first && first < second && second <= count;
            if pair.numbers <= last || !inside {
                return false;
            }
            if Some(pair.numbers) == next {
                next = wanted.next();
            } else if is_near(first, second) || !pair.related {
                return false;
            }
            last = pair.numbers;
        }
        next.is_none()
    }
}

/// A line that was read.
struct Pair {
    numbers: (u32, u32),
    related: bool,
}

impl Mention {
    /// The mention with what follows its text. `None` if that is too much or too little, or the text is empty.
    fn of(fields: &[&str], range: Range<usize>, byte: usize, ontology: &Ontology) -> Option<Self> {
        let label = ontology.entity_named(&escape::unescaped(fields[0]));
        let related = !ontology.relations.is_empty();
        let (fields, number) = match fields {
            [fields @ .., last] if related => (fields, Some(number(last)?)),
            fields => (fields, None),
        };
        let subtype = match (label, fields) {
            (Some(label), [_]) if ontology.entity(label).subtypes.is_empty() => None,
            (Some(label), [_, name]) => Some(ontology.subtype_named(label, &escape::unescaped(name))?),
            (None, [_] | [_, _]) => None,
            _ => return None,
        };
        (!range.is_empty()).then_some(Self { range, label, subtype, number, byte })
    }
}

/// A number as it is written: without leading zeros.
fn number(written: &str) -> Option<u32> {
    let number: u32 = written.parse().ok()?;
    (number > 0 && written == number.to_string()).then_some(number)
}

/// The byte at which a mark stands.
pub(super) fn position(written: &str, mark: char) -> Option<usize> {
    let mut at = 0;
    while let Some(next) = escape::next(&written[at..]) {
        if next.is(mark) {
            return Some(at);
        }
        at += next.length;
    }
    None
}

/// A canonical answer in the marked form as data and as it is rendered, which is `text`; `None` for any other text.
pub(crate) fn read_canonical(text: &str, ontology: &Ontology) -> Option<(Answer, Rendered)> {
    let marks = Marks::read(text, ontology);
    let json = marks.json.filter(|_| marks.broken.is_none())?;
    let (answer, _) = crate::read_canonical::read_canonical(&text[json..], ontology)?;
    let places: Vec<Range<usize>> = marks.mentions.into_iter().map(|mention| mention.range).collect();
    let same = |(entity, place): (&crate::AnswerEntity, &Range<usize>)| entity.text == marks.sentence[place.clone()];
    if places.len() != answer.entities.len() || !answer.entities.iter().zip(&places).all(same) {
        return None;
    }
    let rendered = write::render(&marks.sentence, &places, &answer, ontology).ok()?;
    (rendered.text == text).then_some((answer, rendered))
}
