//! The stages up to preference pairs: base model, warm-up, SFT, error modes, pairs.

use std::{
    collections::HashMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use tabpo_answer::{gold, render_as};
use tabpo_corpus::{Document, Unit};
use tabpo_metrics::modes::ErrorModes;
use tabpo_model::{BpeOptions, GenerationTokens, SaveOptions, StoredType, Tokenizer};
use tabpo_objective::Objective;
use tabpo_ontology::Ontology;
use tabpo_pairs::{BuildSettings, Mix, ModeRates, PairBuilder, Source, SourceShares};
use tabpo_synthetic::{SyntheticConfig, initialise_copying, relexicalise};
use tabpo_train::TextSource;

use super::{
    Artefact, Stages, Trained,
    comparison::error_modes,
    directory::{remove_if_there, write_atomically},
    examples::{GoldRecords, gold_records},
    inputs::{BaseInputs, ErrorInputs, PairInputs, Recipe, StageInputs, SupervisedInputs, TrainingInputs},
    ledger::Finished,
    own_answers::Decoding,
    pipeline::Inputs,
    policy::{PolicyFolder, Renderer},
    prediction,
    training::{Job, POLICY_FOLDER, REPORT_FILE, derived_seed},
};
use crate::{
    config::{Configuration, TrainSection},
    error::{Error, ResultExt},
};

/// The SFT model's answers to the validation documents, in the run directory.
pub(super) const SFT_ANSWERS: &str = "errors/validation.jsonl";

impl Stages<'_> {
    /// The base model: the folder in the configuration, or a new model whose tokenizer is trained on the sources and
    /// answers that it will see.
    pub(super) fn base_stage(&mut self) -> Result<Trained, Error> {
        let model = &self.inputs.config.model;
        if let Some(folder) = &model.folder {
            let adapter = self.inputs.config.adapter.as_ref().and_then(|adapter| adapter.folder.clone());
            let path = PolicyFolder { model: folder.clone(), adapter, compute: self.compute };
            return Ok(Artefact { path, digest: self.base_digest.clone() });
        }
        let built_in = self.inputs.config.warmup.as_ref().filter(|warmup| warmup.sentences > 0);
        let key = BaseInputs {
            shape: model.into(),
            seed: self.inputs.config.run.seed,
            level: self.inputs.config.data.level,
            ontology: &self.inputs.digests.ontology,
            train: &self.inputs.digests.train,
            built_in: built_in.map(|warmup| (warmup.sentences, warmup.own_words)),
            form: self.inputs.config.answer.form,
        }
        .key();
        let folder = self.stage_folder("base");
        let (inputs, config, observer) = (self.inputs, &self.inputs.config, self.observer);
        let done = self.ledger.stage(observer, "base", &key, &["base".into()], || {
            let tokenizer = base_tokenizer(inputs)?;
            let shape = model.shape(tokenizer.vocabulary_size());
            let weights = initialise_copying::<f32>(shape, derived_seed(config.run.seed, "model"));
            let special = GenerationTokens {
                bos: None,
                stop: tokenizer.stop_ids().to_vec(),
                pad: tokenizer.special().pad.as_deref().and_then(|pad| tokenizer.token_id(pad)),
            };
            // Files of an earlier model must not remain beside this one's.
            remove_if_there(&folder)?;
            fs::create_dir_all(&folder).or_failed()?;
            weights.save(&folder, &SaveOptions::new(StoredType::F32), &special).or_failed()?;
            tokenizer.save(&folder).or_failed()
        })?;
        Ok(Artefact { path: PolicyFolder::model(folder, self.compute), digest: done.digest() })
    }

    /// Training before SFT, if the configuration asks for it.
    pub(super) fn warmup_stage(&mut self, base: &Trained, renderer: &Renderer) -> Result<Trained, Error> {
        let Some(warmup) = &self.inputs.config.warmup else { return Ok(base.clone()) };
        let documents = warmup_documents(&self.inputs.config, &self.inputs.splits.train);
        let ontology = tabpo_synthetic::ontology();
        if warmup.sentences > 0 && !names_of(ontology).eq(names_of(&self.inputs.ontology)) {
            return Err(Error::input(
                "warmup.sentences needs the labels of the built-in corpus in the ontology's order",
            )
            .with_hint("set it to 0 and use warmup.copies, or see `tabpo corpus generate` for the built-in ontology"));
        }
        self.supervised("warmup", &documents, &warmup.train, base, renderer)
    }

    /// Supervised fine-tuning on the training documents.
    pub(super) fn sft_stage(&mut self, start: &Trained, renderer: &Renderer) -> Result<Trained, Error> {
        let inputs = self.inputs;
        self.supervised("sft", &inputs.splits.train, &inputs.config.sft, start, renderer)
    }

    pub(super) fn supervised(
        &mut self,
        name: &str,
        documents: &[Document],
        section: &TrainSection,
        start: &Trained,
        renderer: &Renderer,
    ) -> Result<Trained, Error> {
        let config = &self.inputs.config;
        let form = config.answer.form;
        let GoldRecords { records, unmarkable } =
            gold_records(documents, config.data.level, &self.inputs.ontology, form);
        if let Some(said) = unmarkable.said() {
            if config.data.strict {
                return Err(
                    Error::failed(format!("{name}: {said}")).with_hint("without data.strict, they are not trained on")
                );
            }
            self.observer.warn(&format!("{name}: {said}; they are not trained on"));
        }
        let recipe = Recipe {
            section,
            adapter: config.adapter.as_ref(),
            compute: self.compute,
            device: &self.device,
            budget: section.budget(records.len()),
            learning_rate: section.learning_rate,
            seed: derived_seed(config.run.seed, name),
        };
        let (prompt, digest) = (self.prompt(renderer), super::splits::digest(documents));
        let on = |device| {
            let training = TrainingInputs::new(&recipe, device);
            let (start, ontology) = (&start.digest, &self.inputs.digests.ontology);
            let level = config.data.level;
            SupervisedInputs { start, prompt: &prompt, ontology, documents: &digest, level, form, training }.key()
        };
        let key = on(self.device.inputs()).or(on(self.device.elsewhere()));
        let (folder, log, cache) = (self.stage_folder(name), self.log(), self.cache()?);
        let policy = PathBuf::from(name).join(POLICY_FOLDER);
        let outputs = [policy.clone(), PathBuf::from(name).join(REPORT_FILE)];
        let done = self.ledger.stage(self.observer, name, &key, &outputs, || {
            let format = renderer.format()?;
            let limit = section.max_length.min(start.path.longest()?);
            let source = TextSource::new(&format, &records, &self.inputs.ontology, limit);
            let job = Job {
                name,
                key: &key,
                recipe,
                ranks: self.ranks,
                start: &start.path,
                objective: &Objective::new("sft").or_failed()?,
                guide: None,
                generated: 0,
                track_reference: false,
                out: &folder,
                log: &log,
                cache: &cache,
            };
            job.run(&source, renderer, self.observer)
        })?;
        let path = start.path.trained_at(&folder.join(POLICY_FOLDER), config.adapter.is_some());
        Ok(Artefact { path, digest: self.policy_digest(&done, &policy) })
    }

    /// A digest of what a policy's answers depend on: the folder that the training wrote and, with an adapter, the base
    /// model. It leaves out the report of the training, which has times in it.
    pub(super) fn policy_digest(&self, done: &Finished, folder: &Path) -> String {
        let own = done.digest_below(folder);
        if self.inputs.config.adapter.is_some() { format!("{} {own}", self.base_digest) } else { own }
    }

    /// A digest of what prompts depend on, apart from the documents.
    pub(super) fn prompt(&self, renderer: &Renderer) -> String {
        format!("{} {}", self.base_digest, blake3::hash(renderer.frame().as_bytes()).to_hex())
    }

    /// The error modes in the SFT model's answers to the validation documents.
    pub(super) fn error_stage(&mut self, sft: &Trained, renderer: &Renderer) -> Result<Artefact<PathBuf>, Error> {
        let predictions = self.predict(SFT_ANSWERS, sft, super::Part::Validation, renderer)?;
        self.say_validation(&predictions)?;
        let path = self.directory.path("errors/modes.json")?;
        let key = ErrorInputs {
            predictions: &predictions.digest,
            gold: &self.inputs.digests.validation,
            ontology: &self.inputs.digests.ontology,
        }
        .key();
        let (documents, ontology) = (&self.inputs.splits.validation, &self.inputs.ontology);
        let done = self.ledger.stage(self.observer, "errors", &key, &["errors/modes.json".into()], || {
            let found = error_modes(&predictions.path, documents, ontology)?;
            write_atomically(&path, &serde_json::to_vec_pretty(&found).expect("modes are plain data"))
        })?;
        Ok(Artefact { path, digest: done.digest() })
    }

    /// Preference pairs for the curated documents.
    ///
    /// `start` is the policy that SFT started from.
    pub(super) fn pair_stage(
        &mut self,
        start: &Trained,
        sft: &Trained,
        renderer: &Renderer,
        found: &Artefact<PathBuf>,
    ) -> Result<Artefact<PathBuf>, Error> {
        let settings = pair_settings(&self.inputs.config)?;
        let own = if uses_own_answers(&self.inputs.config) {
            self.own_answers(start, sft, renderer, Decoding::Greedy)?
        } else {
            Vec::new()
        };
        let path = self.directory.path("pairs/pairs.jsonl")?;
        let key = PairInputs {
            per_example: settings.per_example,
            mix: &settings.mix,
            sources: &settings.sources,
            seed: settings.seed,
            level: settings.level,
            patterns: &self.inputs.digests.patterns,
            ontology: &self.inputs.digests.ontology,
            documents: &self.inputs.digests.curated,
            modes: &found.digest,
            tokenizer: blake3::Hash::from_bytes(renderer.tokenizer.digest()).to_hex().to_string(),
            own: own.iter().map(|own| own.digest.as_str()).collect(),
            form: settings.form,
        }
        .key();
        let (documents, ontology, patterns) =
            (&self.inputs.splits.curated, &self.inputs.ontology, &self.inputs.patterns);
        let outputs = ["pairs/pairs.jsonl".into(), "pairs/summary.json".into()];
        let summary_path = self.directory.path("pairs/summary.json")?;
        let done = self.ledger.stage(self.observer, "pairs", &key, &outputs, || {
            let text = fs::read_to_string(&found.path).or_failed()?;
            let measured: ErrorModes = serde_json::from_str(&text).or_failed()?;
            let rates = ModeRates::new(&measured, ontology, ModeRates::SMOOTHING).or_failed()?;
            let mut answers = HashMap::new();
            for own in &own {
                answers.extend(prediction::by_unit(&own.path)?);
            }
            let tokenize = |text: &str| renderer.tokenizer.encode_text(text).unwrap_or_default();
            let mut builder = PairBuilder::new(ontology, patterns, &rates, settings.clone(), Some(&tokenize));
            let mut lines = Vec::new();
            let each = documents.iter().cloned().map(Ok::<_, Error>);
            let of_unit =
                |unit: &Unit| answers.get(&(unit.document.key.clone(), unit.sentence)).cloned().into_iter().collect();
            builder.build(each, of_unit, |record| record.write(&mut lines).or_failed())?;
            lines.flush().or_failed()?;
            write_atomically(&path, &lines)?;
            let summary = serde_json::to_vec_pretty(&builder.summary()).expect("a summary is plain data");
            write_atomically(&summary_path, &summary)
        })?;
        Ok(Artefact { path, digest: done.digest() })
    }
}

