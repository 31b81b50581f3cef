//! Weights from memory-mapped safetensors files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{FolderError, TensorFile, check_model_folder, config, config_from_json, nearest, nf4, read_json, remedy};
use crate::config::ModelConfig;
use crate::gguf::{self, GgufTensors, is_gguf_file};
use crate::projection::Projection;
use crate::stored::{StoredMatrix, StoredType, StoredValues};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A model whose tensors are taken one by one: a Hugging Face folder (`config.json` with `model.safetensors`, or with
/// shards and their index) or a GGUF file. A file stays memory-mapped as long as one of its tensors is in use.
pub struct ModelFolder {
    config: ModelConfig,
    source: Source,
}

enum Source {
    Folder(Tensors),
    Gguf(GgufTensors),
}

impl ModelFolder {
    /// Opens a folder or a GGUF file. A tensor is checked when it is taken.
    pub fn open(folder: &Path) -> Result<Self, FolderError> {
        if is_gguf_file(folder) {
            let (config, tensors) = GgufTensors::open(folder)?;
            return Ok(Self { config, source: Source::Gguf(tensors) });
        }
        let config = ModelConfig::open(folder)?;
        let wanted = config.tensors().into_iter().map(|(name, _)| name).collect();
        let source = Source::Folder(Tensors::open(folder, wanted)?);
        Ok(Self { config, source })
    }

    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Whether every matrix that the model takes is stored in this type, which is known without reading weights.
    pub fn matrices_are(&self, stored: StoredType) -> bool {
        match &self.source {
            Source::Folder(tensors) => tensors.matrices_are(stored),
            // Norms are stored in another type than the quantised matrices; plain files are an exception.
            Source::Gguf(_) => false,
        }
    }

    /// Whether the scales of NF4 weights are quantised, too; none unless all projections are stored in NF4, in the same
    /// way. It is known without reading weights.
    pub fn nested_nf4(&self) -> Option<bool> {
        let Source::Folder(tensors) = &self.source else { return None };
        let layers = 0..self.config.layers;
        let mut all = layers.flat_map(|layer| Projection::ALL.map(|projection| projection.path(layer)));
        let nested =
            |path: String| nf4::is_nested(|name| tensors.locations.contains_key(name), &format!("{path}.weight"));
        let first = nested(all.next()?)?;
        all.all(|path| nested(path) == Some(first)).then_some(first)
    }

    /// The tensor of this name and shape; a vector is a matrix of one row.
    pub fn take(&mut self, name: &str, shape: [usize; 2]) -> Result<StoredMatrix, FolderError> {
        match &mut self.source {
            Source::Folder(tensors) => tensors.take(name, shape),
            Source::Gguf(tensors) => tensors.take(name, shape),
        }
    }

    /// Refuses tensors that were not taken, except redundant ones that older files contain.
    pub fn finish(self) -> Result<(), FolderError> {
        match self.source {
            Source::Folder(tensors) => {
                tensors.finish(self.config.tied_head, config::class_name(self.config.architecture))
            }
            Source::Gguf(tensors) => tensors.finish(),
        }
    }
}

impl ModelConfig {
    /// Reads the `config.json` of a folder, or the metadata of a GGUF file.
    pub fn open(folder: &Path) -> Result<Self, FolderError> {
        if is_gguf_file(folder) {
            return gguf::model_config(folder);
        }
        check_model_folder(folder)?;
        let path = folder.join("config.json");
        config_from_json(&path, &read_json(&path)?)
    }
}

/// The tensors of a folder, and which of them have been taken.
struct Tensors {
    folder: PathBuf,
    /// The names that the model takes.
    wanted: BTreeSet<String>,
    files: Vec<TensorFile>,
    /// For every tensor, by the model's name for it, its file and its name there.
    locations: BTreeMap<String, (usize, String)>,
    taken: BTreeSet<String>,
}

impl Tensors {
    fn open(folder: &Path, wanted: BTreeSet<String>) -> Result<Self, FolderError> {
        let index = folder.join(INDEX);
        let names = if folder.join(SINGLE).exists() {
            BTreeSet::from([SINGLE.to_owned()])
        } else if index.exists() {
            indexed_files(&index)?
        } else {
            let problem = remedy::without_weights(folder);
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, problem);
            return Err(FolderError::Read { path: folder.join(SINGLE), source });
        };
        let mut files = Vec::with_capacity(names.len());
        let mut stored: Vec<(String, usize)> = Vec::new();
        for name in names {
            let file = TensorFile::open(&folder.join(name))?;
            stored.extend(file.tensors.keys().map(|tensor| (tensor.clone(), files.len())));
            files.push(file);
        }
        let bare = stored.iter().any(|(name, _)| unwrapped(name) == "embed_tokens.weight");
        let locations = stored.into_iter().map(|(name, file)| (model_name(&name, bare), (file, name))).collect();
        Ok(Self { folder: folder.into(), wanted, files, locations, taken: BTreeSet::new() })
    }

    fn matrices_are(&self, stored: StoredType) -> bool {
        let mut wanted = self.locations.iter().filter(|(name, _)| self.wanted.contains(*name));
        wanted.all(|(_, (file, name))| self.files[*file].tensors[name].is_vector_or(stored))
    }

    fn take(&mut self, name: &str, shape: [usize; 2]) -> Result<StoredMatrix, FolderError> {
        let Some((file, stored_name)) = self.locations.get(name) else {
            let unused = self.locations.keys().map(String::as_str).filter(|other| !self.wanted.contains(*other));
            return Err(FolderError::MissingTensor {
                path: self.folder.clone(),
                name: name.into(),
                nearest: nearest(name, unused).map(str::to_owned),
            });
        };
        self.taken.insert(name.into());
        let part = |name: &str| {
            let (file, name) = self.locations.get(name)?;
            let file = &self.files[*file];
            Some(nf4::Part { file, name, location: &file.tensors[name] })
        };
        if let Some((matrix, others)) = nf4::matrix(name, shape, part)? {
            self.taken.extend(others);
            let [rows, columns] = shape;
            return Ok(StoredMatrix { rows, columns, values: StoredValues::Nf4(matrix) });
        }
        let file = &self.files[*file];
        file.matrix(stored_name, &file.tensors[stored_name], shape)
    }

    /// Refuses tensors that were not taken, except two that older files contain: saved rotary
    /// frequencies, and a copy of the embedding as the head of a model with a tied head.
    fn finish(self, tied: bool, architecture: &str) -> Result<(), FolderError> {
        let bytes = |name: &str| {
            self.locations.get(name).map(|(file, stored)| self.files[*file].bytes(&self.files[*file].tensors[stored]))
        };
        for name in self.locations.keys().filter(|name| !self.taken.contains(*name)) {
            if name.ends_with("rotary_emb.inv_freq") {
                continue;
            }
            if tied && name == "lm_head.weight" {
                if bytes(name) == bytes("model.embed_tokens.weight") {
                    continue;
                }
                return Err(FolderError::setting(
                    self.folder.join("config.json"),
                    "tie_word_embeddings",
                    "is true, but `lm_head.weight` differs from `model.embed_tokens.weight`",
                ));
            }
            return Err(FolderError::ExtraTensor {
                path: self.folder.clone(),
                name: name.clone(),
                architecture: architecture.into(),
            });
        }
        Ok(())
    }
}

