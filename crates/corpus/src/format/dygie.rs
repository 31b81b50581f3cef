//! `DyGIE` JSONL: tokens, inclusive token offsets counted from the document's start.
//!
//! `{"doc_key", "sentences": [[token]], "ner": [[[start, end, label]]], "relations":
//! [[[start, end, start, end, label]]], "clusters": [[[start, end]]]}` with one list for each sentence.
//! The source text is the tokens joined by single spaces, with the Penn Treebank's brackets
//! (`-LRB-` and so on) written as brackets. Relations name their arguments by span, in any sentence of
//! the document. Numbers after a label, as predictions have them, are counted as not read, and so are
//! tokens without a visible character, which offsets count. `SciER` writes `doc_id` for `doc_key`.

use std::{borrow::Cow, collections::BTreeSet, fmt, marker::PhantomData, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::json;
use tabpo_ontology::Ontology;

use crate::{
    Document, Mention, Note, Notes, Problem, Relation, Span,
    annotate::{mention_label, relation_label},
    format::{
        json::Name,
        lines::{LineError, Origin},
    },
    is_blank,
};

/// Penn Treebank names of brackets and the brackets; a bijection.
const BRACKETS: [(&str, &str); 6] =
    [("-LRB-", "("), ("-RRB-", ")"), ("-LSB-", "["), ("-RSB-", "]"), ("-LCB-", "{"), ("-RCB-", "}")];

/// The bracket that a Penn Treebank token stands for; any other token is itself.
fn bracket_from_treebank(token: &str) -> &str {
    BRACKETS.iter().find(|(name, _)| *name == token).map_or(token, |(_, bracket)| bracket)
}

/// The Penn Treebank's name of a bracket; any other token is itself.
fn bracket_to_treebank(token: &str) -> &str {
    BRACKETS.iter().find(|(_, bracket)| *bracket == token).map_or(token, |(name, _)| name)
}

/// A string of a line, copied only if it has escapes.
#[derive(Debug, Deserialize, PartialEq)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// A list for each sentence, or for each cluster.
pub(super) type Lists<T> = Vec<Vec<T>>;

/// First and last token, label.
pub(super) type MentionEntry<'a> = Labelled<'a, 2>;

/// Head start and end, tail start and end, type.
pub(super) type RelationEntry<'a> = Labelled<'a, 4>;

/// An entry of a list: offsets, a label, and perhaps more after it.
#[derive(Debug, PartialEq)]
pub(super) struct Labelled<'a, const N: usize> {
    pub(super) offsets: [i64; N],
    pub(super) name: Text<'a>,
    /// Whether something follows the label.
    pub(super) more: bool,
}

impl<'de: 'a, 'a, const N: usize> Deserialize<'de> for Labelled<'a, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts<'a, const N: usize>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a, const N: usize> Visitor<'de> for Parts<'a, N> {
            type Value = Labelled<'a, N>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "a list of {N} offsets and a label")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Labelled<'a, N>, A::Error> {
                let mut offsets = [0; N];
                for (index, offset) in offsets.iter_mut().enumerate() {
                    *offset = parts.next_element()?.ok_or_else(|| A::Error::invalid_length(index, &self))?;
                }
                let name = parts.next_element()?.ok_or_else(|| A::Error::invalid_length(N, &self))?;
                let mut more = false;
                while parts.next_element::<IgnoredAny>()?.is_some() {
                    more = true;
                }
                Ok(Labelled { offsets, name, more })
            }
        }

        deserializer.deserialize_seq(Parts(PhantomData))
    }
}

/// The sentences of a line in the form of a [`Document`].
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sentences {
    /// The tokens with single spaces between them.
    text: String,
    tokens: Vec<Range<u32>>,
    spans: Vec<Span>,
    /// For every token of the file, and for its end, the number of tokens before it that are kept.
    kept_before: Vec<u32>,
    /// The sentences as ranges of the file's tokens.
    listed: Vec<Span>,
    /// Tokens that are literal brackets.
    literal_brackets: u64,
}

impl Sentences {
    /// Adds a token to the last sentence.
    fn push(&mut self, token: &str) {
        self.kept_before.push(self.tokens.len() as u32);
        if token.chars().all(is_blank) {
            return;
        }
        self.literal_brackets += u64::from(bracket_to_treebank(token) != token);
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        let start = self.text.len() as u32;
        self.text.push_str(bracket_from_treebank(token));
        self.tokens.push(start..self.text.len() as u32);
    }

