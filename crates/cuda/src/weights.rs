//! Where a model's parameters lie on a device, and how frozen ones get there.
//!
//! Matrices with the same input lie below each other: queries, keys and values are one matrix, gate and up another. Beside
//! each is room for an adapter, `[outputs, inputs + room]`, which its B fills times its scale and which is zero otherwise.
//! Norms and biases are in single precision and lie in a memory of their own.

use std::ops::Range;
use std::sync::Arc;

use half::bf16;
use rayon::prelude::*;
use tabpo_engine::{Matrix, Model};
use tabpo_model::{INPUT_GROUPS, ModelConfig};

use crate::arena::Arena;
use crate::driver::{Address, Driver, DriverError, Element};
use crate::ops::{Kernels, Linear, Rows};
use crate::quantised::{Base, Quantised};

/// Numbers that a part's place is rounded up to, so that every place is aligned to 256 bytes in both types.
const ALIGNMENT: u64 = 128;
/// Bytes that are converted and copied at a time.
const STAGED: usize = 16 << 20;

/// Places in a memory of numbers, one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Places {
    length: u64,
}

impl Places {
    /// The place of `numbers` numbers.
    pub(crate) fn next(&mut self, numbers: usize) -> u64 {
        let place = self.length;
        self.length = (place + numbers as u64).next_multiple_of(ALIGNMENT);
        place
    }

    /// The places of parts of which the first is aligned and the others follow without a gap.
    pub(crate) fn together<const N: usize>(&mut self, parts: [usize; N]) -> [u64; N] {
        let mut place = self.next(parts.iter().sum());
        parts.map(|numbers| {
            let own = place;
            place += numbers as u64;
            own
        })
    }

    /// Numbers of the whole.
    pub(crate) fn length(self) -> u64 {
        self.length
    }
}

/// Where a matrix lies among the matrices, and its shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatrixPlace {
    pub(crate) start: u64,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    pub(crate) room: usize,
    /// The columns that lie there in front of the room: all inputs, or none of a matrix that is kept quantised.
    pub(crate) kept: usize,
}

impl MatrixPlace {
    fn new(places: &mut Places, [outputs, inputs]: [usize; 2], room: usize, is_staged: bool) -> Self {
        let kept = if is_staged { 0 } else { inputs };
        Self { start: places.next(outputs * (kept + room)), outputs, inputs, room, kept }
    }

    /// Numbers from one row to the next.
    pub(crate) fn stride(&self) -> usize {
        self.kept + self.room
    }
}

/// Where the norms and biases of a block lie among the vectors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockVectors {
    /// Scale of the norm before attention.
    pub(crate) input_norm: u64,
    /// Scale of the norm before the feed-forward part.
    pub(crate) second_norm: u64,
    /// Scales of the heads' norms: of queries, then of keys.
    pub(crate) head_norms: Option<[u64; 2]>,
    /// Biases of queries, keys and values, without gaps.
    pub(crate) biases: Option<[u64; 3]>,
}

/// The norms and biases of a model.
#[derive(Clone, Debug)]
pub(crate) struct Vectors {
    pub(crate) blocks: Vec<BlockVectors>,
    pub(crate) norm: u64,
}

impl Vectors {
    pub(crate) fn new(config: &ModelConfig, places: &mut Places) -> Self {
        let ModelConfig { hidden, head_dim, query_key_norm, query_key_value_bias, .. } = *config;
        let (query, key) = (config.query_width(), config.key_width());
        let mut block = |_| BlockVectors {
            input_norm: places.next(hidden),
            second_norm: places.next(hidden),
            head_norms: query_key_norm.then(|| places.together([head_dim; 2])),
            biases: query_key_value_bias.then(|| places.together([query, key, key])),
        };
        let blocks = (0..config.layers).map(&mut block).collect();
        Self { blocks, norm: places.next(hidden) }
    }
}

/// The layout of a model's weights.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) embedding: MatrixPlace,
    /// The head, unless it is the embedding.
    pub(crate) head: Option<MatrixPlace>,
    /// The four matrices of every block, in the order of [`INPUT_GROUPS`].
    pub(crate) blocks: Vec<[MatrixPlace; 4]>,
    pub(crate) vectors: Vectors,
    /// Numbers of all matrices.
    pub(crate) matrices: u64,
    /// Numbers of all vectors.
    pub(crate) vector_numbers: u64,
}

