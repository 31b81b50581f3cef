//! Writes a model in NF4.

use std::io;
use std::path::Path;

use half::bf16;
use safetensors::Dtype;

use super::{GROUPS, LEVELS, MAP, SCALES, STATE};
use crate::config::ModelConfig;
use crate::folder::FolderError;
use crate::folder::save::{describe_like, index_shards, shard_names};
use crate::folder::stream::{Declaration, TensorWriter};
use crate::folder::write::replace_atomically;
use crate::nf4::{self, Nf4Matrix, QuantState, SCALES_PER_GROUP, STATE_BYTES, Scales};
use crate::stored::{StoredType, WrittenTensor};

/// Elements of a plain tensor that are converted at a time.
const PORTION: usize = 1 << 22;

/// How a model is written in NF4.
#[derive(Clone, Copy, Debug)]
pub struct Nf4Options {
    /// Whether the scales are quantised to 8 bits: 0.516 instead of 0.563 bytes a weight.
    pub nested: bool,
    /// Above this many bytes the weights are split into shards.
    pub shard_bytes: usize,
}

impl Default for Nf4Options {
    fn default() -> Self {
        Self { nested: true, shard_bytes: 5_000_000_000 }
    }
}

/// Writes a model as a folder that transformers loads with bitsandbytes: the projections of its blocks in NF4; embedding,
/// head, norms and biases in bf16. Configuration, tokenizer and chat template are those of `base`.
///
/// `tensor` is called once with the name and shape of every tensor, in the order of [`ModelConfig::tensors`], and what it
/// returns is dropped before the next call, so that no more than one tensor is in memory.
pub fn save_nf4<T: WrittenTensor + Sync>(
    base: &Path,
    folder: &Path,
    config: &ModelConfig,
    options: &Nf4Options,
    mut tensor: impl FnMut(&str, [usize; 2]) -> Result<T, FolderError>,
) -> Result<(), FolderError> {
    let tensors: Vec<Planned> = config.tensors().into_iter().map(|named| Planned::new(named, options.nested)).collect();
    let mut shards: Vec<Vec<Planned>> = vec![Vec::new()];
    let (mut size, mut total) = (0, 0);
    for planned in tensors {
        let bytes: usize = planned.parts.iter().map(Declaration::bytes).sum();
        if size > 0 && size + bytes > options.shard_bytes {
            shards.push(Vec::new());
            size = 0;
        }
        size += bytes;
        total += bytes;
        shards.last_mut().expect("there is always a last shard").push(planned);
    }
    let names = shard_names(shards.len());
    for (name, shard) in names.iter().zip(&shards) {
        let mut failed = None;
        let written = replace_atomically(&folder.join(name), |path| {
            write_shard(path, shard, options.nested, &mut tensor).map_err(|failure| match failure {
                Failure::Writing(error) => error,
                Failure::Reading(error) => {
                    failed = Some(error);
                    io::Error::other("not written")
                }
            })
        });
        match failed {
            Some(error) => return Err(error),
            None => written?,
        }
    }
    let parts = shards.iter().map(|shard| shard.iter().flat_map(|planned| &planned.parts));
    index_shards(folder, &names, parts.map(|parts| parts.map(|part| part.name.clone())), total)?;
    describe_like(base, folder, config, StoredType::Bf16, Some(options.nested))
}

/// A tensor of the model with the tensors that it becomes.
struct Planned {
    name: String,
    shape: Vec<usize>,
    is_quantised: bool,
    parts: Vec<Declaration>,
}

impl Planned {
    fn new((name, shape): (String, Vec<usize>), nested: bool) -> Self {
        let is_quantised = shape.len() == 2 && name != "model.embed_tokens.weight" && name != "lm_head.weight";
        let part = |ending: &str, dtype, shape: &[usize]| Declaration {
            name: format!("{name}{ending}"),
            dtype,
            shape: shape.to_vec(),
        };
        let parts = if let (true, &[rows, columns]) = (is_quantised, &shape[..]) {
            let blocks = Nf4Matrix::blocks(rows, columns);
            let mut parts = vec![
                part("", Dtype::U8, &[Nf4Matrix::code_bytes(rows, columns), 1]),
                part(SCALES, if nested { Dtype::U8 } else { Dtype::F32 }, &[blocks]),
                part(LEVELS, Dtype::F32, &[nf4::LEVELS.len()]),
                part(STATE, Dtype::U8, &[STATE_BYTES]),
            ];
            if nested {
                parts.push(part(GROUPS, Dtype::F32, &[blocks.div_ceil(SCALES_PER_GROUP)]));
                parts.push(part(MAP, Dtype::F32, &[256]));
            }
            parts
        } else {
            vec![part("", Dtype::BF16, &shape)]
        };
        Self { name, shape, is_quantised, parts }
    }
}

/// Why a shard was not written.
enum Failure {
    Reading(FolderError),
    Writing(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Writing(error)
    }
}

fn write_shard<T: WrittenTensor + Sync>(
    path: &Path,
    shard: &[Planned],
    nested: bool,
    tensor: &mut impl FnMut(&str, [usize; 2]) -> Result<T, FolderError>,
) -> Result<(), Failure> {
    let parts = shard.iter().flat_map(|planned| planned.parts.iter().cloned());
    let mut writer = TensorWriter::create(path, parts.collect())?;
    for Planned { name, shape, is_quantised, .. } in shard {
        let shape = if let [rows, columns] = shape[..] { [rows, columns] } else { [1, shape[0]] };
        let source = tensor(name, shape).map_err(Failure::Reading)?;
        if *is_quantised {
            let quantised = Nf4Matrix::quantise(shape, StoredType::Bf16, nested, |row, out| source.copy_row(row, out));
            let quantised = quantised.map_err(|nf4::NotFiniteAt(element)| {
                Failure::Reading(FolderError::NotFinite { path: path.into(), name: name.clone(), element })
            })?;
            write_matrix(&mut writer, name, &quantised)?;
        } else {
            write_plain(&mut writer, name, shape, &source)?;
        }
    }
    Ok(writer.finish()?)
}

fn write_matrix(writer: &mut TensorWriter, name: &str, matrix: &Nf4Matrix) -> io::Result<()> {
    let mut write = |ending: &str, bytes: &[u8]| writer.write(&format!("{name}{ending}"), bytes);
    let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let mut state = QuantState { rounding: matrix.rounding(), shape: [matrix.rows(), matrix.columns()], offset: None };
    write("", matrix.codes())?;
    write(LEVELS, &floats(&nf4::LEVELS))?;
    match matrix.scales() {
        Scales::Plain(scales) => write(SCALES, &floats(scales))?,
        Scales::Nested(nested) => {
            state.offset = Some(nested.offset());
            write(SCALES, nested.codes())?;
            write(GROUPS, &floats(nested.largest()))?;
            write(MAP, &floats(nested.map()))?;
        }
    }
    write(STATE, &state.to_bytes())
}

fn write_plain(
    writer: &mut TensorWriter,
    name: &str,
    [rows, columns]: [usize; 2],
    source: &impl WrittenTensor,
) -> io::Result<()> {
    let portion = (PORTION / columns.max(1)).max(1);
    let mut values = vec![0.0; columns];
    for start in (0..rows).step_by(portion) {
        let mut bytes = Vec::with_capacity(portion.min(rows - start) * columns * 2);
        for row in start..rows.min(start + portion) {
            source.copy_row(row, &mut values);
            bytes.extend(values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()));
        }
        writer.write(name, &bytes)?;
    }
    Ok(())
}
