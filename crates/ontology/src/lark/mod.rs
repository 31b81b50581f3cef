//! Grammars for constrained decoding: in the Lark dialect of llguidance, and as one piece in GBNF too.
//!
//! None of them has free white space: JSON is written as the model was trained to write it, and a model can't get lost in
//! blanks between its parts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

use crate::{Arguments, EntityLabelId, Ontology, RelationLabelId, canonical_name};

mod rules;
mod whole;

pub use rules::GrammarForm;
use rules::{
    RelationFrame, Rules, any_relation, chunks, entity_labels, entity_opening, escaped, literal, quoted, relations_tail,
};

/// The grammars of the answers to one source text: canonical JSON with exact keys and labels, ids in
/// order, texts that are words of the source and used no more often than they occur in it, and
/// relations between different entities of the answer.
///
/// What may come next depends on what was written: which texts are used up, which ids exist. So an
/// answer is decoded in stages. [`AnswerGrammar::first`] is the grammar at the start; whenever an entity
/// or the entity list is closed, [`AnswerGrammar::next`] gives another one. Each describes the whole
/// answer, beginning with what is already written, and looks one entity beyond its stage, because a
/// token may extend past the end of a stage. A server that takes one grammar for each request gets
/// [`AnswerGrammar::whole`], which promises less.
#[derive(Clone, Debug)]
pub struct AnswerGrammar {
    ontology: Arc<Ontology>,
    source: String,
    words: Vec<Range<usize>>,
    limits: AnswerLimits,
    /// The source as words and the gaps between them, escaped as in a JSON string.
    chunks: Value,
    /// Texts that occur more than once.
    repeated: Vec<String>,
}

/// How long an answer may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerLimits {
    /// Largest number of entities.
    pub entities: usize,
    /// Largest number of relations.
    pub relations: usize,
}

impl AnswerLimits {
    /// Limits for a source of this many words: one entity for every two words, but at least 8 and at most
    /// 64, and as many relations.
    pub fn for_words(words: usize) -> Self {
        let entities = (words / 2).clamp(8, 64);
        Self { entities, relations: entities }
    }
}

impl AnswerGrammar {
    /// The grammars for a source text whose words lie at these byte ranges, in order and without
    /// overlap. A span may start and end only where a word does.
    pub fn new(ontology: Arc<Ontology>, source: &str, words: &[Range<usize>], limits: AnswerLimits) -> Self {
        let chunks = chunks(source, words);
        let repeated = repeated_texts(source, words);
        Self { ontology, source: source.to_owned(), words: words.to_vec(), limits, chunks, repeated }
    }

    /// The grammar at the start of an answer.
    pub fn first(&self) -> String {
        self.entity_stage(&format!("{{{}:[", quoted(&self.ontology.keys.entities)), &[])
    }

    /// The grammar for `text`, the beginning of an answer, if `text` has reached a later stage than
    /// `stage` (0 at the start), with the number of the new stage.
    pub fn next(&self, text: &str, stage: usize) -> Option<(usize, String)> {
        let progress = Progress::of(text);
        if progress.stage() <= stage {
            return None;
        }
        let written = &text[..progress.end];
        let closing = if progress.list_closed { "}" } else { "]}" };
        let answer: Value = serde_json::from_str(&format!("{written}{closing}")).ok()?;
        let entities = answer.get(&self.ontology.keys.entities)?.as_array()?;
        if !progress.list_closed {
            return Some((progress.stage(), self.entity_stage(written, entities)));
        }
        if self.ontology.relations.is_empty() {
            return None;
        }
        let label = |entity: &Value| self.ontology.entity_named(entity.get(&self.ontology.keys.entity_type)?.as_str()?);
        let labels: Vec<EntityLabelId> = entities.iter().map(label).collect::<Option<_>>()?;
        let texts: Vec<&str> = entities.iter().map(|entity| self.text_of(entity)).collect::<Option<_>>()?;
        Some((progress.stage(), self.relation_stage(written, &labels, &texts)))
    }

