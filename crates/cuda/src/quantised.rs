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

/// Where a projection's codes and scales lie.
#[derive(Clone, Copy, Debug)]
struct Place {
    shape: [usize; 2],
    codes: Cut,
    scale_codes: Option<Cut>,
    scales: Cut,
    tables: Cut,
}

/// The projections of every block, by input group.
type Blocks<T> = Vec<[Vec<T>; 4]>;

/// Codes, scales and the staging buffer in one memory.
struct Plan {
    arena: ArenaPlan,
    blocks: Blocks<Place>,
    staging: Cut,
}

impl Plan {
    fn new(config: &ModelConfig, nested: bool, rooms: [usize; 4], element: Element) -> Self {
        let mut arena = ArenaPlan::default();
        let mut place = |shape: [usize; 2]| {
            let blocks = Nf4Matrix::blocks(shape[0], shape[1]);
            let scales = if nested { blocks.div_ceil(SCALES_PER_GROUP) } else { blocks };
            Place {
                shape,
                codes: arena.reserve(Nf4Matrix::code_bytes(shape[0], shape[1]) as u64),
                scale_codes: nested.then(|| arena.reserve(blocks as u64)),
                scales: arena.reserve(4 * scales as u64),
                tables: arena.reserve(4 * (NF4_LEVELS.len() + if nested { 256 } else { 0 }) as u64),
            }
        };
        let blocks = (0..config.layers)
            .map(|_| INPUT_GROUPS.map(|group| group.iter().map(|projection| place(projection.shape(config))).collect()))
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
                for (&projection, place) in group.iter().zip(places) {
                    let matrix = layer.projection(projection).weight.as_nf4().expect("all projections are in NF4");
                    uploaded.push(place.upload(driver.as_ref(), &arena, matrix)?);
                    hasher.update(format!("NF4 {:?} {:?}\n", place.shape, matrix.rounding()).as_bytes());
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

impl Place {
    fn upload(&self, driver: &dyn Driver, arena: &Arena, matrix: &Nf4Matrix) -> Result<Nf4, DriverError> {
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        driver.upload(arena.address(self.codes), matrix.codes())?;
        let (mut tables, mut offset) = (NF4_LEVELS.to_vec(), 0.0);
        match (matrix.scales(), self.scale_codes) {
            (Scales::Plain(scales), None) => driver.upload(arena.address(self.scales), &bytes(scales))?,
            (Scales::Nested(nested), Some(codes)) => {
                driver.upload(arena.address(codes), nested.codes())?;
                driver.upload(arena.address(self.scales), &bytes(nested.largest()))?;
                tables.extend(nested.map());
                offset = nested.offset();
            }
            _ => unreachable!("all projections have their scales in the same form"),
        }
        driver.upload(arena.address(self.tables), &bytes(&tables))?;
        let [rows, inputs] = self.shape.map(|size| size as u32);
        let at = |cut: Cut| arena.address(cut);
        Ok(Nf4 {
            codes: at(self.codes),
            scale_codes: self.scale_codes.map(at),
            scales: at(self.scales),
            tables: at(self.tables),
            offset,
            rounding: matrix.rounding(),
            rows,
            inputs,
        })
    }
}
