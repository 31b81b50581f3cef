//! Grammars for constrained decoding of the marked form, in the Lark dialect of llguidance.

use std::fmt::Write as _;
use std::sync::Arc;

use tabpo_corpus::{Document, Span, Unit};
use tabpo_ontology::{AnswerLimits, EntityLabelId, Ontology, RelationLabelId, SubtypeId};

use super::read::{Marks, position};
use super::{NONE, escape, is_near};
use crate::{AnswerEntity, AnswerRelation, canonical, render};

/// Most brackets that may be open at a time.
const DEPTH: usize = 4;

/// The grammars of the marked answers to one source text: the text itself with brackets between its words, the lines of
/// the pairs with relations within hard constraints, and the JSON that follows from both.
///
/// An answer is decoded in stages. [`MarkedGrammar::first`] is the grammar at the start, and whenever a bracket opens or
/// closes, the sentence ends or the JSON begins, [`MarkedGrammar::next`] gives another one. Each describes the whole answer
/// from its beginning up to the end of its stage, and lets anything follow, because a token may extend past that end; the
/// next grammar then accepts or refuses the token.
#[derive(Clone, Debug)]
pub struct MarkedGrammar {
    ontology: Arc<Ontology>,
    /// The unit as a document of its own, without annotation.
    document: Document,
    limits: AnswerLimits,
    /// The labels of mentions, in canonical order.
    labels: Vec<(EntityLabelId, Option<SubtypeId>)>,
}

/// How far the sentence is written.
#[derive(Debug, Default)]
struct State {
    /// The word at which it stands: the next one, or the one that has just ended.
    word: usize,
    /// Whether the word is still to come.
    before: bool,
    /// The open brackets, by their first words.
    open: Vec<usize>,
    /// The first words of all brackets so far.
    opened: Vec<usize>,
    /// The closed brackets: first word, last word, and position of the label.
    closed: Vec<(usize, usize, usize)>,
    /// The number of brackets so far, and the byte after the last one.
    stage: usize,
    end: usize,
}

/// What may follow the end of a stage.
const ANYTHING: &str = r"/(.|\n)*/";

impl MarkedGrammar {
    /// The grammars of the answers to a unit.
    pub fn new(ontology: Arc<Ontology>, unit: &Unit, limits: AnswerLimits) -> Self {
        let tokens: Vec<_> = unit.words().iter().map(|word| word.start as u32..word.end as u32).collect();
        let sentences = vec![Span::new(0, tokens.len() as u32)];
        let document = Document { text: unit.text().to_owned(), tokens, sentences, ..Document::default() };
        let labels = ontology.entity_ids().flat_map(|label| {
            let subtypes: Vec<Option<SubtypeId>> = ontology.subtype_ids(label).map(Some).collect();
            let subtypes = if subtypes.is_empty() { vec![None] } else { subtypes };
            subtypes.into_iter().map(move |subtype| (label, subtype))
        });
        let labels = labels.collect();
        Self { ontology, document, limits, labels }
    }

    /// The grammar at the start of an answer.
    pub fn first(&self) -> String {
        self.sentence("", &State { before: true, ..State::default() })
    }

    /// The grammar for `text`, the beginning of an answer, if `text` has reached a later stage than `stage` (0 at the
    /// start), with the number of the new stage.
    pub fn next(&self, text: &str, stage: usize) -> Option<(usize, String)> {
        let state = self.state(text)?;
        let Some(line_end) = text.find('\n') else {
            return (state.stage > stage).then(|| (state.stage, self.sentence(&text[..state.end], &state)));
        };
        match text[line_end..].find("\n{") {
            None => {
                let number = state.stage + 1;
                (number > stage).then(|| (number, self.pairs(&text[..=line_end], &state)))
            }
            Some(at) => {
                let number = state.stage + 2;
                let json = line_end + at + 1;
                (number > stage).then(|| Some((number, self.json(&text[..json])?))).flatten()
            }
        }
    }

    /// A word as it is written.
    fn word(&self, index: usize) -> String {
        escape::text(self.document.token(index))
    }

    /// What lies before a word, as it is written.
    fn gap(&self, index: usize) -> String {
        let tokens = &self.document.tokens;
        let start = index.checked_sub(1).map_or(0, |before| tokens[before].end as usize);
        escape::text(&self.document.text[start..tokens[index].start as usize])
    }

