//! The start of a project: a configuration and an ontology for documents and a model that are there.
//!
//! [`Starter::look`] reads, decides and writes nothing; [`Starter::files`] are the files to be written. What they say
//! is taken from the documents: the splits from the names of files, the labels and their signatures from the
//! annotation, what one prompt shows from the relations, lengths from the model's own tokenizer.

mod configuration;
mod labels;
mod lengths;
mod relative;
mod sources;
mod split;

use std::path::{Path, PathBuf};

use tabpo_corpus::{Document, Level, Loaded, Unit, discover};
use tabpo_ontology::{Arguments, Ontology};

use self::{lengths::ModelFacts, sources::Sources};
use crate::{
    config::names,
    corpora,
    error::{Error, ResultExt},
    observer::Observer,
};

/// The name of the configuration that is written.
pub const CONFIGURATION: &str = "tabpo.toml";
/// The name of the ontology that is written.
pub const ONTOLOGY: &str = "ontology.toml";
/// The folder for the parts of a corpus that has to be split.
const PARTS: &str = "data";

/// What a configuration is made for.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// The documents: a file, a folder of one, or a folder with a file for each split. Without any, the built-in
    /// corpus.
    pub data: Option<PathBuf>,
    /// A Hugging Face folder, a GGUF file, or a PEFT folder. Without one, a small model from scratch.
    pub model: Option<PathBuf>,
    /// The folder for the files.
    pub out: PathBuf,
}

/// A file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartFile {
    /// Where.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// What was found, and the files that follow from it.
#[derive(Debug)]
pub struct Starter {
    /// What was found and decided, for people.
    pub facts: Vec<String>,
    /// The files.
    pub files: Vec<StartFile>,
}

/// The documents of the splits.
struct Corpus {
    ontology: Ontology,
    train: Vec<Document>,
    curated: Option<Vec<Document>>,
    validation: Option<Vec<Document>>,
    sources: Sources,
}

impl Starter {
    /// Looks at documents and model, and decides what to write.
    pub fn look(options: &StartOptions, observer: &dyn Observer) -> Result<Self, Error> {
        let mut facts = Vec::new();
        let mut files = Vec::new();
        let name = run_name(options.data.as_deref().unwrap_or(Path::new("first")));
        let corpus = match &options.data {
            None => None,
            Some(data) => Some(Corpus::read(data, options, &mut files, &mut facts, observer)?),
        };
        let level = corpus.as_ref().map_or(Level::Sentence, |corpus| level_of(corpus, &mut facts));
        let ontology = match &corpus {
            None => tabpo_synthetic::ontology().clone(),
            Some(corpus) => {
                // A pretrained model finds it easier to copy a text than to count.
                let by_text = options.model.is_some() && level == Level::Sentence;
                let arguments = if by_text { Arguments::Texts } else { Arguments::Ids };
                let text = labels::toml(&name, corpus, arguments);
                let path = options.out.join(ONTOLOGY);
                let ontology = Ontology::parse(&text, ONTOLOGY).or_input().map_err(|error| {
                    let error = error.context("a label of the documents cannot be a label of answers");
                    error.with_hint("rename it in the documents")
                })?;
                files.push(StartFile { path, text });
                ontology
            }
        };
        let model = match &options.model {
            None => None,
            Some(model) => Some(ModelFacts::of(model, corpus.as_ref(), &ontology, level, observer)?),
        };
        if let Some(model) = &model {
            facts.push(model.said());
        }
        let text = configuration::toml(&name, options, corpus.as_ref(), level, model.as_ref());
        files.push(StartFile { path: options.out.join(CONFIGURATION), text });
        Ok(Self { facts, files })
    }

    /// Writes the files. If one of them exists, none is written.
    pub fn write(&self) -> Result<(), Error> {
        if let Some(file) = self.files.iter().find(|file| file.path.exists()) {
            let path = file.path.strip_prefix(".").unwrap_or(&file.path).display();
            return Err(Error::input(format!("{path} exists already, and nothing was written"))
                .with_hint("name another folder with --out, or remove the file"));
        }
        for file in &self.files {
            if let Some(folder) = file.path.parent() {
                std::fs::create_dir_all(folder)
                    .map_err(|error| Error::input(format!("cannot create {}: {error}", folder.display())))?;
            }
            tabpo_corpus::write_file(&file.path, file.text.as_bytes())
                .or_input()
                .map_err(|error| error.context(format!("cannot write {}", file.path.display())))?;
        }
        Ok(())
    }
}

