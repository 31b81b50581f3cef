//! A document in terms of token offsets, and the conversion to a [`Document`].
//!
//! The source text is the tokens joined by single spaces, with the Penn Treebank's brackets (`-LRB-` and so on) written
//! as brackets. Tokens without a visible character, which offsets count, are left out and counted. Relations name their
//! arguments by span, in any sentence of the document.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, SeqAccess, Visitor},
};
use tabpo_ontology::Ontology;

use crate::{
    Document, Mention, Note, Notes, Problem, Relation, Span,
    annotate::{mention_label, relation_label},
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
pub(super) fn bracket_to_treebank(token: &str) -> &str {
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

/// A document by token offsets, which are counted from its start.
#[derive(Debug, Default, PartialEq)]
pub(super) struct TokenDocument<'a> {
    pub(super) sentences: Option<Sentences>,
    pub(super) ner: Option<Lists<MentionEntry<'a>>>,
    pub(super) relations: Option<Lists<RelationEntry<'a>>>,
    pub(super) clusters: Option<Lists<ClusterSpan>>,
}

/// What the second of two token offsets is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// The last token.
    Inclusive,
    /// One past it.
    Exclusive,
}

impl TokenDocument<'_> {
    /// Checks everything and finds the arguments of relations.
    pub(super) fn into_document(
        self,
        key: &str,
        ends: Ends,
        ontology: &Ontology,
        notes: &mut Notes,
    ) -> Result<Document, Problem> {
        let sentences = self.sentences.ok_or(Problem::MissingField { field: "sentences" })?;
        (0..sentences.literal_brackets).for_each(|_| notes.add(Note::LiteralBracket));
        let Sentences { text, tokens, spans, kept_before, listed, .. } = sentences;
        (tokens.len() + 1..kept_before.len()).for_each(|_| notes.ignore("blank tokens"));
        let offsets = Offsets { ends, kept_before };
        let mut document = Document { key: key.to_owned(), text, tokens, sentences: spans, ..Document::default() };

        let ner = per_sentence("ner", self.ner, document.sentences.len())?;
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
        let per_sentence = per_sentence("relations", self.relations, document.sentences.len())?;
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
        for cluster in self.clusters.unwrap_or_default() {
            let spans = cluster
                .iter()
                .map(|&ClusterSpan(start, end)| offsets.span("cluster span", (start, end), whole, "the document"));
            document.clusters.push(spans.collect::<Result<_, _>>()?);
        }
        document.annotate(mentions, &relations, ontology, notes)?;
        Ok(document)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"[["A", "-LRB-", "long-winded-token-of-a-kind", "(", "\u00e9"], [], [" ", "z"]]"#;

    #[test]
    fn tokens_are_taken_as_they_stand() {
        let sentences = Sentences::from(serde_json::from_str::<Lists<Text>>(LINE).expect("the sentences are JSON"));
        assert_eq!(sentences.text, "A ( long-winded-token-of-a-kind ( é z");
        assert_eq!(sentences.spans, [Span::new(0, 5), Span::new(5, 5), Span::new(5, 6)]);
        assert_eq!(sentences.listed, [Span::new(0, 5), Span::new(5, 5), Span::new(5, 7)]);
        assert_eq!((sentences.literal_brackets, sentences.kept_before), (1, vec![0, 1, 2, 3, 4, 5, 5, 6]));
    }
}
