//! Writes models as GGUF files.

mod probes;
mod shape;
mod tokenizer;

use std::path::Path;

use jiff::civil::DateTime;
use tabpo_gguf::blocks::BlockError;
use tabpo_gguf::names::{self, ROPE_FREQUENCIES, RowOrder};
use tabpo_gguf::{
    FileType, Hyperparameters, Metadata, TensorDeclaration, TensorType, TokenizerMetadata, WriteError, Writer,
};

use super::is_gguf_file;
use crate::chat::{self, ChatTemplate};
use crate::config::ModelConfig;
use crate::folder::FolderError;
use crate::stored::WrittenTensor;
use crate::tokenizer::Tokenizer;

pub(in crate::gguf) use shape::hyperparameters;

const NAME: &str = "general.name";
/// Keys that say how the weights of a file are stored; those of another file are not copied.
const OF_THE_FILE: [&str; 5] =
    ["general.architecture", "general.type", "general.file_type", "general.quantization_version", "general.alignment"];
/// Elements that are converted at a time.
const PORTION: usize = 1 << 22;

/// Where the parts of a model beside its weights come from.
#[derive(Clone, Copy, Debug)]
pub struct GgufSource<'a> {
    /// The model: a folder or a GGUF file.
    pub model: &'a Path,
    /// The folder of an adapter that is merged into it, whose tokenizer and chat template replace the model's.
    pub adapter: Option<&'a Path>,
    /// The name that the file gives the model.
    pub name: &'a str,
    /// The date for chat templates that print one.
    pub date: DateTime,
}

impl<'a> GgufSource<'a> {
    fn tokenizer(&self) -> &'a Path {
        self.adapter.filter(|adapter| adapter.join("tokenizer.json").exists()).unwrap_or(self.model)
    }

    /// The place of the chat template, if there is one.
    fn template(&self) -> Option<&'a Path> {
        self.adapter.into_iter().chain([self.model]).find(|place| ChatTemplate::is_in(place))
    }
}

/// All that a GGUF file says about a model beside its weights.
#[derive(Debug)]
pub struct GgufHead {
    metadata: Metadata,
    hyperparameters: Hyperparameters,
    /// The divisors of rotary frequencies, if the model has a tensor of them.
    divisors: Option<Vec<f32>>,
    template: Option<ChatTemplate>,
    stops: Vec<String>,
    first: Option<String>,
}

impl GgufHead {
    /// Collects shape, tokenizer and chat template of a model.
    ///
    /// Fails for whatever llama.cpp would read differently from this library: a shape that it doesn't compute, a
    /// tokenizer that it splits texts differently with.
    pub fn new(config: &ModelConfig, source: &GgufSource<'_>) -> Result<Self, FolderError> {
        let path = if is_gguf_file(source.model) { source.model.to_owned() } else { source.model.join("config.json") };
        let (hyperparameters, divisors) = hyperparameters(config, &path)?;
        let tokenizer = Tokenizer::open(source.tokenizer())?;
        let place = source.template();
        let template = place.map(|place| ChatTemplate::open(place, &tokenizer)).transpose();
        let template = template.map_err(|error| FolderError::other_content(source.model, error.to_string()))?;
        let mut described = describe_tokenizer(config, source, &tokenizer, template.as_ref())?;
        described.chat_template = None;

        let mut metadata = Metadata::new();
        metadata.insert("general.type", "model");
        hyperparameters.write(&mut metadata);
        metadata.insert(NAME, source.name);
        if is_gguf_file(source.model) {
            for (key, value) in super::open(source.model)?.metadata().iter() {
                if key.starts_with("general.") && !OF_THE_FILE.contains(&key) && key != NAME {
                    metadata.insert(key, value.clone());
                }
            }
        } else {
            metadata.insert("general.size_label", size_label(config.parameters()));
        }
        described.write(&mut metadata);
        if let Some(place) = place {
            let templates =
                chat::templates(place).map_err(|error| FolderError::other_content(source.model, error.to_string()))?;
            super::chat_templates::write(&templates, &mut metadata);
        }

        let special = &described.special;
        let stops = [special.eos, special.eot, special.eom].into_iter().flatten();
        let stops = stops.map(|id| described.tokens[id as usize].clone()).collect();
        let first = special.bos.filter(|_| described.add_bos == Some(true));
        let first = first.map(|id| described.tokens[id as usize].clone());
        Ok(Self { metadata, hyperparameters, divisors, template, stops, first })
    }

    /// The chat template.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// The tokens that end an answer.
    pub fn stops(&self) -> &[String] {
        &self.stops
    }

    /// The token that a program puts before every text, if it puts one.
    pub fn first_token(&self) -> Option<&str> {
        self.first.as_deref()
    }
}

