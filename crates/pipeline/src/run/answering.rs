//! Has the policies of a run answer its documents.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use tabpo_corpus::Document;
use tabpo_engine::Sampling;

use super::{
    Artefact, Part, Stages, Trained,
    policy::Renderer,
    prediction::{Prediction, remove_partial},
    splits,
    threshold::ListEnds,
};
use crate::{config::PredictSection, error::Error};

/// How a policy answers documents of a run.
#[derive(Clone, Copy)]
struct Manner {
    samples: usize,
    sampling: Sampling,
    list_ends: ListEnds,
}

impl Stages<'_> {
    /// Has a policy answer one part of the documents, and writes the answers to `place` in the run directory.
    pub(super) fn predict(
        &mut self,
        place: impl AsRef<Path>,
        policy: &Trained,
        part: Part,
        renderer: &Renderer,
    ) -> Result<Artefact<PathBuf>, Error> {
        self.predict_lists(place.as_ref(), policy, part, renderer, ListEnds::GREEDY)
    }

    /// As [`predict`](Self::predict), with another rule for where lists end.
    pub(super) fn predict_lists(
        &mut self,
        place: &Path,
        policy: &Trained,
        part: Part,
        renderer: &Renderer,
        list_ends: ListEnds,
    ) -> Result<Artefact<PathBuf>, Error> {
        let manner = Manner { samples: 1, sampling: Sampling::GREEDY, list_ends };
        self.predict_in(place, policy, part, renderer, manner)
    }

    /// As [`predict`](Self::predict), with answers drawn as the policy's probabilities say, `samples` to each unit, one
    /// after the other.
    pub(super) fn sample(
        &mut self,
        place: &Path,
        policy: &Trained,
        part: Part,
        renderer: &Renderer,
        samples: usize,
        seed: u64,
    ) -> Result<Artefact<PathBuf>, Error> {
        let sampling = Sampling { temperature: 1.0, top_p: 1.0, seed };
        let manner = Manner { samples, sampling, list_ends: ListEnds::GREEDY };
        self.predict_in(place, policy, part, renderer, manner)
    }

    fn predict_in(
        &mut self,
        place: &Path,
        policy: &Trained,
        part: Part,
        renderer: &Renderer,
        manner: Manner,
    ) -> Result<Artefact<PathBuf>, Error> {
        let Manner { samples, sampling, list_ends } = manner;
        let path = self.directory.path(place)?;
        let whole = |documents, digest: &String| (Cow::Borrowed(documents), digest.clone());
        let (documents, gold) = match part {
            Part::Validation => whole(self.inputs.splits.validation.as_slice(), &self.inputs.digests.validation),
            Part::Curated => whole(&self.inputs.splits.curated, &self.inputs.digests.curated),
            Part::CuratedFold(fold) => {
                let held_out: Vec<Document> = fold.held_out(&self.inputs.splits.curated).cloned().collect();
                let digest = splits::digest(&held_out);
                (Cow::Owned(held_out), digest)
            }
            Part::Test | Part::TestConstrained => whole(&self.inputs.splits.test, &self.inputs.digests.test),
        };
        let constrained = part == Part::TestConstrained;
        let settings = PredictSection { constrained, remote: BTreeMap::new(), ..self.inputs.config.predict.clone() };
        let name = place.with_extension("").display().to_string();
        let prediction = Prediction {
            name: &name,
            policy: &policy.path,
            device: &self.device,
            renderer,
            ontology: &self.inputs.ontology,
            form: self.inputs.config.answer.form,
            level: self.inputs.config.data.level,
            settings: &settings,
            samples,
            sampling,
            list_ends,
            strict: self.inputs.config.data.strict,
        };
        let key = prediction.key(&policy.digest, &self.prompt(renderer), &gold, &self.inputs.digests.ontology);
        let observer = self.observer;
        let done = self.ledger.stage(observer, &name, &key, &[place.to_owned()], || {
            prediction.write(&documents, &path, key.short(), observer)?;
            remove_partial(&path)
        })?;
        Ok(Artefact { path, digest: done.digest() })
    }
}