impl Corpus {
    fn read(
        data: &Path,
        options: &StartOptions,
        files: &mut Vec<StartFile>,
        facts: &mut Vec<String>,
        observer: &dyn Observer,
    ) -> Result<Self, Error> {
        let mut sources = Sources::find(data)?;
        let paths: Vec<&Path> = sources.paths().collect();
        let (ontology, loaded) = discover(&paths).or_input()?;
        for (path, corpus) in paths.iter().zip(&loaded) {
            corpora::say_notes(path, "reading", &corpus.notes, observer);
            facts.push(format!("{}: {}", path.display(), counted(&corpus.documents)));
        }
        if ontology.entities.is_empty() {
            return Err(Error::input(format!("no document in {} is annotated", data.display()))
                .with_hint("training needs mentions with labels; `tabpo predict` reads documents without any"));
        }
        let mut loaded = loaded.into_iter().map(|Loaded { documents, .. }| documents);
        let train = loaded.next().expect("the training documents come first");
        let mut take = |present: bool| present.then(|| loaded.next().expect("one corpus for each path"));
        let curated = take(sources.curated.is_some());
        let validation = take(sources.validation.is_some());
        let test = take(sources.test.is_some());
        let whole = |ontology, train, validation, sources| Self { ontology, train, curated, validation, sources };
        if test.is_some() {
            return Ok(whole(ontology, train, validation, sources));
        }
        if validation.is_some() {
            facts.push(
                "there is no test set: the validation documents are it, and some training documents are held out for \
                 validation"
                    .to_owned(),
            );
            sources.test = sources.validation.take();
            return Ok(whole(ontology, train, None, sources));
        }
        let parts = split::split(train, data)?;
        let folder = options.out.join(PARTS);
        let path = |name: &str| folder.join(format!("{name}.jsonl"));
        for (name, documents) in [("train", &parts.train), ("validation", &parts.validation), ("test", &parts.test)] {
            let lines = documents.iter().map(|document| tabpo_corpus::jsonl::to_line(document, &ontology) + "\n");
            files.push(StartFile { path: path(name), text: lines.collect() });
        }
        facts.push(format!(
            "there is no test set: the documents are split into {} for training, {} for validation and {} for the test",
            parts.train.len(),
            parts.validation.len(),
            parts.test.len()
        ));
        let curated_path = sources.curated.take();
        let validation = Some(path("validation"));
        sources = Sources { train: path("train"), curated: curated_path, validation, test: Some(path("test")) };
        Ok(whole(ontology, parts.train, Some(parts.validation), sources))
    }

    /// The documents for the preference stage.
    fn curated(&self) -> &[Document] {
        self.curated.as_deref().unwrap_or(&self.train)
    }

    /// All documents but those of the test.
    fn seen(&self) -> impl Iterator<Item = &Document> {
        self.train.iter().chain(self.curated.iter().flatten()).chain(self.validation.iter().flatten())
    }
}

/// Documents in numbers.
fn counted(documents: &[Document]) -> String {
    let sum = |count: fn(&Document) -> usize| documents.iter().map(count).sum::<usize>();
    format!(
        "{} documents, {} sentences, {} mentions, {} relations",
        documents.len(),
        sum(|document| document.sentences.len()),
        sum(|document| document.mentions.len()),
        sum(|document| document.relations.len()),
    )
}

/// More than this share of the relations between different sentences, and a prompt shows a whole document.
const ACROSS: f64 = 0.05;

/// What one prompt should show.
fn level_of(corpus: &Corpus, facts: &mut Vec<String>) -> Level {
    let all: usize = corpus.seen().map(|document| document.relations.len()).sum();
    let units = |document| Unit::all(document, Level::Sentence).map(|unit| unit.relations().count()).sum::<usize>();
    let inside: usize = corpus.seen().map(units).sum();
    let across = all - inside;
    if all > 0 && across as f64 > ACROSS * all as f64 {
        facts.push(format!("{across} of {all} relations connect different sentences: a prompt shows a whole document"));
        return Level::Document;
    }
    Level::Sentence
}

/// A name for the run, from the name of the documents.
fn run_name(data: &Path) -> String {
    let named = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let stem = if named.is_dir() { named.file_name() } else { named.file_stem() };
    let plain: String = stem
        .unwrap_or_default()
        .to_string_lossy()
        .chars()
        .map(|letter| if letter.is_alphanumeric() || "-_.".contains(letter) { letter } else { '-' })
        .collect();
    let plain = plain.trim_matches(['-', '.']).to_owned();
    if names::check("run.name", &plain).is_ok() { plain } else { "first".to_owned() }
}
