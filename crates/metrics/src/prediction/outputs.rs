//! Predictions as a model's answers to examples.

use tabpo_answer::{gold, render};
use tabpo_corpus::{Document, Level, Mention, Relation, Span, Unit};
use tabpo_ontology::{AnswerForm, Ontology};

use super::content::{Content, Offsets, contents};
use super::{PredictionKind, Predictions, RawAnswer};
use crate::error::EvaluationError;

impl Predictions {
    /// The answers in the file for the units of a document at a level: the sentence (`None` for the whole
    /// document) and the text with its form. Predictions by offset are written as answers, restricted to what an answer can
    /// express: items inside one sentence, with labels of the ontology. Empty if the document has no
    /// prediction.
    ///
    /// # Errors
    /// A line that an evaluation refuses too, and one that is about examples of the other level (in a document
    /// of one sentence they are the same).
    pub fn outputs(
        &mut self,
        document: &Document,
        level: Level,
        ontology: &Ontology,
    ) -> Result<Vec<(Option<u32>, RawAnswer)>, EvaluationError> {
        let lines = self.lines(&document.key)?.unwrap_or_default();
        let sentences = document.sentences.len();
        let Some(first) = lines.first() else { return Ok(Vec::new()) };
        let units = contents(&lines, self.kind, sentences, &self.path)?;
        if self.kind == PredictionKind::Offsets {
            let predicted = with_predictions(document, units.iter().map(|(_, content)| content), ontology);
            let answer = |unit: Unit| RawAnswer { form: AnswerForm::List, text: render(&gold(&unit), ontology).text };
            return Ok(Unit::all(&predicted, level).map(|unit| (unit.sentence, answer(unit))).collect());
        }
        let fit = |(sentence, content)| {
            let Content::Raw(output) = content else { unreachable!("a file holds predictions of one kind") };
            let sentence = match (level, sentence) {
                (Level::Sentence, None) if sentences == 1 => Some(0),
                (Level::Document, Some(_)) if sentences == 1 => None,
                (Level::Sentence, Some(_)) | (Level::Document, None) => sentence,
                (Level::Sentence, None) => {
                    return Err("the answer is for the whole document, but an example is a sentence");
                }
                (Level::Document, Some(_)) => {
                    return Err("the answer is for a sentence, but an example is a whole document");
                }
            };
            Ok((sentence, output))
        };
        let outputs = units.into_iter().map(fit).collect::<Result<_, _>>();
        outputs.map_err(|found| EvaluationError::invalid(&self.path, first.number, found.to_owned()))
    }

    /// To be called after the outputs of all documents were read.
    ///
    /// # Errors
    /// The file has a document that was not read.
    pub fn finish(&self) -> Result<(), EvaluationError> {
        self.check_unknown()
    }
}

