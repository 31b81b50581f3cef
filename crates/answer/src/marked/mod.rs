//! The marked form of an answer, in which every decision is written out before the JSON.
//!
//! ```text
//! We use [optical flow|Method|1] for [tracking|Task|2] .
//! 1 2|Used-for|-
//! {"entities":[...],"relations":[...]}
//! ```
//!
//! The first line is the source text. A mention stands in brackets, followed by its label, its sub-label where the label
//! has any, and, in an ontology with relations, its number, which is that of its id. Then follows one line for each pair of
//! mentions with at most one other between them: their numbers, the relations from the first to the second, and those from
//! the second to the first; `-` stands for none and `&` between several. A pair further apart has a line only where it is
//! related, so that nothing is lost. Last comes the canonical JSON, which repeats what was decided.
//!
//! So at every word there is a choice between a bracket and the word, and at every pair one between a label and `-`: what a
//! list leaves unsaid is said here. The idea is that of GNER (arXiv 2402.16602), whose targets label every word, and of
//! the inline form in LLMs4NER (arXiv 2601.17898).
//!
//! A backslash stands before a backslash, a bracket or a bar of the text, and a line break is written `\n` or `\r`; so any
//! text can be told from the marks. Mentions may lie inside each other or on the same words, but they must not cross.

mod decisions;
mod escape;
mod grammar;
mod parse;
mod read;
mod write;

use std::ops::Range;

use tabpo_corpus::{Span, Unit};
use tabpo_ontology::{AnswerForm, Ontology};
use thiserror::Error;

use crate::{Answer, Parsed, Rendered, parse as parse_list, render};

pub(crate) use decisions::decisions;
pub use grammar::MarkedGrammar;
pub(crate) use read::read_canonical;

/// Why an answer cannot be written in the marked form.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotMarkable {
    /// Two mentions share words, and neither lies inside the other.
    #[error("the mentions `{first}` and `{second}` cross, and brackets cannot")]
    Crossing {
        /// The text of the one that begins first.
        first: String,
        /// The text of the other.
        second: String,
    },
    /// The text of a mention is not in the source, so that there is nothing to put into brackets.
    #[error("the text `{text}` is not in the source, where it would be marked")]
    NotInSource {
        /// The text.
        text: String,
    },
}

/// Writes an answer to a unit in a form, with the role of every byte. The list form is that of [`render()`], and always
/// possible.
///
/// # Errors
/// The marked form cannot express the answer.
pub fn render_as(answer: &Answer, unit: &Unit, ontology: &Ontology, form: AnswerForm) -> Result<Rendered, NotMarkable> {
    match form {
        AnswerForm::List => Ok(render(answer, ontology)),
        AnswerForm::Marked => {
            let place = |span: Option<Span>| span.map(|span| bytes(unit, span));
            let places = answer
                .entities
                .iter()
                .map(|entity| place(entity.span).ok_or_else(|| NotMarkable::NotInSource { text: entity.text.clone() }));
            let places: Vec<Range<usize>> = places.collect::<Result<_, _>>()?;
            write::render(unit.text(), &places, answer, ontology)
        }
    }
}

/// Reads what a model wrote in a form, as [`parse`](crate::parse()) does for the list form.
///
/// Of the marked form, the JSON counts if it is there and can be read; where it says something else than the marks, that
/// is a fault of its own kind. Otherwise the marks count.
pub fn parse_as<'a>(raw: &'a str, ontology: &Ontology, form: AnswerForm) -> Parsed<'a> {
    match form {
        AnswerForm::List => parse_list(raw, ontology),
        AnswerForm::Marked => parse::parse(raw, ontology),
    }
}

/// The form of a canonical answer: only the marked one has several lines.
pub fn form_of(canonical: &str) -> AnswerForm {
    if canonical.contains('\n') { AnswerForm::Marked } else { AnswerForm::List }
}

/// The bytes of a span in the text of a unit.
fn bytes(unit: &Unit, span: Span) -> Range<usize> {
    let start = unit.document.tokens[unit.span().start as usize].start as usize;
    let range = unit.document.byte_range(span);
    range.start - start..range.end - start
}

/// Most mentions between two that have a line even where they are not related.
const BETWEEN: u32 = 1;

/// Whether two mentions, by position, have a line of their own in any case.
fn is_near(first: u32, second: u32) -> bool {
    second - first <= BETWEEN + 1
}

/// What stands for no relation.
const NONE: &str = "-";
