//! Trains the systems of a comparison: each with every seed, with a learning rate chosen on validation, and with the
//! auxiliary models that some objectives need.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tabpo_metrics::Profile;
use tabpo_objective::{Objective, OwnAnswers, WeightSource};
use tabpo_train::{
    ExampleError, ExampleRecord, ExampleSource, ReferenceCache, ScoreTransform, TextSource, TokenisedExample,
    TrainBudget, log_probs, set_importance_weights,
};

use super::{
    Artefact, Part, Stages, Trained,
    comparison::score,
    examples::pair_records,
    inputs::{PreferenceInputs, Recipe, StageInputs, TrainingInputs},
    own_answers::Decoding,
    own_examples::OwnExamples,
    policy::Renderer,
    preparation::SFT_ANSWERS,
    systems::System,
    training::{Job, POLICY_FOLDER, REPORT_FILE, TrainingReport, derived_seed},
};
use crate::{
    device::Computer,
    error::{Error, ResultExt},
};

/// The trained policies of a system.
pub(crate) struct SystemRuns {
    /// The learning rate that was chosen.
    pub learning_rate: f64,
    /// One run for each seed.
    pub runs: Vec<SystemRun>,
}

/// A trained policy of a system.
pub(crate) struct SystemRun {
    /// Its folder, relative to the run directory.
    pub folder: PathBuf,
    /// The policy.
    pub policy: Trained,
    /// The report of its training.
    pub report: TrainingReport,
}

/// What the training runs of all systems share.
struct Common<'a> {
    sft: &'a Trained,
    pairs: &'a Artefact<PathBuf>,
    renderer: &'a Renderer,
    records: Vec<ExampleRecord>,
    /// Examples with the model's own greedy answers; none where no objective needs them.
    greedy: OwnExamples,
    /// Examples with answers that were sampled from the model; none where no objective needs them.
    sampled: OwnExamples,
}

/// One training run of a system.
struct Variant<'a> {
    name: String,
    objective: &'a Objective,
    learning_rate: f64,
    budget: TrainBudget,
    seed: u64,
    /// Whether chosen and rejected answers are swapped.
    reversed: bool,
}

