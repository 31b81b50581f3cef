//! Frozen projections that stay quantised on a device.
//!
//! Before each product, the matrix of an input group is widened into one staging buffer, with the adapter's B beside it,
//! so that products are the same as with weights in the kernels' type. What is kept beside the codes is only that room.

use std::sync::Arc;

use tabpo_engine::{Matrix, Model};
use tabpo_model::{INPUT_GROUPS, ModelConfig, NF4_LEVELS, Nf4Matrix, SCALES_PER_GROUP, Scales};

use crate::arena::{Arena, ArenaPlan, Cut};
use crate::driver::{Address, Driver, DriverError, Element};
use crate::ops::{Kernels, Linear, Nf4};
use crate::weights::MatrixPlace;

/// How the projections of a frozen model lie on a device; everything else is in the kernels' type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// In the kernels' type.
    Plain,
    /// In NF4.
    Nf4 {
        /// Whether the scales are quantised, too.
        nested: bool,
    },
}

impl Base {
    /// How the projections of a model are kept: in NF4 if all of them are in it, in the same way.
    pub fn of(model: &Model<f32>) -> Self {
        let is_nested =
            |matrix: &Matrix<f32>| matrix.as_nf4().map(|matrix| matches!(matrix.scales(), Scales::Nested(_)));
        let mut all = model.layers.iter().flat_map(|layer| &layer.projections).map(|linear| is_nested(&linear.weight));
        match all.next().flatten() {
            Some(nested) if all.all(|other| other == Some(nested)) => Self::Nf4 { nested },
            _ => Self::Plain,
        }
    }

    /// Whether projections are widened before each product.
    pub(crate) fn is_staged(self) -> bool {
        self != Self::Plain
    }
}

/// The projections of every block, by input group.
type Blocks<T> = Vec<[Vec<T>; 4]>;

/// Codes, scales and the staging buffer in one memory.
struct Plan {
    arena: ArenaPlan,
    /// The parts of a matrix, in the order of [`Nf4::new`].
    blocks: Blocks<Vec<Cut>>,
    staging: Cut,
}

impl Plan {
    fn new(config: &ModelConfig, nested: bool, rooms: [usize; 4], element: Element) -> Self {
        let mut arena = ArenaPlan::default();
        let mut parts = |[rows, columns]: [usize; 2]| -> Vec<Cut> {
            let blocks = Nf4Matrix::blocks(rows, columns);
            let codes = Nf4Matrix::code_bytes(rows, columns);
            let of_scales = if nested { vec![blocks, 4 * blocks.div_ceil(SCALES_PER_GROUP)] } else { vec![4 * blocks] };
            let tables = 4 * (NF4_LEVELS.len() + if nested { 256 } else { 0 });
            let sizes = [codes].into_iter().chain(of_scales).chain([tables]);
            sizes.map(|bytes| arena.reserve(bytes as u64)).collect()
        };
        let blocks = (0..config.layers)
            .map(|_| INPUT_GROUPS.map(|group| group.iter().map(|projection| parts(projection.shape(config))).collect()))
            .collect();
        let numbers = |(group, room): (&[tabpo_model::Projection], usize)| {
            let outputs: usize = group.iter().map(|projection| projection.shape(config)[0]).sum();
            outputs * (group[0].shape(config)[1] + room)
        };
        let largest = INPUT_GROUPS.into_iter().zip(rooms).map(numbers).max().unwrap_or(0);
        let staging = arena.reserve((largest * element.bytes()) as u64);
        Self { arena, blocks, staging }
    }
}

/// Bytes of codes, scales and the staging buffer.
pub(crate) fn bytes(config: &ModelConfig, base: Base, rooms: [usize; 4], element: Element) -> u64 {
    match base {
        Base::Plain => 0,
        Base::Nf4 { nested } => Plan::new(config, nested, rooms, element).arena.bytes(),
    }
}

/// Quantised projections on a device.
pub(crate) struct Quantised {
    arena: Arena,
    blocks: Blocks<Nf4>,
    staging: Cut,
}

impl Quantised {
    /// Copies codes and scales; what they are is added to `hasher`.
    pub(crate) fn upload(
        driver: &Arc<dyn Driver>,
        element: Element,
        (nested, rooms): (bool, [usize; 4]),
        model: &Model<f32>,
        hasher: &mut blake3::Hasher,
    ) -> Result<Self, DriverError> {
        let plan = Plan::new(&model.config, nested, rooms, element);
        let arena = plan.arena.allocate(driver)?;
        let mut blocks = Vec::with_capacity(plan.blocks.len());
        for (layer, places) in model.layers.iter().zip(&plan.blocks) {
            let mut groups: [Vec<Nf4>; 4] = std::array::from_fn(|_| Vec::new());
            for ((group, places), uploaded) in INPUT_GROUPS.iter().zip(places).zip(&mut groups) {
                for (&projection, parts) in group.iter().zip(places) {
                    let matrix = layer.projection(projection).weight.as_nf4().expect("all projections are in NF4");
                    let mut parts = parts.iter();
                    uploaded.push(Nf4::new(matrix, |bytes| {
                        let at = arena.address(*parts.next().expect("the plan has every part"));
                        driver.upload(at, bytes)?;
                        Ok(at)
                    })?);
                    let shape = [matrix.rows(), matrix.columns()];
                    hasher.update(format!("NF4 {shape:?} {:?}\n", matrix.rounding()).as_bytes());
                    for part in matrix.parts() {
                        hasher.update(part);
                    }
                }
            }
            blocks.push(groups);
        }
        Ok(Self { arena, blocks, staging: plan.staging })
    }

    /// Bytes of the whole.
    pub(crate) fn bytes(&self) -> u64 {
        self.arena.bytes()
    }

    /// Widens the matrix of an input group into the staging buffer, with what lies at `place` beside it. The matrix is
    /// there until the next one is asked for.
    pub(crate) fn stage(
        &self,
        kernels: Kernels<'_>,
        (layer, group): (usize, usize),
        place: &MatrixPlace,
        beside: Address,
    ) -> Result<Linear, DriverError> {
        let size = kernels.element.bytes();
        let start = self.arena.address(self.staging);
        let stride = place.inputs + place.room;
        let mut first = 0;
        let mut weight = None;
        for matrix in &self.blocks[layer][group] {
            let at = |width: usize| (first * width * size) as u64;
            let to = start.offset(at(stride));
            let rows = matrix.dequantise(kernels, (beside.offset(at(place.room)), place.room as u32), to)?;
            weight.get_or_insert(rows);
            first += matrix.rows as usize;
        }
        let weight = weight.expect("a group has projections");
        Ok(Linear { weight, outputs: place.outputs as u32, inputs: stride as u32 })
    }
}