    /// The grammar up to the next entity, and of whatever the same token may contain beyond it.
    fn entity_stage(&self, written: &str, entities: &[Value]) -> String {
        let keys = &self.ontology.keys;
        let linked = !self.ontology.relations.is_empty();
        let mut rules = staged();
        let repeated = self.repeated(entities);
        let exhausted = self.exhausted(entities, &repeated);
        let limit = if self.has_text_beside(&exhausted) { self.limits.entities } else { 0 };
        let left = limit.saturating_sub(entities.len()).min(2);
        rules.add("start", &format!("{} list_0 tail", literal(written)));
        for index in 0..left {
            let number = entities.len() + index + 1;
            let open = entity_opening(&self.ontology, number);
            rules.add(&format!("list_{index}"), &format!("\"]\" | {open} entity list_{}", index + 1));
        }
        rules.add(&format!("list_{left}"), "\"]\"");
        if left > 0 {
            let to_type = literal(&format!("\",{}:\"", quoted(&keys.entity_type)));
            let mut entity = format!("SPAN {to_type} label \"}}\"");
            let mut groups: BTreeMap<&[usize], Vec<String>> = BTreeMap::new();
            for (text, free) in &repeated {
                groups.entry(free).or_default().push(literal(&escaped(text)));
            }
            for (free, texts) in groups {
                let texts = texts.join(" | ");
                write!(entity, " | ( {texts} ) {to_type} label {} \"}}\"", self.occurrence(free))
                    .expect("writing to a string succeeds");
            }
            rules.add("entity", &entity);
            rules.add("label", &entity_labels(&self.ontology));
            rules.add_source(&self.chunks);
            let excluded = exhausted.iter().copied().chain(repeated.iter().map(|(text, _)| *text));
            rules.add("SPAN", &span(&excluded.collect::<Vec<_>>(), self.source.contains(ESCAPED_BLANKS)));
        }
        if linked {
            // The next stage decides; these rules only let a token reach into it.
            rules.add("tail", &relations_tail(&self.ontology));
            rules.add("relation", &any_relation(&self.ontology));
            match self.ontology.arguments {
                Arguments::Ids => rules.add("ID", "/e[1-9][0-9]*/"),
                Arguments::Texts => {
                    rules.add("ID", r#"/([^"\\]|\\.)+/"#);
                    rules.add("NUMBER", "/[1-9][0-9]*/");
                }
            }
        } else {
            rules.add("tail", "\"}\"");
        }
        rules.text
    }

    /// The grammar of the relations between entities with these labels and texts, within domain and range where those are
    /// hard.
    fn relation_stage(&self, written: &str, labels: &[EntityLabelId], texts: &[&str]) -> String {
        let mut rules = staged();
        let prefix = literal(&format!("{written},{}:[", quoted(&self.ontology.keys.relations)));
        rules.add("start", &format!("{prefix} relations \"]}}\""));
        let RelationFrame { open, to_type, to_tail } = RelationFrame::of(&self.ontology);
        let mut heads = Vec::new();
        for head in 0..labels.len() {
            let groups = self.types_by_tails(head, labels);
            if groups.is_empty() {
                continue;
            }
            let alternatives: Vec<String> = groups
                .iter()
                .map(|(tails, types)| {
                    let name = |&id: &RelationLabelId| literal(&escaped(&self.ontology.relation(id).name));
                    let names: Vec<String> = types.iter().map(name).collect();
                    let tail_number = &self.ontology.keys.tail_number;
                    let tail = |&tail: &usize| literal(&format!("{}}}", self.argument(tail, texts, tail_number)));
                    let tails: Vec<String> = tails.iter().map(tail).collect();
                    format!("( {} ) {} ( {} )", names.join(" | "), literal(&to_tail), tails.join(" | "))
                })
                .collect();
            let name = self.argument(head, texts, &self.ontology.keys.head_number);
            let start = literal(&format!("{name}{to_type}"));
            rules.add(&format!("head_{head}"), &format!("{start} ( {} )", alternatives.join(" | ")));
            heads.push(format!("head_{head}"));
        }
        if heads.is_empty() || self.limits.relations == 0 {
            rules.add("relations", "\"\"");
        } else {
            rules.add("relation", &heads.join(" | "));
            let more = literal(&format!(",{open}"));
            let limit = self.limits.relations - 1;
            rules.add("relations", &format!("( {} relation ( {more} relation ){{0,{limit}}} )?", literal(&open)));
        }
        rules.text
    }

    /// How a relation names the entity at this position: with its id or its text, the quote at the end, and its number
    /// under this key where several entities have its text.
    fn argument(&self, index: usize, texts: &[&str], number_key: &str) -> String {
        if self.ontology.arguments == Arguments::Ids {
            return format!("e{}\"", index + 1);
        }
        let text = texts[index];
        let same = |others: &[&str]| others.iter().filter(|other| same_text(other, text)).count();
        let number =
            if same(texts) > 1 { format!(",{}:{}", quoted(number_key), same(&texts[..=index])) } else { String::new() };
        format!("{}\"{number}", escaped(text))
    }

    /// Relation types that may have the entity `head` as their head, grouped by the tails they allow.
    fn types_by_tails(&self, head: usize, labels: &[EntityLabelId]) -> Vec<(Vec<usize>, Vec<RelationLabelId>)> {
        let mut groups: Vec<(Vec<usize>, Vec<RelationLabelId>)> = Vec::new();
        for id in self.ontology.relation_ids() {
            let fits = |&tail: &usize| tail != head && self.ontology.signature_allowed(id, labels[head], labels[tail]);
            let tails: Vec<usize> = (0..labels.len()).filter(fits).collect();
            if tails.is_empty() {
                continue;
            }
            match groups.iter_mut().find(|(other, _)| *other == tails) {
                Some((_, types)) => types.push(id),
                None => groups.push((tails, vec![id])),
            }
        }
        groups
    }

    /// The occurrence key with one of these values, or nothing.
    fn occurrence(&self, free: &[usize]) -> String {
        let numbers: Vec<String> = free.iter().map(|index| literal(&(index + 1).to_string())).collect();
        let key = literal(&format!(",{}:", quoted(&self.ontology.keys.occ)));
        format!("( {key} ( {} ) )?", numbers.join(" | "))
    }

    /// Texts that occur more than once and are not used up, with their free occurrences: only these may be
    /// written with an occurrence number.
    fn repeated(&self, entities: &[Value]) -> Vec<(&str, Vec<usize>)> {
        let taken = self.taken(entities);
        let mut repeated = Vec::new();
        for text in &self.repeated {
            let free: Vec<usize> = (0..self.starts(text).len())
                .filter(|&index| !taken.iter().any(|(other, taken)| other == text && *taken == index))
                .collect();
            if !free.is_empty() {
                repeated.push((text.as_str(), free));
            }
        }
        repeated
    }

    /// Texts that have been written as often as they occur in the source.
    fn exhausted<'e>(&self, entities: &'e [Value], repeated: &[(&str, Vec<usize>)]) -> Vec<&'e str> {
        let mut exhausted: Vec<&str> = Vec::new();
        for text in entities.iter().filter_map(|entity| self.text_of(entity)) {
            if !exhausted.contains(&text) && !repeated.iter().any(|(other, _)| *other == text) {
                exhausted.push(text);
            }
        }
        exhausted
    }

    /// Which occurrence each written entity stands for: the numbered one, else the leftmost free one that
    /// does not start before the preceding entity, else the leftmost free one.
    fn taken<'e>(&self, entities: &'e [Value]) -> Vec<(&'e str, usize)> {
        let mut taken: Vec<(&str, usize)> = Vec::new();
        let mut earliest = 0;
        for entity in entities {
            let Some(text) = self.text_of(entity) else { continue };
            let starts = self.starts(text);
            let is_free = |index: usize| !taken.contains(&(text, index));
            let named = entity.get(&self.ontology.keys.occ).and_then(Value::as_u64).map(|number| number as usize - 1);
            let free = (0..starts.len()).filter(|&index| is_free(index));
            let choice =
                named.or_else(|| free.clone().find(|&index| starts[index] >= earliest)).or_else(|| free.clone().next());
            if let Some(&start) = choice.and_then(|index| starts.get(index)) {
                earliest = start;
            }
            taken.extend(choice.map(|index| (text, index)));
        }
        taken
    }

    fn text_of<'e>(&self, entity: &'e Value) -> Option<&'e str> {
        entity.get(&self.ontology.keys.text)?.as_str()
    }

    /// Whether the source has a text that is not exhausted.
    fn has_text_beside(&self, exhausted: &[&str]) -> bool {
        let mut texts =
            self.words.iter().enumerate().flat_map(|(first, start)| {
                self.words[first..].iter().map(move |end| &self.source[start.start..end.end])
            });
        texts.any(|text| !exhausted.contains(&text))
    }

    /// Where a text occurs in the source from the start of a word to the end of a word.
    fn starts(&self, text: &str) -> Vec<usize> {
        starts(&self.source, &self.words, text)
    }
}