    /// Ends the last sentence.
    fn end(&mut self) {
        for (spans, tokens) in [(&mut self.spans, self.tokens.len()), (&mut self.listed, self.kept_before.len())] {
            let start = spans.last().map_or(0, |span| span.end);
            spans.push(Span::new(start, tokens as u32));
        }
    }
}

impl From<Lists<Text<'_>>> for Sentences {
    fn from(lists: Lists<Text>) -> Self {
        let mut sentences = Self::default();
        for list in lists {
            for Text(token) in list {
                sentences.push(&token);
            }
            sentences.end();
        }
        sentences.kept_before.push(sentences.tokens.len() as u32);
        sentences
    }
}

/// The fields of a line that are read.
const FIELDS: [&str; 6] = ["doc_key", "doc_id", "sentences", "ner", "relations", "clusters"];

/// First and last token of a member of a cluster.
#[derive(Debug, PartialEq)]
pub(super) struct ClusterSpan(i64, i64);

impl<'de> Deserialize<'de> for ClusterSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let offsets = Vec::<i64>::deserialize(deserializer)?;
        match offsets[..] {
            [start, end] => Ok(Self(start, end)),
            _ => Err(D::Error::invalid_length(offsets.len(), &"a list of 2 offsets")),
        }
    }
}

/// What a line says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct RawLine<'a> {
    pub(super) key: Option<String>,
    pub(super) sentences: Option<Sentences>,
    pub(super) ner: Option<Lists<MentionEntry<'a>>>,
    pub(super) relations: Option<Lists<RelationEntry<'a>>>,
    pub(super) clusters: Option<Lists<ClusterSpan>>,
    /// The names of all other fields.
    pub(super) unknown: BTreeSet<String>,
}

/// Reads known and unknown fields in one pass.
impl<'de> Deserialize<'de> for RawLine<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = RawLine<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<RawLine<'de>, M::Error> {
                let mut line = RawLine::default();
                let mut seen = Vec::with_capacity(FIELDS.len());
                let mut other_key = None;
                while let Some(Text(name)) = map.next_key()? {
                    if let Some(&field) = FIELDS.iter().find(|field| **field == name) {
                        if seen.contains(&field) {
                            return Err(M::Error::duplicate_field(field));
                        }
                        seen.push(field);
                    }
                    match &*name {
                        "doc_key" => line.key = map.next_value::<Option<Name>>()?.map(|Name(key)| key),
                        "doc_id" => other_key = map.next_value::<Option<Name>>()?.map(|Name(key)| key),
                        "sentences" => line.sentences = map.next_value::<Option<Lists<Text>>>()?.map(Sentences::from),
                        "ner" => line.ner = map.next_value()?,
                        "relations" => line.relations = map.next_value()?,
                        "clusters" => line.clusters = map.next_value()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            line.unknown.insert(name.into_owned());
                        }
                    }
                }
                line.key = line.key.or(other_key);
                Ok(line)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// The document that a line describes.
pub(crate) fn parse(
    content: &str,
    _origin: Origin<'_>,
    ontology: &Ontology,
    notes: &mut Notes,
) -> Result<Document, LineError> {
    let mut line: RawLine = serde_json::from_str(content)?;
    for field in std::mem::take(&mut line.unknown) {
        notes.add(Note::IgnoredField(field));
    }
    let Some(key) = line.key.take() else {
        return Err(LineError::of(None)(Problem::MissingName { field: "doc_key" }));
    };
    document(&key, line, Ends::Inclusive, ontology, notes).map_err(LineError::of(Some(&key)))
}

/// What the second of two token offsets is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// The last token.
    Inclusive,
    /// One past it.
    Exclusive,
}

