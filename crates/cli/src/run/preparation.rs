//! The stages up to the preference pairs: base model, warm-up, SFT, error modes, pairs.

use std::{collections::HashMap, fs, io::Write, path::PathBuf};

use tabpo_answer::{gold, render};
use tabpo_corpus::{
    Document, Unit,
    synthetic::{self, SyntheticConfig, relexicalise},
};
use tabpo_engine::{BpeOptions, GenerationTokens, Model, ModelConfig, SaveOptions, StoredType, Tokenizer};
use tabpo_metrics::modes::ErrorModes;
use tabpo_objective::Objective;
use tabpo_ontology::Ontology;
use tabpo_pairs::{BuildSettings, Mix, ModeRates, PairBuilder, SourceShares};
use tabpo_train::TextSource;

use super::{
    Artefact, Run, Trained,
    comparison::error_modes,
    directory::write_atomically,
    examples::gold_records,
    key,
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
    pub(super) fn base_stage(&mut self) -> Result<PolicyFolder, CliError> {
        let model = &self.config.model;
        if let Some(folder) = &model.folder {
            let adapter = self.config.adapter.as_ref().and_then(|adapter| adapter.folder.clone());
            return Ok(PolicyFolder { model: folder.clone(), adapter, compute: model.compute });
        }
        let key = key("base")
            .with("model", model)
            .with("seed", &self.config.run.seed)
            .with("level", &self.config.data.level)
            .with("warmup", &self.config.warmup.as_ref().map(|warmup| (warmup.sentences, warmup.own_words)))
            .with("ontology", &self.digests.ontology)
            .with("train", &self.digests.train);
        let folder = self.stage_folder("base");
        let (config, context) = (self.config, self.context);
        let (splits, ontology) = (&self.splits, &self.ontology);
        self.ledger.stage(context, "base", &key, &["base".into()], || {
            // Not on the copies, among whose words many are invented.
            let built_in = warmup_sentences(config, &splits.train);
            let documents = built_in.iter().chain(&splits.train);
            let texts = documents.flat_map(|document| texts(document, config, ontology));
            let options = BpeOptions { vocabulary_size: model.vocabulary, ..BpeOptions::default() };
            let tokenizer = Tokenizer::train(texts, &options).or_failed()?;
            let heads_fit = model.heads > 0 && model.hidden.is_multiple_of(2 * model.heads);
            if !heads_fit || model.kv_heads == 0 || !model.heads.is_multiple_of(model.kv_heads) {
                return Err(CliError::input(format!(
                    "[model]: {} heads and {} key and value heads do not divide a width of {}",
                    model.heads, model.kv_heads, model.hidden
                ))
                .with_hint("hidden / heads must be even, and heads a multiple of kv_heads"));
            }
            let shape = ModelConfig {
                kv_heads: model.kv_heads,
                intermediate: model.intermediate,
                ..ModelConfig::small(tokenizer.vocabulary_size(), model.hidden, model.layers, model.heads)
            };
            let weights = Model::<f32>::initialise(shape, derived_seed(config.run.seed, "model"));
            let special = GenerationTokens {
                bos: None,
                stop: tokenizer.stop_ids().to_vec(),
                pad: tokenizer.special().pad.as_deref().and_then(|pad| tokenizer.token_id(pad)),
            };
            fs::create_dir_all(&folder).or_failed()?;
            weights.save(&folder, &SaveOptions::new(StoredType::F32), &special).or_failed()?;
            tokenizer.save(&folder).or_failed()
        })?;
        Ok(PolicyFolder::model(folder, model.compute))
    }

    /// Training before the run's own documents, where the configuration asks for it.
    pub(super) fn warmup_stage(&mut self, base: &PolicyFolder, voice: &Voice) -> Result<Trained, CliError> {
        let digest = match &self.digests.base {
            Some(digest) => digest.clone(),
            None => self.ledger.stages().get("base").map_or_else(String::new, |done| done.key.clone()),
        };
        let start = Artefact { path: base.clone(), digest };
        let Some(warmup) = &self.config.warmup else { return Ok(start) };
        let documents = warmup_documents(self.config, &self.splits.train);
        let ontology = synthetic::ontology();
        if warmup.sentences > 0 && !names_of(ontology).eq(names_of(&self.ontology)) {
            return Err(CliError::input(
                "warmup.sentences needs the labels of the built-in corpus in the ontology's order",
            )
            .with_hint("set it to 0 and use warmup.copies, or see `tabpo corpus generate` for the built-in ontology"));
        }
        self.supervised("warmup", &documents, &warmup.train, &start, voice)
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
        let key = key(name)
            .with("start", &start.digest)
            .with("adapter", &config.adapter)
            .with("train", section)
            .with("level", &config.data.level)
            .with("seed", &config.run.seed)
            .with("documents", &super::splits::digest(documents));
        let (folder, log, cache) = (self.stage_folder(name), self.log(), self.cache()?);
        let outputs = [PathBuf::from(name).join(POLICY_FOLDER), PathBuf::from(name).join(REPORT_FILE)];
        let (context, ontology) = (self.context, &self.ontology);
        let digest = self.ledger.stage(context, name, &key, &outputs, || {
            let records = gold_records(documents, config.data.level, ontology);
            let format = voice.format()?;
            let limit = section.max_length.min(start.path.longest()?);
            let source = TextSource::new(&format, &records, limit);
            let job = Job {
                name,
                start: &start.path,
                adapter: config.adapter.as_ref(),
                objective: &Objective::new("sft").or_failed()?,
                section,
                learning_rate: section.learning_rate,
                budget: training::budget(section, records.len()),
                seed: derived_seed(config.run.seed, name),
                third: None,
                track_reference: false,
                out: &folder,
                log: &log,
                cache: &cache,
            };
            job.run(&source, voice, context)
        })?;
        let path = start.path.trained_at(&folder.join(POLICY_FOLDER), config.adapter.is_some());
        Ok(Artefact { path, digest })
    }

    /// The SFT model's answers on the validation documents, and their error modes.
    pub(super) fn error_stage(&mut self, sft: &Trained, voice: &Voice) -> Result<Artefact<PathBuf>, CliError> {
        let predictions = self.predict("errors/validation.jsonl", sft, super::Part::Validation, voice)?;
        let path = self.directory.path("errors/modes.json")?;
        let key = key("errors").with("predictions", &predictions.digest).with("gold", &self.digests.validation);
        let (documents, ontology) = (&self.splits.validation, &self.ontology);
        let digest = self.ledger.stage(self.context, "errors", &key, &["errors/modes.json".into()], || {
            let found = error_modes(&predictions.path, documents, ontology)?;
            write_atomically(&path, &serde_json::to_vec_pretty(&found).expect("modes are plain data"))
        })?;
        Ok(Artefact { path, digest })
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
        let key = key("pairs")
            .with("settings", &self.config.pairs)
            .with("seed", &settings.seed)
            .with("level", &settings.level)
            .with("patterns", &self.digests.patterns)
            .with("ontology", &self.digests.ontology)
            .with("documents", &self.digests.curated)
            .with("modes", &found.digest)
            .with("own", &own.iter().map(|own| &own.digest).collect::<Vec<_>>());
        let (documents, ontology, patterns) = (&self.splits.curated, &self.ontology, &self.patterns);
        let outputs = ["pairs/pairs.jsonl".into(), "pairs/summary.json".into()];
        let summary_path = self.directory.path("pairs/summary.json")?;
        let digest = self.ledger.stage(self.context, "pairs", &key, &outputs, || {
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
        Ok(Artefact { path, digest })
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
    let documents = synthetic::generate(&sizes).gold;
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
