//! Low-rank adapters (`LoRA`, arXiv 2106.09685): `y = x W^T + s (x A^T) B^T`.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tabpo_model::{INPUT_GROUPS, LoraConfig, ModelConfig, Projection};

use crate::model::Model;
use crate::ops::gemm::add_product;
use crate::real::Real;
use crate::view::{View, ViewMut};
use crate::weights::Matrix;

/// The adapter of one projection within its group.
#[derive(Clone, Debug)]
pub struct LoraMember<R> {
    /// The adapted projection.
    pub projection: Projection,
    /// First row of this member in the group's `a`.
    pub offset: usize,
    /// Number of its rows in `a`.
    pub rank: usize,
    /// Scale of the update.
    pub scale: R,
    /// `[outputs, rank]`
    pub b: Vec<R>,
}

/// The adapters of a block with the same input. Their A matrices are stacked, so that one product serves
/// them all.
#[derive(Clone, Debug, Default)]
pub struct LoraGroup<R> {
    /// `[sum of ranks, inputs]`
    pub a: Vec<R>,
    /// The members, in the order of [`Projection::ALL`].
    pub members: Vec<LoraMember<R>>,
}

impl<R> LoraGroup<R> {
    /// Sum of the members' ranks: the rows of `a`.
    pub fn ranks(&self) -> usize {
        self.members.iter().map(|member| member.rank).sum()
    }
}

/// Matrices saved with an adapter that replace those of its base model.
#[derive(Clone, Debug)]
pub struct SavedModules<R> {
    /// Token embeddings, `[vocabulary, hidden]`.
    pub embedding: Option<Matrix<R>>,
    /// The head, `[vocabulary, hidden]`.
    pub head: Option<Matrix<R>>,
}

impl<R> Default for SavedModules<R> {
    fn default() -> Self {
        Self { embedding: None, head: None }
    }
}

/// A low-rank adapter of a model.
#[derive(Clone, Debug)]
pub struct Lora<R> {
    /// The settings.
    pub config: LoraConfig,
    /// The groups of every block in the order of [`INPUT_GROUPS`]; a group without adapters is empty.
    pub layers: Vec<[LoraGroup<R>; 4]>,
    /// An embedding and head that replace the model's.
    pub saved: Box<SavedModules<R>>,
}

/// The adapter groups of a layer; `None` without an adapter.
pub(crate) fn groups<R>(lora: Option<&Lora<R>>, layer: usize) -> Option<&[LoraGroup<R>; 4]> {
    lora.map(|lora| &lora.layers[layer])
}

impl<R: Real> Lora<R> {
    /// A new adapter, initialised as by PEFT: A is Kaiming-uniform with `a = sqrt(5)`, that is, uniform in
    /// `±1 / sqrt(inputs)`; B is zero, so that the adapted model equals the base model.
    pub fn initialise(model: &ModelConfig, config: LoraConfig, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut lora = Self::zeros(model, config);
        for layer in &mut lora.layers {
            for (group, projections) in layer.iter_mut().zip(INPUT_GROUPS) {
                let bound = 1.0 / (projections[0].shape(model)[1] as f64).sqrt();
                for value in &mut group.a {
                    let unit = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
                    *value = R::from_f64(bound * (2.0 * unit - 1.0));
                }
            }
        }
        lora
    }

    /// An adapter of zeros, for gradients.
    pub fn zeros(model: &ModelConfig, config: LoraConfig) -> Self {
        let group = |projections: &[Projection], layer: usize| {
            let mut members = Vec::new();
            let mut offset = 0;
            for &projection in projections.iter().filter(|p| config.targets.contains(p)) {
                let (rank, scale) = config.rank_and_scale(projection, layer);
                let b = vec![R::ZERO; projection.shape(model)[0] * rank];
                members.push(LoraMember { projection, offset, rank, scale: R::from_f64(scale), b });
                offset += rank;
            }
            LoraGroup { a: vec![R::ZERO; offset * projections[0].shape(model)[1]], members }
        };
        let layers = (0..model.layers).map(|layer| INPUT_GROUPS.map(|projections| group(projections, layer))).collect();
        Self { config, layers, saved: Box::default() }
    }

    /// The names (`model.layers.0.self_attn.q_proj.lora_A.weight`) and shapes of all parameters, in
    /// the order of [`Lora::parameters`].
    pub fn shapes(&self, model: &ModelConfig) -> Vec<(String, Vec<usize>)> {
        let mut shapes = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            for member in layer.iter().flat_map(|group| &group.members) {
                let [outputs, inputs] = member.projection.shape(model);
                let path = member.projection.path(index);
                shapes.push((format!("{path}.lora_A.weight"), vec![member.rank, inputs]));
                shapes.push((format!("{path}.lora_B.weight"), vec![outputs, member.rank]));
            }
        }
        shapes
    }

    /// The elements of all parameters: for every module A, then B.
    pub fn parameters(&self) -> Vec<&[R]> {
        let mut parameters = Vec::new();
        for group in self.layers.iter().flatten() {
            let inputs = group.a.len() / group.ranks().max(1);
            for member in &group.members {
                parameters.push(&group.a[member.offset * inputs..(member.offset + member.rank) * inputs]);
                parameters.push(&member.b[..]);
            }
        }
        parameters
    }

    /// The elements of all parameters, in the order of [`Lora::parameters`].
    pub fn parameters_mut(&mut self) -> Vec<&mut [R]> {
        let mut parameters = Vec::new();
        for group in self.layers.iter_mut().flatten() {
            let inputs = group.a.len() / group.ranks().max(1);
            let mut rest = &mut group.a[..];
            for member in &mut group.members {
                let (a, tail) = rest.split_at_mut(member.rank * inputs);
                rest = tail;
                parameters.push(a);
                parameters.push(&mut member.b[..]);
            }
        }
        parameters
    }

    /// The model with the adapter merged into its weights, `W + s B A`. Adapted matrices become owned; the
    /// others are copied unchanged.
    pub fn merge(&self, model: &Model<R>) -> Model<R> {
        let mut merged = model.clone();
        for (layer, groups) in merged.layers.iter_mut().zip(&self.layers) {
            for group in groups {
                let inputs = group.a.len() / group.ranks().max(1);
                for member in &group.members {
                    let weight = &mut layer.projections[member.projection as usize].weight;
                    let outputs = weight.rows();
                    let mut target = ViewMut::new(weight.make_owned(), outputs, inputs);
                    let a = View::new(&group.a, group.ranks(), inputs).rows(member.offset..member.offset + member.rank);
                    let b = View::new(&member.b, outputs, member.rank);
                    add_product(target.reborrow(), member.scale, b, a);
                }
            }
        }
        merged
    }
}