/// Whether two texts of entities count as the same: blanks and composition make no difference.
fn same_text(one: &str, other: &str) -> bool {
    let words = |text: &str| text.split_whitespace().map(|word| canonical_name(word).into_owned()).collect::<Vec<_>>();
    one == other || words(one) == words(other)
}

fn starts(source: &str, words: &[Range<usize>], text: &str) -> Vec<usize> {
    let occurs = |word: &&Range<usize>| {
        let end = word.start + text.len();
        source[word.start..].starts_with(text) && words.binary_search_by_key(&end, |other| other.end).is_ok()
    };
    words.iter().filter(occurs).map(|word| word.start).collect()
}

/// Texts of neighbouring words that occur more than once, each listed once. A text can only repeat where
/// its beginning does.
fn repeated_texts(source: &str, words: &[Range<usize>]) -> Vec<String> {
    let mut repeated: Vec<String> = Vec::new();
    for (first, start) in words.iter().enumerate() {
        for end in &words[first..] {
            let text = &source[start.start..end.end];
            if starts(source, words, text).len() < 2 {
                break;
            }
            if !repeated.iter().any(|other| other == text) {
                repeated.push(text.to_owned());
            }
        }
    }
    repeated
}

/// White space that JSON writes as an escape.
const ESCAPED_BLANKS: [char; 4] = ['\t', '\n', '\r', '\u{c}'];