/// The document that a line describes.
pub(super) fn document(
    key: &str,
    line: RawLine,
    ends: Ends,
    ontology: &Ontology,
    notes: &mut Notes,
) -> Result<Document, Problem> {
    let sentences = line.sentences.ok_or(Problem::MissingField { field: "sentences" })?;
    (0..sentences.literal_brackets).for_each(|_| notes.add(Note::LiteralBracket));
    let Sentences { text, tokens, spans, kept_before, listed, .. } = sentences;
    (tokens.len() + 1..kept_before.len()).for_each(|_| notes.ignore("blank tokens"));
    let offsets = Offsets { ends, kept_before };
    let mut document = Document { key: key.to_owned(), text, tokens, sentences: spans, ..Document::default() };

    let ner = per_sentence("ner", line.ner, document.sentences.len())?;
    let mut mentions: Vec<Mention> = Vec::new();
    for (&sentence, list) in listed.iter().zip(&ner) {
        for Labelled { offsets: [start, end], name: Text(name), more } in list {
            let span = offsets.span("ner span", (*start, *end), sentence, "its sentence")?;
            let (label, subtype) = mention_label(ontology, name, || document.span_text(span))?;
            mentions.push(Mention { span, label, subtype });
            (*more).then(|| notes.ignore(BEHIND_LABEL));
        }
    }
    let whole = Span::new(0, listed.last().map_or(0, |sentence| sentence.end));
    let per_sentence = per_sentence("relations", line.relations, document.sentences.len())?;
    let mut relations = Vec::new();
    let bearers = Bearers::new(&mentions);
    for Labelled { offsets: arguments, name: Text(name), more } in per_sentence.iter().flatten() {
        let [head_start, head_end, tail_start, tail_end] = *arguments;
        let mut argument = |start: i64, end: i64| {
            let span = offsets.span("relation argument", (start, end), whole, "the document")?;
            let (bearer, is_only) = bearers.of(span, &mentions).ok_or_else(|| Problem::NoSuchEntity {
                relation: format!("[{head_start}, {head_end}, {tail_start}, {tail_end}, \"{name}\"]"),
                argument: format!("[{start}, {end}] `{}`", document.span_text(span)),
            })?;
            if !is_only {
                notes.add(Note::AmbiguousArgument);
            }
            Ok(bearer)
        };
        let (head, tail) = (argument(head_start, head_end)?, argument(tail_start, tail_end)?);
        relations.push(Relation { head, tail, label: relation_label(ontology, name)? });
        more.then(|| notes.ignore(BEHIND_LABEL));
    }
    for cluster in line.clusters.unwrap_or_default() {
        let spans = cluster
            .iter()
            .map(|&ClusterSpan(start, end)| offsets.span("cluster span", (start, end), whole, "the document"));
        document.clusters.push(spans.collect::<Result<_, _>>()?);
    }
    document.annotate(mentions, &relations, ontology, notes)?;
    Ok(document)
}

/// How what follows a label is counted.
const BEHIND_LABEL: &str = "numbers after labels";

/// Finds mentions by their spans.
struct Bearers {
    /// Positions in the list of mentions, in the order of their spans and then of the file.
    order: Vec<u32>,
}

impl Bearers {
    fn new(mentions: &[Mention]) -> Self {
        let mut order: Vec<u32> = (0..mentions.len() as u32).collect();
        order.sort_by_key(|&index| mentions[index as usize].span);
        Self { order }
    }

    /// The first mention of the file with a span, and whether all with this span say the same.
    fn of(&self, span: Span, mentions: &[Mention]) -> Option<(u32, bool)> {
        let mention = |&index: &u32| &mentions[index as usize];
        let first = self.order.partition_point(|index| mention(index).span < span);
        let bearers = self.order[first..].iter().take_while(|index| mention(index).span == span);
        let mut labels = bearers.clone().map(|index| (mention(index).label, mention(index).subtype));
        let label = labels.next()?;
        Some((self.order[first], labels.all(|other| other == label)))
    }
}

/// The list of each sentence; a missing field is an empty list for each.
fn per_sentence<T>(field: &'static str, lists: Option<Lists<T>>, sentences: usize) -> Result<Lists<T>, Problem> {
    let lists = lists.unwrap_or_else(|| (0..sentences).map(|_| Vec::new()).collect());
    if lists.len() == sentences {
        Ok(lists)
    } else {
        Err(Problem::SentenceCount { field, found: lists.len(), sentences })
    }
}

/// How a file counts tokens.
struct Offsets {
    ends: Ends,
    /// [`Sentences::kept_before`].
    kept_before: Vec<u32>,
}

