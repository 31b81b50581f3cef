//! A model's own answers to the curated documents, from which on-policy pairs are made.
//!
//! A model makes few mistakes on documents that it was trained on. So if the curated documents are training documents,
//! its answers to them say little about its mistakes elsewhere. Cross-fitting splits the documents into folds, and each
//! fold is answered by a model that was trained like the SFT model, but without that fold.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use tabpo_corpus::Document;

use super::{Artefact, Part, Stages, Trained, policy::Renderer, training::derived_seed};
use crate::{config::Configuration, error::Error};

/// How the tokens of own answers are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoding {
    /// Greedily, one answer to each unit.
    Greedy,
    /// As their probabilities say, `pairs.samples` answers to each unit.
    Sampled,
}

impl Decoding {
    /// The name of the files with such answers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Greedy => "answers",
            Self::Sampled => "samples",
        }
    }
}

/// One fold of the documents: every `count`-th one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fold {
    index: usize,
    count: usize,
}

impl Fold {
    /// All of `count` folds.
    pub(super) fn all(count: usize) -> impl Iterator<Item = Self> {
        (0..count).map(move |index| Self { index, count })
    }

    /// The documents in this fold.
    pub(super) fn held_out(self, documents: &[Document]) -> impl Iterator<Item = &Document> {
        documents.iter().skip(self.index).step_by(self.count)
    }

    /// The training documents that are not in this fold of `curated`.
    pub(super) fn seen<'t>(self, curated: &[Document], train: &'t [Document]) -> Vec<&'t Document> {
        let held_out: BTreeSet<&str> = self.held_out(curated).map(|document| document.key.as_str()).collect();
        train.iter().filter(|document| !held_out.contains(document.key.as_str())).collect()
    }
}

/// Checks `pairs.folds` against the documents.
pub(super) fn check(config: &Configuration, train: &[Document], curated: &[Document]) -> Result<(), Error> {
    let count = config.pairs.folds;
    if count == 0 || count > curated.len() {
        return Err(Error::input(format!("pairs.folds is {count}, with {} curated documents", curated.len()))
            .with_hint("1 takes the SFT model's own answers; 2 to 10 are usual for cross-fitting"));
    }
    if count == 1 {
        return Ok(());
    }
    let seen: Vec<usize> = Fold::all(count).map(|fold| fold.seen(curated, train).len()).collect();
    let (fewest, most) = (seen.iter().min().copied(), seen.iter().max().copied());
    if most == Some(train.len()) && fewest == most {
        return Err(Error::input("pairs.folds: no curated document is a training document to be held out")
            .with_hint("leave it at 1: the SFT model has not seen the curated documents"));
    }
    if fewest == Some(0) {
        return Err(Error::input("pairs.folds: a fold holds out every training document")
            .with_hint("more folds hold out fewer documents each"));
    }
    Ok(())
}

impl Stages<'_> {
    /// Answers to the curated documents. With several folds, each document is answered by a model that was trained
    /// without it. `start` is the policy that SFT starts from.
    pub(super) fn own_answers(
        &mut self,
        start: &Trained,
        sft: &Trained,
        renderer: &Renderer,
        decoding: Decoding,
    ) -> Result<Vec<Artefact<PathBuf>>, Error> {
        let count = self.inputs.config.pairs.folds;
        if count == 1 {
            let place = Path::new("pairs").join(format!("own-{}.jsonl", decoding.name()));
            return Ok(vec![self.answer(&place, sft, Part::Curated, renderer, decoding)?]);
        }
        let mut answers = Vec::with_capacity(count);
        for (index, fold) in Fold::all(count).enumerate() {
            let seen: Vec<Document> =
                fold.seen(&self.inputs.splits.curated, &self.inputs.splits.train).into_iter().cloned().collect();
            let name = format!("pairs/fold-{}", index + 1);
            let trained = self.supervised(&name, &seen, &self.inputs.config.sft, start, renderer)?;
            let place = Path::new(&name).join(format!("{}.jsonl", decoding.name()));
            answers.push(self.answer(&place, &trained, Part::CuratedFold(fold), renderer, decoding)?);
        }
        Ok(answers)
    }

    fn answer(
        &mut self,
        place: &Path,
        policy: &Trained,
        part: Part,
        renderer: &Renderer,
        decoding: Decoding,
    ) -> Result<Artefact<PathBuf>, Error> {
        match decoding {
            Decoding::Greedy => self.predict(place, policy, part, renderer),
            Decoding::Sampled => {
                let config = &self.inputs.config;
                let (samples, seed) = (config.pairs.samples, derived_seed(config.run.seed, "samples"));
                self.sample(place, policy, part, renderer, samples, seed)
            }
        }
    }
}