/// The files that an index names. They must lie in the folder itself, so that a digest of the folder covers
/// them and nothing outside it is read.
fn indexed_files(index: &Path) -> Result<BTreeSet<String>, FolderError> {
    let map = read_json(index)?;
    let Some(Value::Object(weights)) = map.get("weight_map") else {
        return Err(FolderError::setting(index, "weight_map", "is missing or not an object"));
    };
    let mut names = BTreeSet::new();
    for (tensor, file) in weights {
        let wrong = |problem: String| FolderError::setting(index, format!("weight_map.{tensor}"), problem);
        let Some(name) = file.as_str() else {
            return Err(wrong(format!("is {file}; the name of a file is expected")));
        };
        let mut parts = Path::new(name).components();
        let is_plain =
            matches!((parts.next(), parts.next()), (Some(std::path::Component::Normal(part)), None) if part == name);
        if !is_plain || name.contains(['/', '\\', '\0']) {
            return Err(wrong(format!("is `{name}`; the name of a file in the same folder is expected, not a path")));
        }
        names.insert(name.to_owned());
    }
    Ok(names)
}

/// A tensor's name without the prefixes of wrappers around a saved model: `torch.compile` and data parallelism.
fn unwrapped(name: &str) -> &str {
    let mut name = name;
    while let Some(rest) = name.strip_prefix("_orig_mod.").or_else(|| name.strip_prefix("module.")) {
        name = rest;
    }
    name
}

/// The model's name for a stored tensor, as transformers resolves it: without the prefixes of wrappers, and
/// with `model.` restored if the folder was saved from the bare model class (`bare`), which omits it.
fn model_name(stored: &str, bare: bool) -> String {
    let name = unwrapped(stored);
    let of_bare_model = ["embed_tokens.", "layers.", "norm."].iter().any(|start| name.starts_with(start));
    let prefix = if bare && of_bare_model { "model." } else { "" };
    // A compiled part of the model has the wrapper's name in the middle.
    format!("{prefix}{name}").replace("._orig_mod.", ".")
}