/// The tokenizer's metadata: those of the model's own GGUF file, or made from a `tokenizer.json`.
fn describe_tokenizer(
    config: &ModelConfig,
    source: &GgufSource<'_>,
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
) -> Result<TokenizerMetadata, FolderError> {
    let place = source.tokenizer();
    if is_gguf_file(place) {
        let mut metadata = super::tokenizer_metadata(place)?;
        tokenizer::resize(&mut metadata, config.vocabulary).map_err(|tokens| {
            let problem = format!("has {tokens} tokens, but the model has embeddings for {} only", config.vocabulary);
            FolderError::other_content(place, problem)
        })?;
        return Ok(metadata);
    }
    // Without an answer's end that is one token, only what the folder names ends an answer.
    let stops = template.and_then(|template| template.stop_ids(tokenizer, source.date).ok());
    tokenizer::metadata(tokenizer, config.vocabulary, &stops.unwrap_or_else(|| tokenizer.stop_ids().to_vec()))
}

/// The number of parameters as a file's name has it: `135M`, `1.5B`.
fn size_label(parameters: usize) -> String {
    let (value, unit) = match parameters {
        0..1_000_000 => (parameters as f64 / 1e3, 'K'),
        1_000_000..1_000_000_000 => (parameters as f64 / 1e6, 'M'),
        _ => (parameters as f64 / 1e9, 'B'),
    };
    if value < 10.0 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

/// Writes a model as a GGUF file. `tensors` are those of [`ModelConfig::tensors`], with their shapes.
///
/// Weights that are quantised in the format that they get are copied as they are; others are rounded as llama.cpp's
/// own quantisation without an importance matrix does it. The file appears when it is complete.
pub fn write_gguf<T: WrittenTensor>(
    path: &Path,
    head: &GgufHead,
    file_type: FileType,
    tensors: &[(String, Vec<usize>, T)],
) -> Result<(), FolderError> {
    let failed = |error| write_error(path, error);
    let mut metadata = head.metadata.clone();
    file_type.write(&mut metadata);
    let mut declarations = Vec::with_capacity(tensors.len() + 1);
    for (name, shape, _) in tensors {
        let name = names::gguf(name)
            .ok_or_else(|| FolderError::other_content(path, format!("GGUF has no name for a tensor `{name}`")))?;
        declarations.push(TensorDeclaration::new(name, shape, TensorType::F32));
    }
    file_type.assign(&mut declarations);
    let mut all = declarations.clone();
    if let Some(divisors) = &head.divisors {
        all.push(TensorDeclaration::new(ROPE_FREQUENCIES, &[divisors.len()], TensorType::F32));
    }
    let mut writer = Writer::create(path, &metadata, all).map_err(failed)?;
    for (declaration, (_, _, tensor)) in declarations.iter().zip(tensors) {
        let heads = names::heads_to_reorder(&declaration.name, &head.hyperparameters);
        write_tensor(&mut writer, declaration, tensor, heads).map_err(failed)?;
    }
    if let Some(divisors) = &head.divisors {
        writer.write_values(ROPE_FREQUENCIES, divisors).map_err(failed)?;
    }
    writer.finish().map_err(failed)
}

/// Writes the elements of one tensor, its rows reordered within `heads` heads if they are.
pub(super) fn write_tensor<T: WrittenTensor>(
    writer: &mut Writer,
    declaration: &TensorDeclaration,
    tensor: &T,
    heads: Option<u32>,
) -> Result<(), WriteError> {
    let TensorDeclaration { name, shape, tensor_type } = declaration;
    let stored = tensor
        .blocks()
        .filter(|blocks| blocks.tensor().tensor_type() == *tensor_type && blocks.is_in_file_order() == heads.is_some());
    if let Some(blocks) = stored {
        return writer.write(name, blocks.bytes());
    }
    let lines = shape[0];
    let source = |line| heads.map_or(line, |heads| RowOrder::ToGguf.source(line, lines / heads as usize));
    let &[_, columns] = &shape[..] else {
        let mut values = vec![0.0; lines];
        tensor.copy_row(0, &mut values);
        let ordered: Vec<f32> = (0..lines).map(|line| values[source(line)]).collect();
        return writer.write_values(name, &ordered);
    };
    let portion = (PORTION / columns).clamp(1, lines);
    let mut values = vec![0.0; portion * columns];
    for start in (0..lines).step_by(portion) {
        let count = portion.min(lines - start);
        for (line, out) in (start..start + count).zip(values.chunks_exact_mut(columns)) {
            tensor.copy_row(source(line), out);
        }
        writer.write_values(name, &values[..count * columns]).map_err(|error| from_row(start, error))?;
    }
    Ok(())
}

/// An error about some rows as one about their tensor.
fn from_row(start: usize, error: WriteError) -> WriteError {
    match error {
        WriteError::Values { name, problem: BlockError::Value { tensor_type, row, column } } => {
            WriteError::Values { name, problem: BlockError::Value { tensor_type, row: row + start, column } }
        }
        other => other,
    }
}

pub(super) fn write_error(path: &Path, error: WriteError) -> FolderError {
    match error {
        WriteError::Io { source, .. } => FolderError::Write { path: path.into(), source },
        WriteError::Values { .. } => {
            FolderError::other_content(path, format!("{error}; f32 and bf16 hold every weight"))
        }
        other => FolderError::other_content(path, other.to_string()),
    }
}