impl Stages<'_> {
    /// Trains every system with every seed. `start` is the policy that SFT started from.
    pub(super) fn system_stages(
        &mut self,
        systems: &[System],
        start: &Trained,
        sft: &Trained,
        pairs: &Artefact<PathBuf>,
        renderer: &Renderer,
    ) -> Result<Vec<SystemRuns>, Error> {
        let records = pair_records(&pairs.path, &self.inputs.ontology)?;
        let mut own = |needed: OwnAnswers, decoding: Decoding| {
            let is_needed = systems.iter().any(|system| system.objective.needs().own == needed);
            if is_needed {
                self.own_examples(start, sft, renderer, &records, decoding)
            } else {
                Ok(OwnExamples::default())
            }
        };
        let greedy = own(OwnAnswers::Greedy, Decoding::Greedy)?;
        let sampled = own(OwnAnswers::Sampled, Decoding::Sampled)?;
        let common = Common { sft, pairs, renderer, records, greedy, sampled };
        let section = &self.inputs.config.preference;
        let f1 = if systems.iter().any(|system| system.objective.lacks_f1()) { Some(self.sft_f1()?) } else { None };
        let mut trained: Vec<SystemRuns> = Vec::new();
        for system in systems {
            let objective = match f1 {
                Some((entities, relations)) => system.objective.with_f1(entities, relations).or_failed()?,
                None => system.objective.clone(),
            };
            let budget = if system.equal_flops {
                TrainBudget::Tokens(most_expensive(systems, &trained))
            } else {
                section.train.budget(common.records.len())
            };
            let variant = |learning_rate: f64, seed: u64| Variant {
                name: format!("systems/{}/lr-{learning_rate:e}/seed-{seed}", system.name),
                objective: &objective,
                learning_rate,
                budget,
                seed: derived_seed(seed, "preference"),
                reversed: false,
            };
            let learning_rate = match system.learning_rates[..] {
                [rate] => rate,
                ref rates => {
                    let tries: Vec<_> = rates.iter().map(|&rate| variant(rate, section.seeds[0])).collect();
                    self.choose(&system.name, &tries, &common)?
                }
            };
            let mut runs = Vec::new();
            for &seed in &section.seeds {
                runs.push(self.variant(&variant(learning_rate, seed), &common)?);
            }
            trained.push(SystemRuns { learning_rate, runs });
        }
        Ok(trained)
    }

    /// The learning rate with the highest sum of NER and Rel F1 on the validation documents.
    fn choose(&mut self, system: &str, tries: &[Variant<'_>], common: &Common<'_>) -> Result<f64, Error> {
        let mut best: Option<(f64, f64)> = None;
        for variant in tries {
            let run = self.variant(variant, common)?;
            let place = run.folder.join("validation.jsonl");
            let predictions = self.predict(&place, &run.policy, Part::Validation, common.renderer)?;
            let (entities, relations) = self.validation_f1(&predictions.path)?;
            let sum = entities + relations;
            if best.is_none_or(|(highest, _)| sum > highest) {
                best = Some((sum, variant.learning_rate));
            }
        }
        let (_, learning_rate) = best.expect("a choice has at least two learning rates");
        self.observer.say(&format!("{system}: learning rate {learning_rate:e} chosen on validation"));
        Ok(learning_rate)
    }

    /// The F1 of entities and of relations that the SFT model reaches on the validation documents. Objectives that
    /// weigh items by F1 take it as a constant of their training: it costs nothing, because the error modes are
    /// measured on the same answers, it is part of a stage's key, and a resumed training has the same.
    fn sft_f1(&self) -> Result<(f64, f64), Error> {
        let (entities, relations) = self.validation_f1(&self.stage_folder(SFT_ANSWERS))?;
        self.observer.say(&format!(
            "F1 of the SFT model on validation: entities {:.1}, relations {:.1}",
            100.0 * entities,
            100.0 * relations
        ));
        Ok((entities, relations))
    }

    /// The F1 of entities and of relations in answers to the validation documents, from 0 to 1. A rate over nothing
    /// counts as 0.
    fn validation_f1(&self, predictions: &Path) -> Result<(f64, f64), Error> {
        let counts = score(predictions, &self.inputs.splits.validation, &self.inputs.ontology)?;
        let row = counts.table.pooled();
        let metrics = Profile::Default.metrics(&counts.layout, true);
        let value = |key: &str| {
            let found = metrics.iter().find(|metric| metric.key == key);
            found.and_then(|metric| metric.measure.value(&counts.layout, &row)).unwrap_or(0.0)
        };
        Ok((value("ner_f1"), value("rel_f1")))
    }

    /// Trains one variant.
    fn variant(&mut self, variant: &Variant<'_>, common: &Common<'_>) -> Result<SystemRun, Error> {
        let needs = variant.objective.needs();
        let own = match needs.own {
            OwnAnswers::None => None,
            OwnAnswers::Greedy => Some(&common.greedy),
            OwnAnswers::Sampled => Some(&common.sampled),
        };
        let contrastive = needs.weights == WeightSource::Contrastive;
        let positive = if needs.guide || contrastive { Some(self.scorer(false, common)?) } else { None };
        let negative = if contrastive { Some(self.scorer(true, common)?) } else { None };
        let (config, observer) = (&self.inputs.config, self.observer);
        let section = &config.preference.train;
        let name = &variant.name;
        let recipe = Recipe {
            section,
            adapter: config.adapter.as_ref(),
            compute: self.compute,
            device: &self.device,
            budget: variant.budget,
            learning_rate: variant.learning_rate,
            seed: variant.seed,
        };
        let prompt = self.prompt(common.renderer);
        let on = |device| {
            PreferenceInputs {
                start: &common.sft.digest,
                prompt: &prompt,
                ontology: &self.inputs.digests.ontology,
                pairs: &common.pairs.digest,
                objective: variant.objective,
                reversed: variant.reversed,
                scorers: [&positive, &negative].map(|scorer| scorer.as_ref().map(|scorer| scorer.digest.as_str())),
                own: own.iter().flat_map(|own| &own.digests).map(String::as_str).collect(),
                training: TrainingInputs::new(&recipe, device),
            }
            .key()
        };
        let key = on(self.device.inputs()).or(on(self.device.elsewhere()));
        let (records, generated) = own.map_or((&common.records, 0), |own| (&own.records, own.generated));
        let folder = PathBuf::from(name);
        let out = self.stage_folder(name);
        let (log, cache) = (self.log(), self.cache()?);
        let policy = folder.join(POLICY_FOLDER);
        let outputs = [policy.clone(), folder.join(REPORT_FILE)];
        let done = self.ledger.stage(observer, name, &key, &outputs, || {
            let format = common.renderer.format()?;
            let limit = section.max_length.min(common.sft.path.longest()?);
            let text = TextSource::new(&format, records, &self.inputs.ontology, limit);
            let text = if needs.credit { text.with_decisions() } else { text };
            let loaded;
            let source: &dyn ExampleSource = if variant.reversed {
                loaded = load(&text)?.iter().flat_map(TokenisedExample::reversed).collect::<Vec<_>>();
                &loaded
            } else if contrastive || needs.weights == WeightSource::External {
                let scorers = (positive.as_ref(), negative.as_ref());
                let computer = self.device.open(observer)?;
                loaded = weighted(load(&text)?, scorers, section.max_tokens, computer)?;
                &loaded
            } else {
                &text
            };
            let job = Job {
                name,
                key: &key,
                recipe,
                ranks: self.ranks,
                start: &common.sft.path,
                objective: variant.objective,
                guide: positive.as_ref().filter(|_| needs.guide).map(|scorer| &scorer.path),
                generated,
                track_reference: true,
                out: &out,
                log: &log,
                cache: &cache,
            };
            job.run(source, common.renderer, observer)
        })?;
        let text = fs::read(out.join(REPORT_FILE)).or_failed()?;
        let report = serde_json::from_slice(&text).or_failed()?;
        let path = common.sft.path.trained_at(&out.join(POLICY_FOLDER), config.adapter.is_some());
        let digest = self.policy_digest(&done, &policy);
        Ok(SystemRun { folder, policy: Artefact { path, digest }, report })
    }

    /// A DPO model of the pairs, or of the pairs with chosen and rejected answers swapped, from which TIS-DPO's token
    /// weights and TGDPO's token rewards are derived.
    fn scorer(&mut self, reversed: bool, common: &Common<'_>) -> Result<Trained, Error> {
        let section = &self.inputs.config.preference;
        let objective = Objective::new("dpo").or_failed()?;
        let variant = Variant {
            name: format!("scorers/{}", if reversed { "negative" } else { "positive" }),
            objective: &objective,
            learning_rate: section.train.learning_rate,
            budget: section.train.budget(common.records.len()),
            seed: derived_seed(self.inputs.config.run.seed, "scorers"),
            reversed,
        };
        Ok(self.variant(&variant, common)?.policy)
    }
}