impl Offsets {
    /// Offsets of the file as a span of the document's tokens. They must lie `within` a range of the file's tokens,
    /// which is called `name`.
    fn span(&self, what: &'static str, (start, end): (i64, i64), within: Span, name: &str) -> Result<Span, Problem> {
        let found = || format!("[{start}, {end}]");
        let last = match self.ends {
            Ends::Inclusive => end,
            Ends::Exclusive => end.saturating_sub(1),
        };
        if start < i64::from(within.start) || last >= i64::from(within.end) {
            let last = i64::from(within.end) - 1;
            let bounds = format!("{name} (tokens {} to {last})", within.start);
            return Err(Problem::OutOfRange { what, found: found(), bounds });
        }
        let span = (last >= start).then(|| {
            let kept_before = |token: i64| self.kept_before[token as usize];
            Span::new(kept_before(start), kept_before(last + 1))
        });
        span.filter(|span| !span.is_empty()).ok_or_else(|| Problem::EmptySpan { what, found: found() })
    }
}

/// The line that says what `document` says; what the format cannot hold is counted in `notes`.
pub fn to_line(document: &Document, ontology: &Ontology, notes: &mut Notes) -> String {
    let tokens: Vec<&str> = (0..document.tokens.len()).map(|index| document.token(index)).collect();
    if tokens.join(" ") != document.text {
        notes.add(Note::Blanks);
    }
    let inclusive = |span: Span| (span.start, span.end - 1);
    let sentence_of = |span: Span| {
        // Empty sentences at the same place do not contain the mention.
        document.sentences.partition_point(|sentence| sentence.end <= span.start)
    };
    let bearers = |span: Span| {
        let first = document.mentions.partition_point(|mention| mention.span < span);
        document.mentions[first..].iter().take_while(|mention| mention.span == span).count()
    };
    let mut ner = vec![Vec::new(); document.sentences.len()];
    for mention in &document.mentions {
        let (start, end) = inclusive(mention.span);
        ner[sentence_of(mention.span)].push(json!([
            start,
            end,
            ontology.mention_data_name(mention.label, mention.subtype)
        ]));
    }
    let mut relations = vec![Vec::new(); document.sentences.len()];
    for relation in document.listed_relations() {
        let spans = [relation.head, relation.tail].map(|index| document.mentions[index as usize].span);
        if spans[0] == spans[1] {
            // Read back, both arguments would be the same mention.
            notes.add(Note::SameSpanRelation);
            continue;
        }
        for span in spans {
            if bearers(span) > 1 {
                notes.add(Note::SharedSpan);
            }
        }
        let [(head_start, head_end), (tail_start, tail_end)] = spans.map(inclusive);
        let name = ontology.relation_data_name(relation.label);
        // A relation across sentences is listed with its head.
        relations[sentence_of(spans[0])].push(json!([head_start, head_end, tail_start, tail_end, name]));
    }
    let sentence_tokens =
        |span: &Span| -> Vec<&str> { tokens[span.range()].iter().map(|token| bracket_to_treebank(token)).collect() };
    let sentences: Vec<Vec<&str>> = document.sentences.iter().map(sentence_tokens).collect();
    let clusters: Vec<Vec<(u32, u32)>> =
        document.clusters.iter().map(|cluster| cluster.iter().map(|&span| inclusive(span)).collect()).collect();
    json!({"doc_key": document.key, "sentences": sentences, "ner": ner, "relations": relations, "clusters": clusters})
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"clusters": [[[0, 1], [2,2]], []], "sentences": [["A", "-LRB-", "long-winded-token-of-a-kind", "(", "\u00e9"], [], [" ", "z"]], "ner": [[[0, 1, "Task"], [2, 2, "x"]], [], []], "relations": [[[0, 1, 2, 2, "Used-for"]], [], []], "doc_key": "d-1"}"#;

    #[test]
    fn tokens_are_taken_as_they_stand() {
        let line: RawLine = serde_json::from_str(LINE).expect("the line is JSON");
        let sentences = line.sentences.expect("it has sentences");
        assert_eq!(sentences.text, "A ( long-winded-token-of-a-kind ( é z");
        assert_eq!(sentences.spans, [Span::new(0, 5), Span::new(5, 5), Span::new(5, 6)]);
        assert_eq!(sentences.listed, [Span::new(0, 5), Span::new(5, 5), Span::new(5, 7)]);
        assert_eq!((sentences.literal_brackets, sentences.kept_before), (1, vec![0, 1, 2, 3, 4, 5, 5, 6]));
    }
}
