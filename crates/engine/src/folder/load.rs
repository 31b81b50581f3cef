//! Weights from safetensors files by memory map.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::{FolderError, config, config_from_json, nearest, read_json};
use crate::config::ModelConfig;
use crate::model::Model;
use crate::real::Real;
use crate::weights::{Matrix, SharedBytes, StoredType};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

impl<R: Real> Model<R> {
    /// Opens a Hugging Face folder: `config.json` with `model.safetensors`, or with shards and their
    /// index.
    ///
    /// Matrices in bf16 and f16 stay in the memory map and are widened where they are used, so that
    /// a model takes about the size of its file; f32 matrices, norms and biases are copied.
    pub fn open(folder: &Path) -> Result<Self, FolderError> {
        let config_path = folder.join("config.json");
        let config = config_from_json(&config_path, &read_json(&config_path)?)?;
        let wanted = Self::shapes(&config).into_iter().map(|(name, _)| name).collect();
        let mut tensors = Tensors::open(folder, wanted)?;
        let tied = config.tied_head;
        let architecture = config::class_name(config.architecture);
        let model = Self::from_tensors(config, |name, shape| tensors.take(name, shape))?;
        tensors.finish(tied, architecture)?;
        Ok(model)
    }
}

impl ModelConfig {
    /// Reads the `config.json` of a folder.
    pub fn open(folder: &Path) -> Result<Self, FolderError> {
        let path = folder.join("config.json");
        config_from_json(&path, &read_json(&path)?)
    }
}

/// Where one tensor lies in its file.
#[derive(Clone, Debug)]
pub(crate) struct TensorPlace {
    pub(crate) shape: Vec<usize>,
    dtype: Dtype,
    offset: usize,
    length: usize,
}

/// A memory-mapped safetensors file.
pub(crate) struct TensorFile {
    pub(crate) path: PathBuf,
    map: Arc<Mmap>,
    pub(crate) tensors: BTreeMap<String, TensorPlace>,
}

impl TensorFile {
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let read = |source| FolderError::Read { path: path.into(), source };
        let file = File::open(path).map_err(read)?;
        // SAFETY: the map is only read. Another process that changes or truncates the file while it
        // is mapped would break this; weights are replaced by renaming, which leaves a map intact.
        let map = unsafe { Mmap::map(&file) }.map_err(read)?;
        let (header, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|source| FolderError::Safetensors { path: path.into(), source })?;
        // Eight bytes of header length come before the header.
        let data = header + 8;
        let tensors = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let (start, end) = info.data_offsets;
                let place = TensorPlace {
                    shape: info.shape.clone(),
                    dtype: info.dtype,
                    offset: data + start,
                    length: end - start,
                };
                (name, place)
            })
            .collect();
        Ok(Self { path: path.into(), map: Arc::new(map), tensors })
    }

    /// A tensor as a matrix; a vector is a matrix of one row.
    pub(crate) fn matrix<R: Real>(
        &self,
        name: &str,
        place: &TensorPlace,
        [rows, columns]: [usize; 2],
    ) -> Result<Matrix<R>, FolderError> {
        let fits = match place.shape[..] {
            [length] => rows == 1 && length == columns,
            [height, width] => (height, width) == (rows, columns),
            _ => false,
        };
        if !fits {
            let expected = if rows == 1 && place.shape.len() == 1 { vec![columns] } else { vec![rows, columns] };
            return Err(FolderError::Shape {
                path: self.path.clone(),
                name: name.into(),
                found: place.shape.clone(),
                expected,
            });
        }
        let stored = match place.dtype {
            Dtype::F32 => StoredType::F32,
            Dtype::F16 => StoredType::F16,
            Dtype::BF16 => StoredType::Bf16,
            other => {
                return Err(FolderError::Dtype {
                    path: self.path.clone(),
                    name: name.into(),
                    found: format!("{other:?}"),
                });
            }
        };
        let bytes: SharedBytes = Arc::clone(&self.map) as SharedBytes;
        let mut matrix = Matrix::stored(rows, columns, stored, bytes, place.offset);
        if stored == StoredType::F32 {
            matrix.make_owned();
            self.release(place);
        }
        Ok(matrix)
    }

    /// Lets the system take the pages of a tensor that was copied, so that file and copy do not stay in
    /// memory side by side. Where it can't, nothing is lost but memory.
    fn release(&self, place: &TensorPlace) {
        #[cfg(unix)]
        {
            // SAFETY: the map is of a file and only read; pages that are read again come from the file again.
            let _ = unsafe {
                self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, place.offset, place.length)
            };
        }
        #[cfg(not(unix))]
        let _ = place;
    }

    fn bytes(&self, place: &TensorPlace) -> &[u8] {
        &self.map[place.offset..place.offset + place.length]
    }
}

/// The tensors of a folder, and which of them the model has asked for.
struct Tensors {
    folder: PathBuf,
    /// What the model will ask for.
    wanted: BTreeSet<String>,
    files: Vec<TensorFile>,
    /// For every tensor the file it is in.
    place: BTreeMap<String, usize>,
    taken: BTreeSet<String>,
}

impl Tensors {
    fn open(folder: &Path, wanted: BTreeSet<String>) -> Result<Self, FolderError> {
        let index = folder.join(INDEX);
        let names = if folder.join(SINGLE).exists() {
            vec![SINGLE.to_owned()]
        } else if index.exists() {
            let map = read_json(&index)?;
            let Some(Value::Object(weights)) = map.get("weight_map") else {
                return Err(FolderError::setting(index, "weight_map", "is missing or no object"));
            };
            let names: Option<BTreeSet<String>> =
                weights.values().map(|file| file.as_str().map(str::to_owned)).collect();
            names
                .ok_or_else(|| FolderError::setting(index, "weight_map", "holds something that is no file name"))?
                .into_iter()
                .collect()
        } else {
            let path = folder.join(SINGLE);
            let problem = if folder.join("pytorch_model.bin").exists() {
                "not there, only pytorch_model.bin: convert it to safetensors with save_pretrained"
            } else {
                "not there, and no model.safetensors.index.json either"
            };
            return Err(FolderError::Read { path, source: std::io::Error::new(std::io::ErrorKind::NotFound, problem) });
        };
        let mut files = Vec::with_capacity(names.len());
        let mut place = BTreeMap::new();
        for name in names {
            let file = TensorFile::open(&folder.join(name))?;
            place.extend(file.tensors.keys().map(|tensor| (tensor.clone(), files.len())));
            files.push(file);
        }
        Ok(Self { folder: folder.into(), wanted, files, place, taken: BTreeSet::new() })
    }

    fn take<R: Real>(&mut self, name: &str, shape: [usize; 2]) -> Result<Matrix<R>, FolderError> {
        let Some(&file) = self.place.get(name) else {
            let unused = self.place.keys().map(String::as_str).filter(|other| !self.wanted.contains(*other));
            return Err(FolderError::MissingTensor {
                path: self.folder.clone(),
                name: name.into(),
                nearest: nearest(name, unused).map(str::to_owned),
            });
        };
        self.taken.insert(name.into());
        let file = &self.files[file];
        file.matrix(name, &file.tensors[name], shape)
    }

    /// Refuses tensors that nothing has asked for, but for two that older files carry along: saved
    /// rotary frequencies, and a copy of the embedding as the head of a model with a tied head.
    fn finish(self, tied: bool, architecture: &str) -> Result<(), FolderError> {
        let bytes =
            |name: &str| self.place.get(name).map(|&file| self.files[file].bytes(&self.files[file].tensors[name]));
        for name in self.place.keys().filter(|name| !self.taken.contains(*name)) {
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
