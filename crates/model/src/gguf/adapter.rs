//! Low-rank adapters in GGUF files, as llama.cpp's `--lora` takes them.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tabpo_gguf::adapter::{a_name, b_name};
use tabpo_gguf::names::{self, RowOrder};
use tabpo_gguf::{AdapterMetadata, FileType, Gguf, Hyperparameters, Metadata, TensorDeclaration, TensorType, Writer};

use super::export::{hyperparameters, write_error, write_tensor};
use crate::adapter::LoraConfig;
use crate::config::{ModelConfig, RopeScaling};
use crate::folder::{FolderError, check_finite, check_shape};
use crate::projection::Projection;
use crate::stored::{SharedBytes, StoredMatrix, StoredType, StoredValues, WrittenTensor};

/// The adapter of one projection: `scale * B A` is added to its weight.
#[derive(Clone, Debug)]
pub struct AdapterModule<'a> {
    /// The projection.
    pub projection: Projection,
    /// Its block.
    pub layer: usize,
    /// The rows of A and the columns of B.
    pub rank: usize,
    /// The factor.
    pub scale: f64,
    /// `[rank, inputs]`
    pub a: Cow<'a, [f32]>,
    /// `[outputs, rank]`
    pub b: Cow<'a, [f32]>,
}

impl AdapterModule<'_> {
    /// The numerator of its scale over its rank.
    fn alpha(&self) -> f64 {
        self.scale * self.rank as f64
    }
}

/// Some rows one after the other.
struct Rows<'a>(&'a [f32]);

impl WrittenTensor for Rows<'_> {
    fn copy_row(&self, row: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.0[row * out.len()..][..out.len()]);
    }
}

/// The shape of an adapter's model for its own matrices, which neither rotary scaling nor a window changes.
fn shape_of(model: &ModelConfig, path: &Path) -> Result<Hyperparameters, FolderError> {
    let plain = ModelConfig { rope_scaling: RopeScaling::None, sliding_window: Vec::new(), ..model.clone() };
    Ok(hyperparameters(&plain, path)?.0)
}

/// The GGUF name of the weight of a projection.
fn weight_name(projection: Projection, layer: usize) -> String {
    names::gguf(&format!("{}.weight", projection.path(layer))).expect("every projection has a name in GGUF")
}