/// One or more neighbouring chunks of the source, trimmed, except the excluded texts; `escapes` says
/// whether the source has [`ESCAPED_BLANKS`].
fn span(excluded: &[&str], escapes: bool) -> String {
    let mut span = r"SOURCE & /[^ ](.*[^ ])?/".to_owned();
    if escapes {
        // At the end, a backslash before the letter begins an escape only if it is not escaped itself.
        span.push_str(r" & ~/\\[tnrf](.*)/ & ~/(.*[^\\])?(\\\\)*\\[tnrf]/");
    }
    if !excluded.is_empty() {
        let texts: Vec<String> = excluded.iter().map(|text| literal(&escaped(text))).collect();
        write!(span, " & ~( {} )", texts.join(" | ")).expect("writing to a string succeeds");
    }
    span
}

/// Rules that leave it to the model how fixed text is split into tokens, as it was trained to.
fn staged() -> Rules {
    Rules { text: "%llguidance {\"no_forcing\": true}\n".to_owned(), ..Rules::default() }
}

/// How far an answer has got.
struct Progress {
    /// Number of closed entities.
    entities: usize,
    /// Whether the list of entities is closed.
    list_closed: bool,
    /// The byte after the last bracket that closed an entity or the list.
    end: usize,
}

impl Progress {
    fn of(text: &str) -> Self {
        let mut progress = Self { entities: 0, list_closed: false, end: 0 };
        let (mut in_string, mut is_escaped) = (false, false);
        for (position, byte) in text.bytes().enumerate() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if in_string => is_escaped = true,
                b'"' => in_string = !in_string,
                b'}' if !in_string => {
                    progress.entities += 1;
                    progress.end = position + 1;
                }
                b']' if !in_string => {
                    return Self { list_closed: true, end: position + 1, ..progress };
                }
                _ => {}
            }
        }
        progress
    }

    fn stage(&self) -> usize {
        self.entities + usize::from(self.list_closed)
    }
}