impl Layout {
    /// The layout with this much room beside the matrices of every input group. Of projections that are kept quantised,
    /// there is only the room.
    pub(crate) fn new(config: &ModelConfig, rooms: [usize; 4], base: Base) -> Self {
        let mut places = Places::default();
        let table = [config.vocabulary, config.hidden];
        let embedding = MatrixPlace::new(&mut places, table, 0, false);
        let block = |places: &mut Places| {
            let mut rooms = rooms.into_iter();
            INPUT_GROUPS.map(|group| {
                let outputs = group.iter().map(|projection| projection.shape(config)[0]).sum();
                let room = rooms.next().expect("there is one for every group");
                MatrixPlace::new(places, [outputs, group[0].shape(config)[1]], room, base.is_staged())
            })
        };
        let blocks = (0..config.layers).map(|_| block(&mut places)).collect();
        let head = (!config.tied_head).then(|| MatrixPlace::new(&mut places, table, 0, false));
        let mut of_vectors = Places::default();
        let vectors = Vectors::new(config, &mut of_vectors);
        Self { embedding, head, blocks, vectors, matrices: places.length(), vector_numbers: of_vectors.length() }
    }
}

/// The weights of one model on a device.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) layout: &'a Layout,
    /// The projections, if they are kept quantised.
    pub(crate) quantised: Option<&'a Quantised>,
    pub(crate) element: Element,
    pub(crate) matrices: Address,
    pub(crate) vectors: Address,
}

impl Weights<'_> {
    /// A matrix with its room.
    pub(crate) fn linear(&self, place: &MatrixPlace) -> Linear {
        let address = self.matrices.offset(place.start * self.element.bytes() as u64);
        let stride = place.stride() as u32;
        Linear { weight: Rows { address, stride }, outputs: place.outputs as u32, inputs: stride }
    }

    /// The matrix of an input group of a block, with its room, for the products that come next: one that is kept quantised
    /// is widened for them.
    pub(crate) fn group(&self, kernels: Kernels<'_>, layer: usize, group: usize) -> Result<Linear, DriverError> {
        let place = &self.layout.blocks[layer][group];
        let kept = self.linear(place);
        match self.quantised {
            None => Ok(kept),
            Some(quantised) => quantised.stage(kernels, (layer, group), place, kept.weight.address),
        }
    }

    /// The room beside the matrix of an input group of a block.
    pub(crate) fn beside(&self, kernels: Kernels<'_>, layer: usize, group: usize) -> Linear {
        let place = &self.layout.blocks[layer][group];
        self.linear(place).from_input(kernels, place.kept as u32)
    }

    /// The matrix from hidden states to logits.
    pub(crate) fn head(&self) -> Linear {
        self.linear(self.layout.head.as_ref().unwrap_or(&self.layout.embedding))
    }

    /// The embeddings.
    pub(crate) fn embedding(&self) -> Address {
        self.linear(&self.layout.embedding).weight.address
    }

    /// A norm or bias.
    pub(crate) fn vector(&self, place: u64) -> Address {
        self.vectors.offset(place * 4)
    }

    /// The norms and biases of a block.
    pub(crate) fn block(&self, layer: usize) -> &BlockVectors {
        &self.layout.vectors.blocks[layer]
    }
}

/// Numbers in the kernels' type.
pub(crate) fn narrowed(element: Element, values: &[f32], bytes: &mut [u8]) {
    match element {
        Element::F32 => {
            for (bytes, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                *bytes = value.to_le_bytes();
            }
        }
        Element::Bf16 => {
            for (bytes, value) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                *bytes = bf16::from_f32(*value).to_le_bytes();
            }
        }
    }
}

/// Frozen weights on a device.
pub(crate) struct Frozen {
    pub(crate) matrices: Arena,
    /// The projections, if they are kept quantised; then there is only room for adapters among the matrices.
    pub(crate) quantised: Option<Quantised>,
    pub(crate) vectors: Arena,
    /// Digest of the weights as they are computed with.
    pub(crate) digest: [u8; 32],
}