    /// How far a sentence is written that follows the grammars. `None` if it does not.
    fn state(&self, text: &str) -> Option<State> {
        let line = text.split('\n').next()?;
        let mut state = State { before: true, ..State::default() };
        // The byte of the source up to which it is written.
        let (mut at, mut source) = (0, 0);
        while let Some(next) = escape::next(&line[at..]) {
            if next.is('[') {
                state.word = self.document.tokens.partition_point(|token| (token.end as usize) <= source);
                state.before = true;
                state.open.push(state.word);
                state.opened.push(state.word);
            } else if next.is('|') {
                let fields = &line[at + 1..];
                let Some(end) = position(fields, ']') else { break };
                let fields = escape::split(&fields[..end], '|');
                let label = self.label(&fields)?;
                let last = self.document.tokens.partition_point(|token| (token.end as usize) < source);
                state.closed.push((state.open.pop()?, last, label));
                (state.word, state.before) = (last, false);
                at += 1 + end;
            } else {
                source += next.character.len_utf8();
                at += next.length;
                continue;
            }
            state.stage += 1;
            at += 1;
            state.end = at;
        }
        Some(state)
    }

    /// The position of a label with these fields, of which a number may be the last.
    fn label(&self, fields: &[&str]) -> Option<usize> {
        let names: Vec<String> = fields.iter().map(|field| escape::unescaped(field)).collect();
        self.labels.iter().position(|&(label, subtype)| {
            let subtype = subtype.map(|subtype| &self.ontology.subtype(label, subtype).name);
            names.first() == Some(&self.ontology.entity(label).name)
                && subtype.is_none_or(|subtype| names.get(1) == Some(subtype))
        })
    }

    /// The grammar of the sentence up to its next bracket or its end.
    fn sentence(&self, written: &str, state: &State) -> String {
        let mut rules = staged();
        let count = self.document.tokens.len();
        let start = if state.before { "word" } else { "after" };
        add(&mut rules, "start", &format!("{} {start}_{}", literal(written), state.word));
        for index in state.word..count {
            if index > state.word || state.before {
                let mut word = format!("{} after_{index}", literal(&self.word(index)));
                if self.may_open(state, index) {
                    write!(word, " | \"[\" {ANYTHING}").expect("writing to a string succeeds");
                }
                add(&mut rules, &format!("word_{index}"), &word);
            }
            let mut ways = Vec::new();
            ways.extend(self.closing(state, index));
            if index + 1 < count {
                ways.push(format!("{} word_{}", literal(&self.gap(index + 1)), index + 1));
            } else if state.open.is_empty() {
                ways.push(format!("\"\\n\" {ANYTHING}"));
            }
            add(&mut rules, &format!("after_{index}"), &ways.join(" | "));
        }
        rules
    }

    /// Whether a bracket may open before a word. Brackets that open together close at different words or with different
    /// labels, so there are no more of them than labels.
    fn may_open(&self, state: &State, index: usize) -> bool {
        let together = state.open.iter().filter(|&&first| first == index).count();
        state.open.len() < DEPTH && state.opened.len() < self.limits.entities && together < self.labels.len()
    }

    /// How the innermost bracket closes after a word, if one is open.
    fn closing(&self, state: &State, index: usize) -> Option<String> {
        let first = *state.open.last()?;
        // Mentions on the same words have different labels, in canonical order, and each leaves one to those around it.
        let inner = state.closed.last().filter(|&&(start, end, _)| (start, end) == (first, index));
        let from = inner.map_or(0, |&(.., label)| label + 1);
        let around = state.open.iter().rev().skip(1).take_while(|&&outer| outer == first).count();
        let last = index + 1 == self.document.tokens.len();
        let until = self.labels.len() - if last { around } else { 0 };
        let names =
            self.labels.get(from..until).filter(|labels| !labels.is_empty())?.iter().map(|&(label, subtype)| {
                let subtype =
                    subtype.map(|subtype| format!("|{}", escape::name(&self.ontology.subtype(label, subtype).name)));
                literal(&format!("{}{}", escape::name(&self.ontology.entity(label).name), subtype.unwrap_or_default()))
            });
        let names = names.collect::<Vec<_>>().join(" | ");
        let number = if self.ontology.relations.is_empty() {
            String::new()
        } else {
            let before = state.opened.iter().filter(|&&other| other < first).count();
            let inside = state.closed.iter().filter(|&&(start, ..)| start == first).count();
            format!("|{}", before + inside + 1)
        };
        Some(format!("\"|\" ( {names} ) {} {ANYTHING}", literal(&format!("{number}]"))))
    }