/// The FLOPs of the most expensive preference method so far, as a number of tokens through forward and backward pass.
fn most_expensive(systems: &[System], trained: &[SystemRuns]) -> u64 {
    let done = systems.iter().zip(trained).filter(|(system, _)| system.objective.needs().pairs());
    let runs = done.flat_map(|(_, runs)| &runs.runs);
    runs.map(|run| run.report.summary.tokens.equivalent()).max().unwrap_or(1)
}

/// All examples of a source except those that are too long.
fn load(source: &dyn ExampleSource) -> Result<Vec<TokenisedExample>, Error> {
    let loaded = (0..source.len()).map(|index| source.load(index));
    loaded.filter(|example| !matches!(example, Err(ExampleError::TooLong { .. }))).collect::<Result<_, _>>().or_failed()
}

/// Sets the token weights of objectives that take them from the data. They are derived from two scorers (TIS-DPO), or
/// select the tokens of the chosen answer and the wrong tokens of the rejected one (Mask-DPO).
fn weighted(
    mut examples: Vec<TokenisedExample>,
    (positive, negative): (Option<&Trained>, Option<&Trained>),
    max_tokens: usize,
    computer: &Computer,
) -> Result<Vec<TokenisedExample>, Error> {
    if let (Some(positive), Some(negative)) = (positive, negative) {
        let scores = |scorer: &Trained| -> Result<_, Error> {
            let mut cache = ReferenceCache::in_memory();
            let mut worker = scorer.path.worker_on(computer)?;
            let scored = log_probs(worker.worker(), &[0; 32], &examples, max_tokens, &mut cache);
            Ok(scored.or_failed()?.0)
        };
        let (positive, negative) = (scores(positive)?, scores(negative)?);
        for ((example, positive), negative) in examples.iter_mut().zip(&positive).zip(&negative) {
            set_importance_weights(example, positive, negative, ScoreTransform::default());
        }
        return Ok(examples);
    }
    for example in &mut examples {
        example.chosen.weights = Some(vec![1.0; example.chosen.tokens.len()]);
        for rejected in &mut example.rejected {
            let (_, wrong) = tabpo_objective::diff::differs(&example.chosen.tokens, &rejected.answer.tokens);
            rejected.answer.weights = Some(wrong.into_iter().map(|wrong| f64::from(u8::from(wrong))).collect());
        }
    }
    Ok(examples)
}