/// Writes an adapter of a model with this shape as a GGUF file that llama.cpp applies with `--lora`.
///
/// The file has one alpha for all projections: where the scale of one isn't `alpha / rank`, the difference goes into
/// its B. `path` appears when it is complete; `model` is the model's file or folder, for messages.
pub fn write_gguf_adapter(
    path: &Path,
    config: &ModelConfig,
    model: &Path,
    name: &str,
    file_type: FileType,
    modules: &[AdapterModule<'_>],
) -> Result<(), FolderError> {
    let hyperparameters = shape_of(config, model)?;
    let failed = |error| write_error(path, error);
    // llama.cpp takes an alpha of 0 for a scale of 1.
    let alpha = modules.iter().map(AdapterModule::alpha).find(|&alpha| alpha != 0.0).unwrap_or(1.0) as f32;
    let mut metadata = Metadata::new();
    AdapterMetadata { architecture: hyperparameters.architecture, alpha }.write(&mut metadata);
    metadata.insert("general.name", name);
    file_type.write(&mut metadata);
    let kind = match file_type {
        FileType::F16 => TensorType::F16,
        FileType::BF16 => TensorType::BF16,
        _ => TensorType::F32,
    };
    let mut declarations = Vec::with_capacity(2 * modules.len());
    for module in modules {
        let [outputs, inputs] = module.projection.shape(config);
        let weight = weight_name(module.projection, module.layer);
        declarations.push(TensorDeclaration::new(a_name(&weight), &[module.rank, inputs], kind));
        declarations.push(TensorDeclaration::new(b_name(&weight), &[outputs, module.rank], kind));
    }
    let mut writer = Writer::create(path, &metadata, declarations.clone()).map_err(failed)?;
    for (module, declared) in modules.iter().zip(declarations.chunks_exact(2)) {
        write_tensor(&mut writer, &declared[0], &Rows(&module.a), None).map_err(failed)?;
        let heads = names::heads_to_reorder(&weight_name(module.projection, module.layer), &hyperparameters);
        let factor = (module.alpha() / f64::from(alpha)) as f32;
        let b = if factor == 1.0 {
            Cow::Borrowed(&*module.b)
        } else {
            module.b.iter().map(|value| value * factor).collect()
        };
        write_tensor(&mut writer, &declared[1], &Rows(&b), heads).map_err(failed)?;
    }
    writer.finish().map_err(failed)
}

/// An adapter in a GGUF file.
pub(crate) struct GgufAdapter {
    path: PathBuf,
    file: Gguf,
    hyperparameters: Hyperparameters,
}

impl GgufAdapter {
    /// Opens the file of an adapter for a model of this shape, with the adapter's settings.
    pub(crate) fn open(path: &Path, model: &ModelConfig) -> Result<(LoraConfig, Self), FolderError> {
        let file = super::open(path)?;
        if !AdapterMetadata::is_in(file.metadata()) {
            return Err(FolderError::other_content(
                path,
                "is not an adapter: it does not say `general.type = adapter`",
            ));
        }
        let metadata = AdapterMetadata::read(file.metadata()).map_err(|error| super::setting(path, &error))?;
        let hyperparameters = shape_of(model, path)?;
        if metadata.architecture != hyperparameters.architecture {
            let (adapter, model) = (metadata.architecture, hyperparameters.architecture);
            let problem = format!("is an adapter of a {adapter} model, but the model is a {model}");
            return Err(FolderError::other_content(path, problem));
        }
        let adapter = Self { path: path.into(), file, hyperparameters };
        let config = adapter.config(f64::from(metadata.alpha), model)?;
        Ok((config, adapter))
    }

    fn config(&self, alpha: f64, model: &ModelConfig) -> Result<LoraConfig, FolderError> {
        let mut ranks = Vec::new();
        for projection in Projection::ALL {
            for layer in 0..model.layers {
                let name = weight_name(projection, layer);
                let [a, b] = [a_name(&name), b_name(&name)].map(|name| (self.file.tensor(&name), name));
                let (a, b) = match (a, b) {
                    ((None, _), (None, _)) => continue,
                    ((Some(a), _), (Some(b), _)) => (a, b),
                    ((None, name), _) | (_, (None, name)) => {
                        return Err(FolderError::MissingTensor { path: self.path.clone(), name, nearest: None });
                    }
                };
                let [outputs, inputs] = projection.shape(model);
                let rank = a.shape()[0];
                check_shape(&self.path, a.name(), a.shape(), [rank, inputs])?;
                check_shape(&self.path, b.name(), b.shape(), [outputs, rank])?;
                ranks.push((projection, layer, rank));
            }
        }
        let known = |name: &str| {
            ranks.iter().any(|&(projection, layer, _)| {
                let weight = weight_name(projection, layer);
                name == a_name(&weight) || name == b_name(&weight)
            })
        };
        if let Some(extra) = self.file.tensors().iter().find(|tensor| !known(tensor.name())) {
            return Err(FolderError::ExtraTensor {
                path: self.path.clone(),
                name: extra.name().into(),
                architecture: "LoRA adapter of the model's linear projections".into(),
            });
        }
        let Some(&(_, _, rank)) = ranks.first() else {
            return Err(FolderError::other_content(&self.path, "contains no LoRA matrices"));
        };
        let mut config = LoraConfig::new(rank, alpha);
        config.targets.retain(|target| ranks.iter().any(|(projection, ..)| projection == target));
        for &projection in &config.targets {
            for layer in 0..model.layers {
                let found = ranks.iter().find(|&&(target, block, _)| (target, block) == (projection, layer));
                // As in a folder, a projection without matrices counts as one of rank 1.
                let rank = found.map_or(1, |&(.., rank)| rank);
                if rank != config.rank {
                    config.rank_pattern.insert(projection.path(layer), rank);
                }
                if alpha == 0.0 {
                    config.alpha_pattern.insert(projection.path(layer), rank as f64);
                }
            }
        }
        Ok(config)
    }

    /// One matrix of the adapter under its Hugging Face name (`model.layers.0.self_attn.q_proj.lora_A.weight`); `None`
    /// if the file does not have it.
    pub(crate) fn matrix(&self, name: &str, [rows, columns]: [usize; 2]) -> Result<Option<StoredMatrix>, FolderError> {
        let parts = [(".lora_A.weight", a_name as fn(&str) -> String), (".lora_B.weight", b_name)];
        let found = parts.into_iter().find_map(|(ending, part)| Some((name.strip_suffix(ending)?, part)));
        let Some((path, part)) = found else { return Ok(None) };
        let Some(weight) = names::gguf(&format!("{path}.weight")) else { return Ok(None) };
        let Some(tensor) = self.file.tensor(&part(&weight)) else { return Ok(None) };
        check_shape(&self.path, tensor.name(), tensor.shape(), [rows, columns])?;
        let mut bytes: Vec<u8> = tensor.dequantise().into_iter().flat_map(f32::to_le_bytes).collect();
        let heads =
            names::heads_to_reorder(&weight, &self.hyperparameters).filter(|_| part(&weight) == b_name(&weight));
        if let Some(heads) = heads {
            bytes = RowOrder::ToHuggingFace
                .reorder(&bytes, rows, heads)
                .map_err(|error| FolderError::other_content(&self.path, format!("{}: {error}", tensor.name())))?;
        }
        check_finite(&self.path, tensor.name(), &bytes, StoredType::F32)?;
        let bytes: SharedBytes = Arc::new(bytes);
        let values = StoredValues::Plain { stored: StoredType::F32, bytes, offset: 0 };
        Ok(Some(StoredMatrix { rows, columns, values }))
    }
}
