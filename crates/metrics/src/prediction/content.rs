//! What the lines of a prediction file say.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tabpo_answer::{Parsed, parse_quoted};
use tabpo_corpus::{Name, json_message};
use tabpo_files::PlainJson;
use tabpo_ontology::Ontology;

use super::{PredictedLine, PredictionKind, whole_characters};
use crate::error::EvaluationError;

/// Predictions by offset for one sentence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offsets<'a> {
    /// Label at (first token, last token).
    pub(crate) entities: Vec<Item<'a, 2>>,
    /// Type of (head first, head last, tail first, tail last).
    pub(crate) relations: Vec<Item<'a, 4>>,
}

/// An item by offset: token numbers and a name.
#[derive(Clone, Debug)]
pub(crate) struct Item<'a, const N: usize> {
    pub(crate) tokens: [i64; N],
    pub(crate) name: Cow<'a, str>,
}

/// What was predicted for one unit.
#[derive(Clone, Debug)]
pub(crate) enum Content<'a> {
    /// Items by offset.
    Offsets(Offsets<'a>),
    /// Raw text.
    Raw(Cow<'a, str>),
    /// Raw text that was read already.
    Answer(Parsed<'a>),
}

/// What the lines of one document predict, unit by unit, sorted by unit.
pub(crate) fn contents<'a>(
    lines: &[PredictedLine<'a>],
    kind: PredictionKind,
    sentences: usize,
    ontology: &Ontology,
    path: &Path,
) -> Result<Vec<(Option<u32>, Content<'a>)>, EvaluationError> {
    match kind {
        PredictionKind::Raw => raw_units(lines, sentences, Some(ontology), path),
        PredictionKind::Offsets => offset_units(lines, sentences, path),
    }
}

/// A line of raw output.
struct RawLine<'a> {
    doc_key: Cow<'a, str>,
    sent: Option<u32>,
    output: Content<'a>,
}

/// A line of raw output as programs write them, its output read as an answer if an ontology is given; `None`
/// for any other line.
fn plain_raw_line<'a>(text: &'a str, ontology: Option<&Ontology>) -> Option<RawLine<'a>> {
    let (mut doc_key, mut sent, mut output) = (None, None, None);
    let mut json = PlainJson::new(text);
    json.object(|json, name| {
        // A field that comes twice is a fault.
        let first = match name {
            "doc_key" => doc_key.replace(json.string()?).is_none(),
            "sent" => sent.replace(json.nullable(PlainJson::integer)?).is_none(),
            "output" => {
                let content = match ontology.and_then(|ontology| parse_quoted(json, ontology)) {
                    Some(answer) => Content::Answer(answer),
                    None => Content::Raw(json.string()?),
                };
                output.replace(content).is_none()
            }
            _ => false,
        };
        first.then_some(())
    })?;
    let sent = match sent.flatten() {
        Some(sent) => Some(u32::try_from(sent).ok()?),
        None => None,
    };
    json.is_at_end().then_some(RawLine { doc_key: doc_key?, sent, output: output? })
}

/// Any line of raw output.
fn raw_line(text: &str) -> Result<RawLine<'static>, serde_json::Error> {
    /// A [`super::UnitOutput`] whose document may be named by a number.
    #[derive(Deserialize)]
    struct Line {
        doc_key: Name,
        sent: Option<u32>,
        output: String,
    }

    let Line { doc_key: Name(doc_key), sent, output } = whole_characters(text, |text| serde_json::from_str(text))?;
    Ok(RawLine { doc_key: doc_key.into(), sent, output: Content::Raw(output.into()) })
}

/// The units of lines of raw output; read as answers if an ontology is given.
pub(super) fn raw_units<'a>(
    lines: &[PredictedLine<'a>],
    sentences: usize,
    ontology: Option<&Ontology>,
    path: &Path,
) -> Result<Vec<(Option<u32>, Content<'a>)>, EvaluationError> {
    let mut units = Vec::with_capacity(lines.len());
    for line in lines {
        let invalid = |found: String| EvaluationError::invalid(path, line.number, found);
        let output = match plain_raw_line(line.text, ontology) {
            Some(output) => output,
            None => raw_line(line.text).map_err(|error| invalid(json_message(line.text, &error)))?,
        };
        if let Some(sent) = output.sent.filter(|&sent| sent as usize >= sentences) {
            let there = match sentences {
                0 => "no sentence".to_owned(),
                1 => "the sentence 0 alone".to_owned(),
                _ => format!("the sentences 0 to {}", sentences - 1),
            };
            return Err(invalid(format!("`sent` is {sent}, but the document `{}` has {there}", output.doc_key)));
        }
        units.push((output.sent, line.number, output.output));
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

/// `[number, ..., name]`; what else the list holds is ignored.
impl<'de, const N: usize> Deserialize<'de> for Item<'de, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// A string, copied only if it has escapes.
        #[derive(Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

        struct Parts<const N: usize>;

        impl<'de, const N: usize> Visitor<'de> for Parts<N> {
            type Value = Item<'de, N>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "{N} numbers and a name")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Item<'de, N>, A::Error> {
                let mut tokens = [0; N];
                for (index, token) in tokens.iter_mut().enumerate() {
                    *token = parts.next_element()?.ok_or_else(|| A::Error::invalid_length(index, &self))?;
                }
                let Name(name) = parts.next_element()?.ok_or_else(|| A::Error::invalid_length(N, &self))?;
                while parts.next_element::<Value>()?.is_some() {}
                Ok(Item { tokens, name })
            }
        }

        deserializer.deserialize_seq(Parts)
    }
}

