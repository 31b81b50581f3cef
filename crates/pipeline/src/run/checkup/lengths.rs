//! Lengths of prompts and answers in tokens, against the limits of the configuration and of the model.

use rayon::prelude::*;
use serde::Serialize;
use tabpo_answer::{Rendered, gold, render_as};
use tabpo_corpus::{Document, Unit};
use tabpo_train::{AnswerText, ExampleFormat};

use super::Inputs;
use crate::{
    error::{Error, ResultExt},
    run::examples::{Unmarkable, unit_id},
};

/// Lengths of one kind in one split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LengthRow {
    /// The split.
    pub split: &'static str,
    /// What is measured: `prompt with answer` or `answer`.
    pub what: &'static str,
    /// The median, in tokens.
    pub median: usize,
    /// The length below which 95 % are, in tokens.
    pub most: usize,
    /// The longest, in tokens.
    pub longest: usize,
    /// The limit, in tokens, and what sets it.
    pub limit: usize,
    /// What sets the limit.
    pub limited_by: &'static str,
    /// How many are above the limit.
    pub above: usize,
    /// How many there are.
    pub of: usize,
    /// The longest one's name.
    pub longest_id: String,
}

/// The lengths of one prompt.
#[derive(Clone, Copy)]
struct Measured {
    prompt: usize,
    answer: usize,
}

/// All lengths.
pub(super) struct Lengths {
    pub(super) rows: Vec<LengthRow>,
    /// What is said of answers that cannot be written in the form, which have no length and are not trained on.
    unmarkable: Vec<String>,
    /// Tokens at the beginning that all prompts of the training documents share.
    pub(super) shared: usize,
    /// Means over the training documents.
    pub(super) mean_prompt: f64,
    pub(super) mean_answer: f64,
}

impl Lengths {
    pub(super) fn measure(inputs: &Inputs, format: &ExampleFormat<'_>, window: usize) -> Result<Self, Error> {
        let config = &inputs.config;
        let of = |documents: &[Document]| measured(documents, inputs, format);
        let splits = &inputs.splits;
        let (mut rows, mut unmarkable) = (Vec::new(), Vec::new());
        let mut longest = |split, documents: &[Document], max_length: usize, key| -> Result<Vec<Measured>, Error> {
            let (lengths, left_out) = of(documents)?;
            unmarkable.extend(left_out.said().map(|said| format!("{split}: {said}")));
            let (limit, limited_by) =
                if max_length <= window { (max_length, key) } else { (window, "the model's window") };
            let whole = lengths.iter().map(|one| one.1.prompt + one.1.answer);
            rows.extend(row(split, "prompt with answer", whole, &lengths, (limit, limited_by)));
            let answers = lengths.iter().map(|one| one.1.answer);
            rows.extend(row(
                split,
                "answer",
                answers,
                &lengths,
                (config.predict.max_new_tokens, "predict.max_new_tokens"),
            ));
            Ok(lengths.into_iter().map(|(_, one)| one).collect())
        };
        let train = longest("train", &splits.train, config.sft.max_length, "sft.max_length")?;
        if config.data.curated.is_some() || config.data.synthetic.is_some() {
            longest("curated", &splits.curated, config.preference.train.max_length, "preference.train.max_length")?;
        }
        longest("validation", &splits.validation, window, "the model's window")?;
        longest("test", &splits.test, window, "the model's window")?;
        let mean = |of: fn(&Measured) -> usize| train.iter().map(of).sum::<usize>() as f64 / train.len().max(1) as f64;
        let shared = shared(inputs, format)?;
        Ok(Self { rows, unmarkable, shared, mean_prompt: mean(|one| one.prompt), mean_answer: mean(|one| one.answer) })
    }

    pub(super) fn judge(&self, problems: &mut Vec<String>, notes: &mut Vec<String>) {
        notes.extend(self.unmarkable.iter().cloned());
        for row in self.rows.iter().filter(|row| row.above > 0) {
            let LengthRow { split, limit, limited_by, above, of, longest, longest_id, .. } = row;
            if row.what == "answer" {
                let said = format!(
                    "{split}: {above} of {of} gold answers are longer than {limit} tokens ({limited_by}), where a \
                     model's answer is cut off; the longest has {longest} (`{longest_id}`)"
                );
                // Where models answer, they can't be right.
                if *split == "test" || *split == "validation" { problems.push(said) } else { notes.push(said) }
            } else {
                problems.push(format!(
                    "{split}: {above} of {of} prompts with their answers are longer than {limit} tokens ({limited_by}) \
                     and {}; the longest has {longest} (`{longest_id}`)",
                    if *split == "test" || *split == "validation" {
                        "get no whole answer"
                    } else {
                        "are not trained on"
                    }
                ));
            }
        }
    }
}

/// The lengths of all prompts of some documents, each with its name.
fn measured(
    documents: &[Document],
    inputs: &Inputs,
    format: &ExampleFormat<'_>,
) -> Result<(Vec<(String, Measured)>, Unmarkable), Error> {
    let units: Vec<Unit> =
        documents.iter().flat_map(|document| Unit::all(document, inputs.config.data.level)).collect();
    let form = inputs.config.answer.form;
    let mut unmarkable = Unmarkable::default();
    let answers = units.iter().filter_map(|unit| {
        let answer = unmarkable.add(unit, render_as(&gold(unit), unit, &inputs.ontology, form));
        answer.map(|answer| (unit, answer))
    });
    let answers: Vec<(&Unit, Rendered)> = answers.collect();
    let measure = |(unit, answer): &(&Unit<'_>, Rendered)| {
        let id = unit_id(unit);
        let example = format.example(&id, unit.text(), AnswerText::from(answer), &[], usize::MAX);
        example.map(|example| (id, Measured { prompt: example.prompt.len(), answer: example.chosen.tokens.len() }))
    };
    Ok((answers.par_iter().map(measure).collect::<Result<_, _>>().or_input()?, unmarkable))
}

/// How many tokens the prompts of the training documents have in common at their beginning.
fn shared(inputs: &Inputs, format: &ExampleFormat<'_>) -> Result<usize, Error> {
    let documents = inputs.splits.train.iter();
    let units = documents.flat_map(|document| Unit::all(document, inputs.config.data.level)).take(2);
    let prompts: Vec<Vec<u32>> = units.map(|unit| format.prompt(unit.text())).collect::<Result<_, _>>().or_input()?;
    let [one, other] = prompts.as_slice() else { return Ok(0) };
    Ok(one.iter().zip(other).take_while(|(one, other)| one == other).count())
}

fn row(
    split: &'static str,
    what: &'static str,
    lengths: impl Iterator<Item = usize>,
    names: &[(String, Measured)],
    (limit, limited_by): (usize, &'static str),
) -> Option<LengthRow> {
    let lengths: Vec<usize> = lengths.collect();
    let (longest_at, &longest) = lengths.iter().enumerate().max_by_key(|&(_, length)| length)?;
    let above = lengths.iter().filter(|&&length| length > limit).count();
    let longest_id = names[longest_at].0.clone();
    let mut sorted = lengths;
    sorted.sort_unstable();
    let (of, at) = (sorted.len(), |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize]);
    Some(LengthRow { split, what, median: at(0.5), most: at(0.95), longest, limit, limited_by, above, of, longest_id })
}