    /// The grammar of the lines between the sentence and the JSON.
    fn pairs(&self, written: &str, state: &State) -> String {
        let mut rules = staged();
        let mut mentions = state.closed.clone();
        mentions.sort_by_key(|&(first, last, _)| (first, last));
        let labels: Vec<EntityLabelId> = mentions.iter().map(|&(.., label)| self.labels[label].0).collect();
        let count = if self.ontology.relations.is_empty() { 0 } else { labels.len() };
        let mut slots: Vec<Vec<RelationLabelId>> = Vec::new();
        let slot = |slots: &mut Vec<Vec<RelationLabelId>>, head: usize, tail: usize| {
            let fits = |&id: &RelationLabelId| self.ontology.signature_allowed(id, labels[head], labels[tail]);
            let types: Vec<RelationLabelId> = self.ontology.relation_ids().filter(fits).collect();
            slots.iter().position(|other| *other == types).unwrap_or_else(|| {
                slots.push(types);
                slots.len() - 1
            })
        };
        let mut lines = String::new();
        for first in 0..count {
            for second in first + 1..count {
                let numbers = literal(&format!("{} {}|", first + 1, second + 1));
                let (forth, back) = (slot(&mut slots, first, second), slot(&mut slots, second, first));
                let line = if is_near(first as u32, second as u32) {
                    format!(" {numbers} slot_{forth} \"|\" slot_{back} \"\\n\"")
                } else {
                    // Only where it is related, if any type fits.
                    let ways = [
                        (forth, format!("some_{forth} \"|\" slot_{back}")),
                        (back, format!("\"{NONE}|\" some_{back}")),
                    ];
                    let ways = ways.into_iter().filter(|(slot, _)| !slots[*slot].is_empty()).map(|(_, way)| way);
                    let ways = ways.collect::<Vec<_>>().join(" | ");
                    if ways.is_empty() {
                        continue;
                    }
                    format!(" ( {numbers} ( {ways} ) \"\\n\" )?")
                };
                lines.push_str(&line);
            }
        }
        add(&mut rules, "start", &format!("{}{lines} \"{{\" {ANYTHING}", literal(written)));
        for (number, types) in slots.iter().enumerate() {
            if types.is_empty() {
                add(&mut rules, &format!("slot_{number}"), &literal(NONE));
                continue;
            }
            add(&mut rules, &format!("slot_{number}"), &format!("{} | some_{number}", literal(NONE)));
            // Several types in canonical order.
            let from = |index: usize| (index..types.len()).map(|at| format!("type_{number}_{at}")).collect::<Vec<_>>();
            for (index, &id) in types.iter().enumerate() {
                let mut body = literal(&escape::name(&self.ontology.relation(id).name));
                if index + 1 < types.len() {
                    write!(body, " ( \"&\" ( {} ) )?", from(index + 1).join(" | "))
                        .expect("writing to a string succeeds");
                }
                add(&mut rules, &format!("type_{number}_{index}"), &body);
            }
            add(&mut rules, &format!("some_{number}"), &from(0).join(" | "));
        }
        rules
    }

    /// The grammar of the JSON that follows from the marks: one text. `None` for marks that are not in their form.
    fn json(&self, written: &str) -> Option<String> {
        let marks = Marks::read(&format!("{written}{{}}"), &self.ontology);
        if marks.broken.is_some() {
            return None;
        }
        let tokens = &self.document.tokens;
        let entities = marks.mentions.iter().map(|mention| {
            let start = tokens.binary_search_by_key(&mention.range.start, |token| token.start as usize).ok()?;
            let end = tokens.binary_search_by_key(&mention.range.end, |token| token.end as usize).ok()?;
            let span = Some(Span::new(start as u32, end as u32 + 1));
            let text = marks.sentence[mention.range.clone()].to_owned();
            Some(AnswerEntity { text, span, label: mention.label?, subtype: mention.subtype, occurrence: None })
        });
        let relations = marks.relations.iter().map(|relation| {
            let [head, tail] = relation.ends;
            Some(AnswerRelation { head: head?, tail: tail?, label: relation.label? })
        });
        let unit = Unit { document: &self.document, sentence: None };
        let (entities, relations) = (entities.collect::<Option<_>>()?, relations.collect::<Option<_>>()?);
        let answer = render(&canonical(&unit, entities, relations), &self.ontology).text;
        let mut rules = staged();
        add(&mut rules, "start", &literal(&format!("{written}{answer}")));
        Some(rules)
    }
}

/// Rules that leave it to the model how fixed text is split into tokens, as it was trained to.
fn staged() -> String {
    "%llguidance {\"no_forcing\": true}\n".to_owned()
}

/// Adds the rule `name: body`.
fn add(rules: &mut String, name: &str, body: &str) {
    writeln!(rules, "{name}: {body}").expect("writing to a string succeeds");
}

/// A literal of the grammar. Lark and JSON quote strings alike.
fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