/// The tokenizer of a model from scratch, trained on the sources and answers that the model will see.
pub(super) fn base_tokenizer(inputs: &Inputs) -> Result<Tokenizer, Error> {
    let Inputs { config, splits, ontology, .. } = inputs;
    // Not on the copies, in which many words are invented.
    let built_in = warmup_sentences(config, &splits.train);
    let documents = built_in.iter().chain(&splits.train);
    let texts = documents.flat_map(|document| texts(document, config, ontology));
    let options = BpeOptions { vocabulary_size: config.model.vocabulary, ..BpeOptions::default() };
    Tokenizer::train(texts, &options).or_failed()
}

/// The settings of the pair builder; an error names the faulty key.
pub(super) fn pair_settings(config: &Configuration) -> Result<BuildSettings, Error> {
    let section = &config.pairs;
    let mix = if section.mix.is_empty() {
        Mix::default()
    } else {
        let text: Vec<String> = section.mix.iter().map(|(kind, share)| format!("{kind}={share}")).collect();
        Mix::parse(&text.join(",")).or_input().map_err(|error| error.context("pairs.mix"))?
    };
    let sources: Vec<String> = section.sources.iter().map(ToString::to_string).collect();
    let sources = SourceShares::parse(&sources.join(",")).or_input().map_err(|error| error.context("pairs.sources"))?;
    Ok(BuildSettings {
        per_example: section.per_example,
        seed: derived_seed(config.run.seed, "pairs"),
        level: config.data.level,
        mix,
        sources,
        form: config.answer.form,
        ..BuildSettings::default()
    })
}

