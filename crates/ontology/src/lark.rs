//! Grammars for constrained decoding, in the Lark dialect of llguidance.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{EntityLabel, EntityLabelId, Ontology, RelationLabelId};

/// Grammars of the answers to one source text: canonical JSON with exact keys and labels, ids in
/// order, texts that are words of the source and named no more often than they occur in it, and
/// relations between different entities of the answer.
///
/// What may come next depends on what was written: which texts are used up, which ids there are. So
/// an answer has stages. [`AnswerGrammar::first`] is the grammar at the start; whenever an entity or
/// the entity list is closed, [`AnswerGrammar::next`] gives another one. Each describes the whole
/// answer, beginning with what is already written, and looks one entity further than its stage,
/// because a token may reach over the end of a stage.
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
    /// Limits for a source of this many words: an entity for every other word, and as many relations,
    /// but at least 8 and at most 64.
    pub fn for_words(words: usize) -> Self {
        let entities = (words / 2).clamp(8, 64);
        Self { entities, relations: entities }
    }
}

impl AnswerGrammar {
    /// The grammars for a source text whose words lie at these byte ranges, in order and without
    /// overlap. A span may start and end only where a word does.
    pub fn new(ontology: Arc<Ontology>, source: &str, words: &[Range<usize>], limits: AnswerLimits) -> Self {
        let mut chunks = Vec::with_capacity(2 * words.len());
        let mut end = None;
        for word in words {
            if let Some(end) = end.filter(|&end| end < word.start) {
                chunks.push(Value::from(escaped(&source[end..word.start])));
            }
            chunks.push(Value::from(escaped(&source[word.clone()])));
            end = Some(word.end);
        }
        let chunks = Value::Array(chunks);
        let repeated = repeated_texts(source, words);
        Self { ontology, source: source.to_owned(), words: words.to_vec(), limits, chunks, repeated }
    }

    /// The grammar from the start.
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
        Some((progress.stage(), self.relation_stage(written, &labels)))
    }

    /// The next entity, and whatever a token may hold beyond it.
    fn entity_stage(&self, written: &str, entities: &[Value]) -> String {
        let keys = &self.ontology.keys;
        let linked = !self.ontology.relations.is_empty();
        let mut rules = Rules::new();
        let repeated = self.repeated(entities);
        let exhausted = self.exhausted(entities, &repeated);
        let limit = if self.has_text_beside(&exhausted) { self.limits.entities } else { 0 };
        let left = limit.saturating_sub(entities.len()).min(2);
        rules.add("start", &format!("{} list_0 tail", literal(written)));
        for index in 0..left {
            let number = entities.len() + index + 1;
            let id = if linked { format!("{}:\"e{number}\",", quoted(&keys.id)) } else { String::new() };
            let comma = if number > 1 { "," } else { "" };
            let open = literal(&format!("{comma}{{{id}{}:\"", quoted(&keys.text)));
            rules.add(&format!("list_{index}"), &format!("\"]\" | {open} entity list_{}", index + 1));
        }
        rules.add(&format!("list_{left}"), "\"]\"");
        if left > 0 {
            let to_type = literal(&format!("\",{}:\"", quoted(&keys.entity_type)));
            let labels: Vec<String> = self.ontology.entities.iter().map(|label| self.label(label)).collect();
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
            rules.add("label", &labels.join(" | "));
            let regex = Map::from_iter([("substring_chunks".to_owned(), self.chunks.clone())]);
            rules.add("SOURCE", &format!("%regex {}", Value::Object(regex)));
            let excluded = exhausted.iter().copied().chain(repeated.iter().map(|(text, _)| *text));
            rules.add("SPAN", &span(&excluded.collect::<Vec<_>>(), self.source.contains(ESCAPED_BLANKS)));
        }
        if linked {
            // Checked by the next stage; here only so that a token may reach into it.
            let names: Vec<String> =
                self.ontology.relations.iter().map(|label| literal(&escaped(&label.name))).collect();
            let (open, to_type, to_tail) = self.relation_pieces();
            rules.add(
                "tail",
                &format!(
                    "{} ( relation ( \",\" relation )* )? \"]}}\"",
                    literal(&format!(",{}:[", quoted(&keys.relations)))
                ),
            );
            rules.add(
                "relation",
                &format!(
                    "{} ID {} ( {} ) {} ID {}",
                    literal(&open),
                    literal(&to_type),
                    names.join(" | "),
                    literal(&to_tail),
                    literal("\"}")
                ),
            );
            rules.add("ID", "/e[1-9][0-9]*/");
        } else {
            rules.add("tail", "\"}\"");
        }
        rules.text
    }

    /// The relations between these entities, inside domain and range where these are hard.
    fn relation_stage(&self, written: &str, labels: &[EntityLabelId]) -> String {
        let mut rules = Rules::new();
        let prefix = literal(&format!("{written},{}:[", quoted(&self.ontology.keys.relations)));
        rules.add("start", &format!("{prefix} relations \"]}}\""));
        let (open, to_type, to_tail) = self.relation_pieces();
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
                    let tails: Vec<String> = tails.iter().map(|tail| literal(&format!("e{}\"}}", tail + 1))).collect();
                    format!("( {} ) {} ( {} )", names.join(" | "), literal(&to_tail), tails.join(" | "))
                })
                .collect();
            let start = literal(&format!("e{}{to_type}", head + 1));
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

    /// Relation types that the entity `head` may begin, grouped by the tails that they may have.
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

    /// What stands before the head, between head and type, and between type and tail.
    fn relation_pieces(&self) -> (String, String, String) {
        let keys = &self.ontology.keys;
        (
            format!("{{{}:\"", quoted(&keys.head)),
            format!("\",{}:\"", quoted(&keys.relation_type)),
            format!("\",{}:\"", quoted(&keys.tail)),
        )
    }

    /// A label up to its closing quote, with its sub-label if it has any.
    fn label(&self, label: &EntityLabel) -> String {
        let name = escaped(&label.name);
        if label.subtypes.is_empty() {
            return literal(&format!("{name}\""));
        }
        let subtypes = label.subtypes.iter().map(|subtype| literal(&format!("{}\"", escaped(&subtype.name))));
        let key = literal(&format!("{name}\",{}:\"", quoted(&self.ontology.keys.subtype)));
        format!("{key} ( {} )", subtypes.collect::<Vec<_>>().join(" | "))
    }

    /// The occurrence key with one of these values, or nothing.
    fn occurrence(&self, free: &[usize]) -> String {
        let numbers: Vec<String> = free.iter().map(|index| literal(&(index + 1).to_string())).collect();
        let key = literal(&format!(",{}:", quoted(&self.ontology.keys.occ)));
        format!("( {key} ( {} ) )?", numbers.join(" | "))
    }

    /// Texts that occur more than once and are not used up, with their free occurrences: the only ones
    /// for which an occurrence may be named.
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

    /// Texts that were written as often as they occur in the source.
    fn exhausted<'e>(&self, entities: &'e [Value], repeated: &[(&str, Vec<usize>)]) -> Vec<&'e str> {
        let mut exhausted: Vec<&str> = Vec::new();
        for text in entities.iter().filter_map(|entity| self.text_of(entity)) {
            if !exhausted.contains(&text) && !repeated.iter().any(|(other, _)| *other == text) {
                exhausted.push(text);
            }
        }
        exhausted
    }

    /// Which occurrence each written entity stands for: the named one, else the leftmost free one that
    /// does not start before the entity before, else the leftmost free one.
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

    /// Whether the source has a text that is not used up.
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

