//! The stages up to the preference pairs: base model, warm-up, SFT, error modes, pairs.

use std::{
    collections::HashMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use tabpo_answer::{gold, render};
use tabpo_corpus::{Document, Unit};
use tabpo_engine::{BpeOptions, GenerationTokens, Model, SaveOptions, StoredType, Tokenizer};
use tabpo_metrics::modes::ErrorModes;
use tabpo_objective::Objective;
use tabpo_ontology::Ontology;
use tabpo_pairs::{BuildSettings, Mix, ModeRates, PairBuilder, SourceShares};
use tabpo_synthetic::{SyntheticConfig, relexicalise};
use tabpo_train::{TextSource, tokenizer_digest};

use super::{
    Artefact, Run, Trained,
    comparison::error_modes,
    directory::{remove_if_there, write_atomically},
    examples::gold_records,
    inputs::{BaseInputs, ErrorInputs, PairInputs, StageInputs, SupervisedInputs, TrainingInputs},
    ledger::Finished,
    policy::{PolicyFolder, Voice},
    prediction,
    training::{self, Job, POLICY_FOLDER, REPORT_FILE, derived_seed},
};
use crate::{
    config::{RunConfig, TrainSection},
    error::{CliError, ResultExt},
};

impl Run<'_> {
    /// The base model: the configured folder, or a new model with a tokenizer trained on the sources
    /// and answers that it will see.
    pub(super) fn base_stage(&mut self) -> Result<Trained, CliError> {
        let model = &self.config.model;
        if let Some(folder) = &model.folder {
            let adapter = self.config.adapter.as_ref().and_then(|adapter| adapter.folder.clone());
            let path = PolicyFolder { model: folder.clone(), adapter, compute: model.compute };
            return Ok(Artefact { path, digest: self.digests.base.clone() });
        }
        let built_in = self.config.warmup.as_ref().filter(|warmup| warmup.sentences > 0);
        let key = BaseInputs {
            shape: model.into(),
            seed: self.config.run.seed,
            level: self.config.data.level,
            ontology: &self.digests.ontology,
            train: &self.digests.train,
            built_in: built_in.map(|warmup| (warmup.sentences, warmup.own_words)),
        }
        .key();
        let folder = self.stage_folder("base");
        let (config, context) = (self.config, self.context);
        let (splits, ontology) = (&self.splits, &self.ontology);
        let done = self.ledger.stage(context, "base", &key, &["base".into()], || {
            // Not on the copies, among whose words many are invented.
            let built_in = warmup_sentences(config, &splits.train);
            let documents = built_in.iter().chain(&splits.train);
            let texts = documents.flat_map(|document| texts(document, config, ontology));
            let options = BpeOptions { vocabulary_size: model.vocabulary, ..BpeOptions::default() };
            let tokenizer = Tokenizer::train(texts, &options).or_failed()?;
            let shape = model.shape(tokenizer.vocabulary_size());
            let weights = Model::<f32>::initialise(shape, derived_seed(config.run.seed, "model"));
            let special = GenerationTokens {
                bos: None,
                stop: tokenizer.stop_ids().to_vec(),
                pad: tokenizer.special().pad.as_deref().and_then(|pad| tokenizer.token_id(pad)),
            };
            // Nothing of an earlier model may stand beside this one.
            remove_if_there(&folder)?;
            fs::create_dir_all(&folder).or_failed()?;
            weights.save(&folder, &SaveOptions::new(StoredType::F32), &special).or_failed()?;
            tokenizer.save(&folder).or_failed()
        })?;
        Ok(Artefact { path: PolicyFolder::model(folder, model.compute), digest: done.digest() })
    }

    /// Training before the run's own documents, where the configuration asks for it.
    pub(super) fn warmup_stage(&mut self, base: &Trained, voice: &Voice) -> Result<Trained, CliError> {
        let Some(warmup) = &self.config.warmup else { return Ok(base.clone()) };
        let documents = warmup_documents(self.config, &self.splits.train);
        let ontology = tabpo_synthetic::ontology();
        if warmup.sentences > 0 && !names_of(ontology).eq(names_of(&self.ontology)) {
            return Err(CliError::input(
                "warmup.sentences needs the labels of the built-in corpus in the ontology's order",
            )
            .with_hint("set it to 0 and use warmup.copies, or see `tabpo corpus generate` for the built-in ontology"));
        }
        self.supervised("warmup", &documents, &warmup.train, base, voice)
    }

    /// Supervised fine-tuning on the training documents.
    pub(super) fn sft_stage(&mut self, start: &Trained, voice: &Voice) -> Result<Trained, CliError> {
        let documents = std::mem::take(&mut self.splits.train);
        let trained = self.supervised("sft", &documents, &self.config.sft, start, voice);
        self.splits.train = documents;
        trained
    }

    pub(super) fn supervised(
        &mut self,
        name: &str,
        documents: &[Document],
        section: &TrainSection,
        start: &Trained,
        voice: &Voice,
    ) -> Result<Trained, CliError> {
        let config = self.config;
        let records = gold_records(documents, config.data.level, &self.ontology);
        let (budget, seed) = (training::budget(section, records.len()), derived_seed(config.run.seed, name));
        let numbers = (budget, section.learning_rate, seed);
        let key = SupervisedInputs {
            start: &start.digest,
            prompt: &self.prompt(voice),
            ontology: &self.digests.ontology,
            documents: &super::splits::digest(documents),
            level: config.data.level,
            training: TrainingInputs::new(section, numbers, config.adapter.as_ref(), config.model.compute),
        }
        .key();
        let (folder, log, cache) = (self.stage_folder(name), self.log(), self.cache()?);
        let policy = PathBuf::from(name).join(POLICY_FOLDER);
        let outputs = [policy.clone(), PathBuf::from(name).join(REPORT_FILE)];
        let done = self.ledger.stage(self.context, name, &key, &outputs, || {
            let format = voice.format()?;
            let limit = section.max_length.min(start.path.longest()?);
            let source = TextSource::new(&format, &records, limit);
            let job = Job {
                name,
                identity: key.as_str(),
                start: &start.path,
                adapter: config.adapter.as_ref(),
                objective: &Objective::new("sft").or_failed()?,
                section,
                learning_rate: section.learning_rate,
                budget,
                seed,
                third: None,
                track_reference: false,
                out: &folder,
                log: &log,
                cache: &cache,
            };
            job.run(&source, voice, self.context)
        })?;
        let path = start.path.trained_at(&folder.join(POLICY_FOLDER), config.adapter.is_some());
        Ok(Artefact { path, digest: self.policy_digest(&done, &policy) })
    }

    /// What a policy answers depends on: the folder that training filled, and under an adapter the
    /// base model. How long training took, which its report says, does not belong to it.
    pub(super) fn policy_digest(&self, done: &Finished, folder: &Path) -> String {
        let own = done.digest_below(folder);
        if self.config.adapter.is_some() { format!("{} {own}", self.digests.base) } else { own }
    }

    /// What prompts depend on besides the documents.
    pub(super) fn prompt(&self, voice: &Voice) -> String {
        format!("{} {}", self.digests.base, blake3::hash(voice.frame().as_bytes()).to_hex())
    }

    /// The SFT model's answers on the validation documents, and their error modes.
    pub(super) fn error_stage(&mut self, sft: &Trained, voice: &Voice) -> Result<Artefact<PathBuf>, CliError> {
        let predictions = self.predict("errors/validation.jsonl", sft, super::Part::Validation, voice)?;
        let path = self.directory.path("errors/modes.json")?;
        let key = ErrorInputs {
            predictions: &predictions.digest,
            gold: &self.digests.validation,
            ontology: &self.digests.ontology,
        }
        .key();
        let (documents, ontology) = (&self.splits.validation, &self.ontology);
        let done = self.ledger.stage(self.context, "errors", &key, &["errors/modes.json".into()], || {
            let found = error_modes(&predictions.path, documents, ontology)?;
            write_atomically(&path, &serde_json::to_vec_pretty(&found).expect("modes are plain data"))
        })?;
        Ok(Artefact { path, digest: done.digest() })
    }

    /// Preference pairs for the curated documents.
    ///
    /// `start` is what SFT started from.
    pub(super) fn pair_stage(
        &mut self,
        start: &Trained,
        sft: &Trained,
        voice: &Voice,
        found: &Artefact<PathBuf>,
    ) -> Result<Artefact<PathBuf>, CliError> {
        let settings = pair_settings(self.config)?;
        let own = if uses_own_answers(self.config) { self.own_answers(start, sft, voice)? } else { Vec::new() };
        let path = self.directory.path("pairs/pairs.jsonl")?;
        let key = PairInputs {
            per_example: settings.per_example,
            mix: &settings.mix,
            sources: &settings.sources,
            seed: settings.seed,
            level: settings.level,
            patterns: &self.digests.patterns,
            ontology: &self.digests.ontology,
            documents: &self.digests.curated,
            modes: &found.digest,
            tokenizer: blake3::Hash::from_bytes(tokenizer_digest(&voice.tokenizer)).to_hex().to_string(),
            own: own.iter().map(|own| own.digest.as_str()).collect(),
        }
        .key();
        let (documents, ontology, patterns) = (&self.splits.curated, &self.ontology, &self.patterns);
        let outputs = ["pairs/pairs.jsonl".into(), "pairs/summary.json".into()];
        let summary_path = self.directory.path("pairs/summary.json")?;
        let done = self.ledger.stage(self.context, "pairs", &key, &outputs, || {
            let text = fs::read_to_string(&found.path).or_failed()?;
            let measured: ErrorModes = serde_json::from_str(&text).or_failed()?;
            let rates = ModeRates::new(&measured, ontology, ModeRates::SMOOTHING).or_failed()?;
            let mut answers = HashMap::new();
            for own in &own {
                answers.extend(prediction::by_unit(&own.path)?);
            }
            let tokenize = |text: &str| voice.tokenizer.encode_text(text).unwrap_or_default();
            let mut builder = PairBuilder::new(ontology, patterns, &rates, settings.clone(), Some(&tokenize));
            let mut lines = Vec::new();
            let each = documents.iter().cloned().map(Ok::<_, CliError>);
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

/// Settings of the pair builder; an error names the configuration key at fault.
pub(super) fn pair_settings(config: &RunConfig) -> Result<BuildSettings, CliError> {
    let section = &config.pairs;
    let mix = if section.mix.is_empty() {
        Mix::default()
    } else {
        let text: Vec<String> = section.mix.iter().map(|(kind, share)| format!("{kind}={share}")).collect();
        Mix::parse(&text.join(",")).or_input().map_err(|error| error.context("pairs.mix"))?
    };
    let sources =
        SourceShares::parse(&section.sources.join(",")).or_input().map_err(|error| error.context("pairs.sources"))?;
    Ok(BuildSettings {
        per_example: section.per_example,
        seed: derived_seed(config.run.seed, "pairs"),
        level: config.data.level,
        mix,
        sources,
        ..BuildSettings::default()
    })
}

fn uses_own_answers(config: &RunConfig) -> bool {
    config.pairs.sources.iter().any(|source| source.starts_with("on-policy"))
}

/// What the warm-up trains on: sentences of the built-in corpus, and copies of the run's own training
/// documents in other words.
fn warmup_documents(config: &RunConfig, train: &[Document]) -> Vec<Document> {
    let Some(warmup) = &config.warmup else { return Vec::new() };
    let mut documents = warmup_sentences(config, train);
    let seed = derived_seed(config.run.seed, "warmup copies");
    documents.extend(relexicalise::copies(train, warmup.copies, warmup.replaced, seed));
    documents
}

/// The built-in corpus in the words of the run's own training documents, so that what the model
/// learns to copy are the words that it will see.
fn warmup_sentences(config: &RunConfig, train: &[Document]) -> Vec<Document> {
    let Some(warmup) = &config.warmup else { return Vec::new() };
    let seed = derived_seed(config.run.seed, "warmup corpus");
    let sizes = SyntheticConfig { seed, sft: 0, gold: warmup.sentences, validation: 0, test: 0, bias: 0.0 };
    let documents = tabpo_synthetic::generate(&sizes).gold;
    let seed = derived_seed(config.run.seed, "warmup words");
    relexicalise::relexicalise(&documents, &relexicalise::words(train), warmup.own_words, seed)
}

/// Sources and answers of a document: what a tokenizer is trained on.
fn texts(document: &Document, config: &RunConfig, ontology: &Ontology) -> Vec<String> {
    let units = Unit::all(document, config.data.level);
    units.flat_map(|unit| [unit.text().to_owned(), render(&gold(&unit), ontology).text]).collect()
}

fn names_of(ontology: &Ontology) -> impl Iterator<Item = &str> {
    let entities = ontology.entities.iter().map(|label| label.name.as_str());
    entities.chain(ontology.relations.iter().map(|label| label.name.as_str()))
}