fn uses_own_answers(config: &Configuration) -> bool {
    config.pairs.sources.iter().any(|share| share.source == Source::OnPolicy)
}

/// The documents for the warm-up: sentences of the built-in corpus, and copies of the training documents with other
/// words.
fn warmup_documents(config: &Configuration, train: &[Document]) -> Vec<Document> {
    let Some(warmup) = &config.warmup else { return Vec::new() };
    let mut documents = warmup_sentences(config, train);
    let seed = derived_seed(config.run.seed, "warmup copies");
    documents.extend(relexicalise::copies(train, warmup.copies, warmup.replaced, seed));
    documents
}

/// The built-in corpus with words of the training documents, so that the model learns to copy words that it will see.
fn warmup_sentences(config: &Configuration, train: &[Document]) -> Vec<Document> {
    let Some(warmup) = &config.warmup else { return Vec::new() };
    let seed = derived_seed(config.run.seed, "warmup corpus");
    let sizes = SyntheticConfig { seed, sft: 0, gold: warmup.sentences, validation: 0, test: 0, bias: 0.0 };
    let documents = tabpo_synthetic::generate(&sizes).gold;
    let seed = derived_seed(config.run.seed, "warmup words");
    relexicalise::relexicalise(&documents, &relexicalise::words(train), warmup.own_words, seed)
}

/// The sources and answers of a document, on which a tokenizer is trained.
fn texts(document: &Document, config: &Configuration, ontology: &Ontology) -> Vec<String> {
    let units = Unit::all(document, config.data.level);
    let written = |unit: &Unit| render_as(&gold(unit), unit, ontology, config.answer.form).ok();
    let texts = |unit: Unit| [Some(unit.text().to_owned()), written(&unit).map(|answer| answer.text)];
    units.flat_map(texts).flatten().collect()
}

fn names_of(ontology: &Ontology) -> impl Iterator<Item = &str> {
    let entities = ontology.entities.iter().map(|label| label.name.as_str());
    entities.chain(ontology.relations.iter().map(|label| label.name.as_str()))
}
