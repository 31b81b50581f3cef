//! What the lines of a prediction file say.

use std::fmt;
use std::path::Path;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tabpo_corpus::{Name, json_message};
use tabpo_ontology::AnswerForm;

use super::{PredictedLine, PredictionKind, RawAnswer, from_json};
use crate::error::EvaluationError;

/// Predictions by offset for one sentence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offsets {
    /// Label at (first token, last token).
    pub(crate) entities: Vec<Item<2>>,
    /// Type of (head first, head last, tail first, tail last).
    pub(crate) relations: Vec<Item<4>>,
}

/// An item by offset: token numbers and a name.
#[derive(Clone, Debug)]
pub(crate) struct Item<const N: usize> {
    pub(crate) tokens: [i64; N],
    pub(crate) name: String,
}

/// What was predicted for one unit.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Items by offset.
    Offsets(Offsets),
    /// Raw text.
    Raw(RawAnswer),
}

/// What the lines of one document predict, unit by unit, sorted by unit.
pub(crate) fn contents(
    lines: &[PredictedLine],
    kind: PredictionKind,
    sentences: usize,
    path: &Path,
) -> Result<Vec<(Option<u32>, Content)>, EvaluationError> {
    match kind {
        PredictionKind::Raw => raw_units(lines, sentences, path),
        PredictionKind::Offsets => offset_units(lines, sentences, path),
    }
}

/// A [`super::UnitOutput`] whose document may be named by a number.
#[derive(Deserialize)]
struct RawLine {
    doc_key: Name,
    sent: Option<u32>,
    #[serde(default)]
    form: AnswerForm,
    output: String,
}

/// The units of lines of raw output.
fn raw_units(
    lines: &[PredictedLine],
    sentences: usize,
    path: &Path,
) -> Result<Vec<(Option<u32>, Content)>, EvaluationError> {
    let mut units = Vec::with_capacity(lines.len());
    for line in lines {
        let invalid = |found: String| EvaluationError::invalid(path, line.number, found);
        let RawLine { doc_key: Name(key), sent, form, output } =
            from_json(&line.text).map_err(|error| invalid(json_message(&line.text, &error)))?;
        if let Some(sent) = sent.filter(|&sent| sent as usize >= sentences) {
            let there = match sentences {
                0 => "no sentence".to_owned(),
                1 => "the sentence 0 alone".to_owned(),
                _ => format!("the sentences 0 to {}", sentences - 1),
            };
            return Err(invalid(format!("`sent` is {sent}, but the document `{key}` has {there}")));
        }
        units.push((sent, line.number, Content::Raw(RawAnswer { form, text: output })));
    }
    units.sort_by_key(|&(sent, number, _)| (sent, number));
    for pair in units.windows(2) {
        let ((first, first_line, _), (second, line, _)) = (&pair[0], &pair[1]);
        if first == second {
            let unit = second.map_or("the document".to_owned(), |sent| format!("sentence {sent}"));
            let found = format!("{unit} was already predicted in line {first_line}");
            return Err(EvaluationError::invalid(path, *line, found));
        }
        if first.is_none() {
            let found = format!("the whole document was already predicted in line {first_line}");
            return Err(EvaluationError::invalid(path, *line, found));
        }
    }
    Ok(units.into_iter().map(|(sent, _, content)| (sent, content)).collect())
}

/// A list of items for each sentence.
type Lists<T> = Vec<Vec<T>>;

#[derive(Deserialize)]
#[serde(bound = "E: Deserialize<'de>, R: Deserialize<'de>")]
struct OffsetLine<E, R> {
    predicted_ner: Option<Lists<E>>,
    predicted_relations: Option<Lists<R>>,
}

impl<E, R> OffsetLine<E, R> {
    /// The lists of entities and relations, or what is wrong with their number.
    fn lists(self, sentences: usize) -> Result<(Lists<E>, Lists<R>), String> {
        let ner = per_sentence("predicted_ner", self.predicted_ner, sentences)?;
        let relations = per_sentence("predicted_relations", self.predicted_relations, sentences)?;
        Ok((ner, relations))
    }
}

fn per_sentence<T>(name: &str, lists: Option<Lists<T>>, sentences: usize) -> Result<Lists<T>, String> {
    let lists = lists.filter(|lists| !lists.is_empty());
    let lists = lists.unwrap_or_else(|| (0..sentences).map(|_| Vec::new()).collect());
    if lists.len() == sentences {
        Ok(lists)
    } else {
        Err(format!("`{name}` has {} lists for {sentences} sentences", lists.len()))
    }
}

/// `[number, ..., name]`; further elements are ignored.
impl<'de, const N: usize> Deserialize<'de> for Item<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts<const N: usize>;

        impl<'de, const N: usize> Visitor<'de> for Parts<N> {
            type Value = Item<N>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "{N} numbers and a name")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Item<N>, A::Error> {
                let mut tokens = [0; N];
                for (index, token) in tokens.iter_mut().enumerate() {
                    *token = parts.next_element()?.ok_or_else(|| A::Error::invalid_length(index, &self))?;
                }
                let name = parts.next_element()?.ok_or_else(|| A::Error::invalid_length(N, &self))?;
                while parts.next_element::<Value>()?.is_some() {}
                Ok(Item { tokens, name })
            }
        }

        deserializer.deserialize_seq(Parts)
    }
}

/// The units of a line by offset.
fn offset_units(
    lines: &[PredictedLine],
    sentences: usize,
    path: &Path,
) -> Result<Vec<(Option<u32>, Content)>, EvaluationError> {
    let Some(line) = lines.first() else { return Ok(Vec::new()) };
    if let Some(second) = lines.get(1) {
        let found = format!("the document was already predicted in line {}", line.number);
        return Err(EvaluationError::invalid(path, second.number, found));
    }
    let invalid = |found: String| EvaluationError::invalid(path, line.number, found);
    let parsed: OffsetLine<Item<2>, Item<4>> =
        serde_json::from_str(&line.text).map_err(|error| invalid(explain(&line.text, sentences, &error)))?;
    let (ner, relations) = parsed.lists(sentences).map_err(invalid)?;
    let units = (0..).zip(ner.into_iter().zip(relations));
    let units =
        units.map(|(index, (entities, relations))| (Some(index), Content::Offsets(Offsets { entities, relations })));
    Ok(units.collect())
}

/// What is wrong with a line by offset that could not be read because of `error`: the first malformed item, if
/// there is one.
fn explain(line: &str, sentences: usize, error: &serde_json::Error) -> String {
    let parsed: OffsetLine<Vec<Value>, Vec<Value>> = match serde_json::from_str(line) {
        Ok(parsed) => parsed,
        Err(error) => return json_message(line, &error),
    };
    let (ner, relations) = match parsed.lists(sentences) {
        Ok(lists) => lists,
        Err(found) => return found,
    };
    let is_item = |item: &[Value], numbers: usize| {
        item.len() > numbers && item[..numbers].iter().all(Value::is_i64) && item[numbers].is_string()
    };
    for (ner, relations) in ner.into_iter().zip(relations) {
        if let Some(item) = ner.into_iter().find(|item| !is_item(item, 2)) {
            return format!("{} is not an entity; an entity is [start, end, label]", Value::from(item));
        }
        if let Some(item) = relations.into_iter().find(|item| !is_item(item, 4)) {
            let item = Value::from(item);
            return format!("{item} is not a relation; a relation is [start, end, start, end, type]");
        }
    }
    json_message(line, error)
}