impl Frozen {
    /// Rounds the weights of a model to `element` and copies them, part by part, so that the host needs no second copy;
    /// projections that stay quantised are copied as they are, with this much room beside every input group.
    pub(crate) fn upload(
        driver: &Arc<dyn Driver>,
        element: Element,
        layout: &Layout,
        (base, rooms): (Base, [usize; 4]),
        model: &Model<f32>,
    ) -> Result<Self, DriverError> {
        let bytes = layout.matrices * element.bytes() as u64;
        let matrices = if base.is_staged() { Arena::zeros(driver, bytes) } else { Arena::new(driver, bytes) }?;
        let vectors = Arena::new(driver, layout.vector_numbers * 4)?;
        let mut hasher = blake3::Hasher::new_derive_key("tabpo weights on a card 1");
        hasher.update(format!("{element:?} {:?}", model.config).as_bytes());
        let mut upload = Upload { driver: driver.as_ref(), element, matrices: matrices.start(), hasher };
        upload.matrix(&layout.embedding, 0..layout.embedding.outputs, &model.embedding)?;
        let quantised = match base {
            Base::Nf4 { nested } => {
                Some(Quantised::upload(driver, element, (nested, rooms), model, &mut upload.hasher)?)
            }
            Base::Plain => {
                upload.projections(layout, model)?;
                None
            }
        };
        if let (Some(place), Some(head)) = (&layout.head, &model.head) {
            upload.matrix(place, 0..place.outputs, head)?;
        }
        let mut values = vec![0.0_f32; layout.vector_numbers as usize];
        let mut put = |place: u64, vector: &[f32]| values[place as usize..][..vector.len()].copy_from_slice(vector);
        for (layer, places) in model.layers.iter().zip(&layout.vectors.blocks) {
            put(places.input_norm, &layer.input_norm);
            put(places.second_norm, &layer.post_attention_norm);
            let norms = [&layer.query_norm, &layer.key_norm].into_iter().flatten();
            norms.zip(places.head_norms.into_iter().flatten()).for_each(|(norm, place)| put(place, norm));
            let biases = INPUT_GROUPS[0].iter().filter_map(|&projection| layer.projection(projection).bias.as_ref());
            biases.zip(places.biases.into_iter().flatten()).for_each(|(bias, place)| put(place, bias));
        }
        put(layout.vectors.norm, &model.norm);
        let mut bytes = vec![0; values.len() * 4];
        narrowed(Element::F32, &values, &mut bytes);
        upload.hasher.update(&bytes);
        driver.upload(vectors.start(), &bytes)?;
        let digest = *upload.hasher.finalize().as_bytes();
        Ok(Self { matrices, quantised, vectors, digest })
    }
}

struct Upload<'a> {
    driver: &'a dyn Driver,
    element: Element,
    matrices: Address,
    hasher: blake3::Hasher,
}

impl Upload<'_> {
    /// Copies the projections of all blocks.
    fn projections(&mut self, layout: &Layout, model: &Model<f32>) -> Result<(), DriverError> {
        for (layer, places) in model.layers.iter().zip(&layout.blocks) {
            for (place, group) in places.iter().zip(INPUT_GROUPS) {
                let mut first = 0;
                for &projection in group {
                    let matrix = &layer.projection(projection).weight;
                    self.matrix(place, first..first + matrix.rows(), matrix)?;
                    first += matrix.rows();
                }
            }
        }
        Ok(())
    }

    /// Copies a matrix to some rows of a place, with zeros in the room beside it.
    fn matrix(&mut self, place: &MatrixPlace, rows: Range<usize>, matrix: &Matrix<f32>) -> Result<(), DriverError> {
        let (size, columns) = (self.element.bytes(), place.inputs);
        let stride = place.stride() * size;
        let at_once = (STAGED / stride).max(1);
        for first in (0..matrix.rows()).step_by(at_once) {
            let count = at_once.min(matrix.rows() - first);
            let mut bytes = vec![0; count * stride];
            bytes.par_chunks_mut(stride).enumerate().for_each_init(
                || vec![0.0; columns],
                |values, (row, bytes)| {
                    matrix.copy_row(first + row, values);
                    narrowed(self.element, values, &mut bytes[..columns * size]);
                },
            );
            // The room is no part of the weights.
            for row in bytes.chunks_exact(stride) {
                self.hasher.update(&row[..columns * size]);
            }
            let start = place.start + ((rows.start + first) * place.stride()) as u64;
            self.driver.upload(self.matrices.offset(start * size as u64), &bytes)?;
        }
        Ok(())
    }
}