fn starts(source: &str, words: &[Range<usize>], text: &str) -> Vec<usize> {
    let occurs = |word: &&Range<usize>| {
        let end = word.start + text.len();
        source[word.start..].starts_with(text) && words.binary_search_by_key(&end, |other| other.end).is_ok()
    };
    words.iter().filter(occurs).map(|word| word.start).collect()
}

/// Texts of neighbouring words that occur more than once, each listed once. A longer text repeats only
/// where its beginning does.
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

/// Blanks that JSON writes as an escape.
const ESCAPED_BLANKS: [char; 4] = ['\t', '\n', '\r', '\u{c}'];

/// One or more neighbouring chunks of the source without blanks at either end, but none of the
/// excluded texts; `escapes` says whether the source has [`ESCAPED_BLANKS`].
fn span(excluded: &[&str], escapes: bool) -> String {
    let mut span = r"SOURCE & /[^ ](.*[^ ])?/".to_owned();
    if escapes {
        // At the end, a backslash before the letter begins an escape only if it is not one itself.
        span.push_str(r" & ~/\\[tnrf](.*)/ & ~/(.*[^\\])?(\\\\)*\\[tnrf]/");
    }
    if !excluded.is_empty() {
        let texts: Vec<String> = excluded.iter().map(|text| literal(&escaped(text))).collect();
        write!(span, " & ~( {} )", texts.join(" | ")).expect("writing to a string succeeds");
    }
    span
}

/// A grammar under construction.
struct Rules {
    text: String,
}

impl Rules {
    /// The model, not the grammar, decides how fixed text is cut into tokens: it was trained on one way
    /// of cutting it.
    fn new() -> Self {
        Self { text: "%llguidance {\"no_forcing\": true}\n".to_owned() }
    }

    fn add(&mut self, name: &str, body: &str) {
        writeln!(self.text, "{name}: {body}").expect("writing to a string succeeds");
    }
}

/// How far an answer has got.
struct Progress {
    /// Number of closed entities.
    entities: usize,
    /// Whether the list of entities is closed.
    list_closed: bool,
    /// The byte after the last bracket that closed either.
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

/// A text as a JSON string, which is also how a literal of the grammar is written.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A text as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = quoted(text);
    quoted[1..quoted.len() - 1].to_owned()
}

/// A literal of the grammar.
fn literal(text: &str) -> String {
    quoted(text)
}