/// The document with predictions instead of gold.
fn with_predictions<'c>(
    document: &Document,
    contents: impl Iterator<Item = &'c Content>,
    ontology: &Ontology,
) -> Document {
    let offsets: Vec<&Offsets> = contents
        .map(|content| match content {
            Content::Offsets(offsets) => offsets,
            Content::Raw(_) => unreachable!("a file holds predictions of one kind"),
        })
        .collect();
    let place = |start: i64, end: i64| {
        let span = Span::new(u32::try_from(start).ok()?, u32::try_from(end).ok()?.checked_add(1)?);
        let inside = !span.is_empty() && document.sentences.iter().any(|sentence| sentence.contains(span));
        inside.then_some(span)
    };
    let mut mentions: Vec<Mention> = Vec::new();
    for item in offsets.iter().flat_map(|offsets| &offsets.entities) {
        let Some(span) = place(item.tokens[0], item.tokens[1]) else { continue };
        let gold = || document.mentions.iter().find(|mention| mention.span == span);
        match ontology.mention_in_data(&item.name) {
            Some((label, subtype)) => mentions.push(Mention { span, label, subtype }),
            // An unknown label is not something an edit could produce, but the mention was found.
            None => mentions.extend(gold().copied()),
        }
    }
    mentions.sort_unstable();
    mentions.dedup();
    let mention = |start, end| {
        let span = place(start, end)?;
        let first = mentions.partition_point(|mention| mention.span < span);
        mentions.get(first).filter(|mention| mention.span == span).map(|_| first as u32)
    };
    let mut relations: Vec<Relation> = Vec::new();
    for item in offsets.iter().flat_map(|offsets| &offsets.relations) {
        let [head_start, head_end, tail_start, tail_end] = item.tokens;
        let arguments = mention(head_start, head_end).zip(mention(tail_start, tail_end));
        let (Some((head, tail)), Some(label)) = (arguments, ontology.relation_in_data(&item.name)) else { continue };
        relations.push(Relation { head, tail, label });
    }
    relations.sort_unstable();
    relations.dedup();
    Document { mentions, relations, repeated_relations: Vec::new(), ..document.clone() }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tabpo_synthetic::ontology;

    use super::*;

    fn predictions(text: &str) -> Result<Predictions, EvaluationError> {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("it can be written");
        Predictions::open(file.path())
    }

    /// Three tokens in two sentences, or in one.
    fn document(sentences: &[(u32, u32)]) -> Document {
        let sentences = sentences.iter().map(|&(start, end)| Span::new(start, end)).collect();
        let (text, tokens) = ("saw cuts saw".to_owned(), vec![0..3, 4..8, 9..12]);
        Document { key: "7".into(), text, tokens, sentences, ..Document::default() }
    }

    fn outputs(text: &str, sentences: &[(u32, u32)], level: Level) -> Result<Vec<(Option<u32>, String)>, String> {
        let mut file = predictions(text).map_err(|error| error.to_string())?;
        let outputs = file.outputs(&document(sentences), level, ontology()).map_err(|error| error.to_string())?;
        let outputs = outputs.into_iter().map(|(sentence, answer)| (sentence, answer.text)).collect();
        file.finish().map(|()| outputs).map_err(|error| error.to_string())
    }

    #[test]
    fn lines_are_read_as_in_an_evaluation() {
        let two = [(0, 2), (2, 3)];
        let read = outputs("\u{feff}{\"doc_key\":7,\"sent\":1,\"output\":\"\\ud83d!\"}\n", &two, Level::Sentence);
        assert_eq!(read, Ok(vec![(Some(1), "\u{fffd}!".to_owned())]));
        for (text, found) in [
            ("\n \n", "holds no prediction"),
            ("{\"doc_key\":7,\"sent\":2,\"output\":\"\"}", ":1: `sent` is 2"),
            ("{\"doc_key\":7,\"sent\":\"0\",\"output\":\"\"}", "expected a whole number"),
            ("{\"doc_key\":8,\"sent\":0,\"output\":\"\"}", "no document `8`"),
            (
                "{\"doc_key\":7,\"sent\":0,\"output\":\"\"}\n{\"doc_key\":7,\"sent\":0,\"output\":\"\"}",
                "already predicted",
            ),
            ("{\"doc_key\":7,\"sent\":0,\"output\":\"{\n", ":1: the line ends in the middle of its object"),
            ("{\"doc_key\":7,\"sent\":0,\"output\":\"\"}\n{\"doc_key\"", ":2: the line ends in the middle"),
            ("{\"doc_key\":7,\"score\":NaN,\"sent\":0,\"output\":\"\"}", ":1: `NaN` is not a number in JSON"),
            ("{\"doc_key\":7,\"score\":-Infinity,\"sent\":0,\"output\":\"\"}", ":1: `-Infinity` is not a number"),
            ("{\"doc_key\":7,\"output\":\"\"}", ":1: the answer is for the whole document"),
        ] {
            let error = outputs(text, &two, Level::Sentence).expect_err(text);
            assert!(error.contains(found), "{text}: {error}");
        }
        let whole = outputs("{\"doc_key\":7,\"output\":\"x\"}", &[(0, 3)], Level::Sentence);
        assert_eq!(whole, Ok(vec![(Some(0), "x".to_owned())]));
        let error =
            outputs("{\"doc_key\":7,\"sent\":1,\"output\":\"\"}", &two, Level::Document).expect_err("a sentence");
        assert!(error.contains("an example is a whole document"), "{error}");
    }

    #[test]
    fn a_line_says_in_which_form_it_is_to_be_read() {
        let text = |form: &str| format!("{{\"doc_key\":7,{form}\"sent\":0,\"output\":\"saw\"}}");
        for (form, expected) in [("", AnswerForm::List), ("\"form\":\"marked\",", AnswerForm::Marked)] {
            let mut file = predictions(&text(form)).expect("a line");
            let read = file.outputs(&document(&[(0, 3)]), Level::Sentence, ontology()).expect("an answer");
            assert_eq!(read, [(Some(0), RawAnswer { form: expected, text: "saw".to_owned() })]);
        }
        let error = outputs(&text("\"form\":\"xml\","), &[(0, 3)], Level::Sentence).expect_err("no such form");
        assert!(error.contains("`list` or `marked`"), "{error}");
    }

    #[test]
    fn predictions_by_offset_become_answers() {
        let line = "{\"doc_key\":\"7\",\"predicted_ner\":[[[0,0,\"Task\"],[9,9,\"Task\"],[1,1,\"Spoon\"]],[[2,2,\"Task\"]]],\"predicted_relations\":[[],[]]}";
        let outputs = outputs(line, &[(0, 2), (2, 3)], Level::Sentence).expect("it can be read");
        let sentences: Vec<Option<u32>> = outputs.iter().map(|(sentence, _)| *sentence).collect();
        assert_eq!(sentences, [Some(0), Some(1)]);
        assert!(outputs.iter().all(|(_, text)| text.matches("\"saw\"").count() == 1), "{outputs:?}");
        assert!(!outputs[0].1.contains("cuts"), "{outputs:?}");
    }
}