/// A line by offset as programs write them; `None` for any other line.
fn plain_offset_line(text: &str) -> Option<OffsetLine<Item<'_, 2>, Item<'_, 4>>> {
    let (mut doc_key, mut predicted_ner, mut predicted_relations) = (None, None, None);
    let mut json = PlainJson::new(text);
    json.object(|json, name| {
        // A field that comes twice is a fault.
        let first = match name {
            "doc_key" => doc_key.replace(json.string()?).is_none(),
            "predicted_ner" => predicted_ner.replace(plain_lists(json)?).is_none(),
            "predicted_relations" => predicted_relations.replace(plain_lists(json)?).is_none(),
            _ => false,
        };
        first.then_some(())
    })?;
    json.is_at_end().then_some(OffsetLine { predicted_ner, predicted_relations })
}

fn plain_lists<'a, const N: usize>(json: &mut PlainJson<'a>) -> Option<Lists<Item<'a, N>>> {
    let mut lists = Vec::new();
    json.list(|json| {
        let mut list = Vec::new();
        json.list(|json| {
            let (tokens, name) = json.numbers_and_name()?;
            list.push(Item { tokens, name });
            Some(())
        })?;
        lists.push(list);
        Some(())
    })?;
    Some(lists)
}

/// The units of a line by offset.
pub(super) fn offset_units<'a>(
    lines: &[PredictedLine<'a>],
    sentences: usize,
    path: &Path,
) -> Result<Vec<(Option<u32>, Content<'a>)>, EvaluationError> {
    let Some(line) = lines.first() else { return Ok(Vec::new()) };
    if let Some(second) = lines.get(1) {
        let found = format!("the document was already predicted in line {}", line.number);
        return Err(EvaluationError::invalid(path, second.number, found));
    }
    let invalid = |found: String| EvaluationError::invalid(path, line.number, found);
    let parsed: OffsetLine<Item<2>, Item<4>> = match plain_offset_line(line.text) {
        Some(parsed) => parsed,
        None => serde_json::from_str(line.text).map_err(|error| invalid(explain(line.text, sentences, &error)))?,
    };
    let (ner, relations) = parsed.lists(sentences).map_err(invalid)?;
    let units = (0..).zip(ner.into_iter().zip(relations));
    let units =
        units.map(|(index, (entities, relations))| (Some(index), Content::Offsets(Offsets { entities, relations })));
    Ok(units.collect())
}

/// What a reader should know of a line by offset that could not be read because of `error`: the
/// first item that is none, if there is any.
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
            return format!("{} is no entity; an entity is [start, end, label]", Value::from(item));
        }
        if let Some(item) = relations.into_iter().find(|item| !is_item(item, 4)) {
            let item = Value::from(item);
            return format!("{item} is no relation; a relation is [start, end, start, end, type]");
        }
    }
    json_message(line, error)
}

#[cfg(test)]
mod tests {
    use tabpo_answer::parse;
    use tabpo_corpus::synthetic::ontology;

    use super::*;

    const ANSWER: &str = r#"{"entities":[{"id":"e1","text":"a","type":"Task"}],"relations":[]}"#;

    /// How many of the lines that differ from this one in some bytes `check` accepts.
    fn count_near(line: &str, check: impl Fn(&str) -> bool) -> usize {
        let pieces = ["", "\"", "\\", "\\\\", "}", ",", " ", "\n", "1", "-1", "null", "é", "\"sent\":0,"];
        let mut count = 0;
        for start in 0..line.len() {
            for end in start..line.len().min(start + 6) {
                for piece in pieces {
                    count += usize::from(check(&format!("{}{piece}{}", &line[..start], &line[end..])));
                }
            }
        }
        count
    }

    #[test]
    fn raw_lines_are_read_as_the_general_reader_reads_them() {
        let output = serde_json::to_string(ANSWER).expect("a string can be written");
        let line = format!(r#"{{"doc_key": "d", "sent": 0, "output": {output}}}"#);
        let plain = count_near(&line, |line| {
            let Some(plain) = plain_raw_line(line, Some(ontology())) else { return false };
            let general = raw_line(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!((plain.doc_key, plain.sent), (general.doc_key, general.sent), "{line}");
            match (&plain.output, &general.output) {
                (Content::Answer(answer), Content::Raw(raw)) => assert_eq!(*answer, parse(raw, ontology()), "{line}"),
                (Content::Raw(plain), Content::Raw(general)) => assert_eq!(plain, general, "{line}"),
                outputs => panic!("{outputs:?}"),
            }
            true
        });
        assert!(plain > 1000, "{plain}");
    }

    #[test]
    fn lines_by_offset_are_read_as_the_general_reader_reads_them() {
        let line = r#"{"doc_key": "d", "predicted_ner": [[[0, 1, "Task"]], []], "predicted_relations": [[], [[0, 1, 2, 2, "x"]]]}"#;
        let plain = count_near(line, |line| {
            let Some(plain) = plain_offset_line(line) else { return false };
            let general: OffsetLine<Item<2>, Item<4>> =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(format!("{:?}", plain.lists(2)), format!("{:?}", general.lists(2)), "{line}");
            true
        });
        assert!(plain > 300, "{plain}");
    }
}
