//! What is trained: parameters, gradient and moments in single precision, in four memories of the same layout.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use safetensors::Dtype;
use tabpo_engine::{AdamWConfig, NamedTensor, WorkerError};
use tabpo_model::{INPUT_GROUPS, ModelConfig, Projection};

use crate::adapter::AdapterLayout;
use crate::arena::Arena;
use crate::driver::{Address, Driver, DriverError, Element};
use crate::ops::{
    AdamW, Arenas, Kernels, Parameter, Rows, convert, parameter_table, square_parts_bytes, sum_of_squares,
};
use crate::weights::{Layout, MatrixPlace, Places, Vectors};

/// A parameter in the memories: a matrix whose rows may be longer than its columns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) start: u64,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) stride: usize,
    decays: bool,
    copy: Option<Copied>,
}

/// Where products read a parameter.
#[derive(Clone, Copy, Debug)]
struct Copied {
    memory: Memory,
    /// The first number in this memory, in the kernels' type.
    start: u64,
    stride: usize,
    factor: f32,
}

/// The memories that have copies.
#[derive(Clone, Copy, Debug)]
enum Memory {
    Matrices,
    LowRank,
}

/// Where the copies lie.
#[derive(Clone, Copy)]
pub(crate) struct Copies {
    /// The matrices of weights.
    pub(crate) matrices: Address,
    /// The A matrices of an adapter.
    pub(crate) low_rank: Option<Address>,
}

/// The layout of what is trained, one entry a parameter, in the order of [`Policy::shapes`](tabpo_engine::Policy::shapes).
#[derive(Clone, Debug)]
pub(crate) struct TrainedLayout {
    pub(crate) entries: Vec<Entry>,
    /// Numbers of each memory.
    pub(crate) length: u64,
}

/// Where the matrices of a fully trained model lie among its parameters, as [`Layout`] has it for the copies.
#[derive(Clone, Debug)]
pub(crate) struct FullLayout {
    pub(crate) vectors: Vectors,
    pub(crate) embedding: u64,
    pub(crate) head: Option<u64>,
    pub(crate) blocks: Vec<[u64; 4]>,
}

impl TrainedLayout {
    /// An adapter, whose copies lie beside the weights and in a memory of their own.
    pub(crate) fn adapter(layout: &AdapterLayout, weights: &Layout) -> Self {
        let mut entries = Vec::new();
        for (groups, matrices) in layout.blocks.iter().zip(&weights.blocks) {
            for (group, matrix) in groups.iter().zip(matrices) {
                for member in &group.members {
                    let [outputs, inputs] = member.shape;
                    entries.push(Entry {
                        start: member.a,
                        rows: member.rank,
                        columns: inputs,
                        stride: inputs,
                        decays: true,
                        copy: Some(Copied {
                            memory: Memory::LowRank,
                            start: group.copy + (member.offset * inputs) as u64,
                            stride: inputs,
                            factor: 1.0,
                        }),
                    });
                    let first = member.output * matrix.stride() + matrix.kept + member.offset;
                    entries.push(Entry {
                        start: member.b,
                        rows: outputs,
                        columns: member.rank,
                        stride: member.width(),
                        decays: true,
                        copy: Some(Copied {
                            memory: Memory::Matrices,
                            start: matrix.start + first as u64,
                            stride: matrix.stride(),
                            factor: member.scale,
                        }),
                    });
                }
            }
        }
        Self { entries, length: layout.parameters }
    }

    /// All parameters of a model. The vectors come first, laid out as in [`Layout`], since kernels read them in single
    /// precision where they are.
    pub(crate) fn full(config: &ModelConfig, weights: &Layout) -> (Self, FullLayout) {
        let mut places = Places::default();
        let vectors = Vectors::new(config, &mut places);
        let numbers = |place: &MatrixPlace| place.outputs * place.inputs;
        let full = FullLayout {
            embedding: places.next(numbers(&weights.embedding)),
            head: weights.head.as_ref().map(|place| places.next(numbers(place))),
            blocks: weights.blocks.iter().map(|block| block.map(|place| places.next(numbers(&place)))).collect(),
            vectors,
        };
        let vector = |start, columns| Entry { start, rows: 1, columns, stride: columns, decays: false, copy: None };
        let matrix = |start: u64, place: &MatrixPlace, first: usize, rows: usize| {
            let skipped = (first * place.inputs) as u64;
            let copy =
                Copied { memory: Memory::Matrices, start: place.start + skipped, stride: place.inputs, factor: 1.0 };
            let (columns, start) = (place.inputs, start + skipped);
            Entry { start, rows, columns, stride: columns, decays: true, copy: Some(copy) }
        };
        let whole = |start, place: &MatrixPlace| matrix(start, place, 0, place.outputs);
        let mut entries = vec![whole(full.embedding, &weights.embedding)];
        for (layer, of_layer) in full.vectors.blocks.iter().enumerate() {
            entries.push(vector(of_layer.input_norm, config.hidden));
            entries.push(vector(of_layer.second_norm, config.hidden));
            entries.extend(of_layer.head_norms.into_iter().flatten().map(|start| vector(start, config.head_dim)));
            for projection in Projection::ALL {
                let group = projection.input_group();
                let before = INPUT_GROUPS[group].iter().take_while(|&&other| other != projection);
                let (index, first) =
                    before.fold((0, 0), |(index, first), other| (index + 1, first + other.shape(config)[0]));
                let outputs = projection.shape(config)[0];
                entries.push(matrix(full.blocks[layer][group], &weights.blocks[layer][group], first, outputs));
                if let (0, Some(biases)) = (group, of_layer.biases) {
                    entries.push(vector(biases[index], outputs));
                }
            }
        }
        entries.push(vector(full.vectors.norm, config.hidden));
        entries.extend(full.head.zip(weights.head.as_ref()).map(|(start, place)| whole(start, place)));
        (Self { entries, length: places.length() }, full)
    }
}

/// Names of the memories in [`NamedTensor`], in the order of [`Trained::memories`].
const KINDS: [&str; 3] = ["parameter", "first", "second"];

/// The parameters on a device, and while they are trained their gradient and moments.
pub(crate) struct Trained {
    pub(crate) layout: TrainedLayout,
    /// Name and shape of every parameter.
    shapes: Vec<(String, Vec<usize>)>,
    pub(crate) values: Arena,
    optimiser: Option<Optimiser>,
}

struct Optimiser {
    config: AdamWConfig,
    steps: u64,
    gradient: Arena,
    moments: [Arena; 2],
    /// The table of parameters with their number and blocks.
    table: (Arena, u32, u32),
    /// Room for the sum of squares and its parts.
    squares: Arena,
}

impl Trained {
    /// Puts parameters on a device.
    pub(crate) fn new(
        driver: &Arc<dyn Driver>,
        layout: TrainedLayout,
        shapes: Vec<(String, Vec<usize>)>,
        parameters: &[&[f32]],
    ) -> Result<Self, DriverError> {
        assert!(layout.entries.len() == shapes.len() && shapes.len() == parameters.len(), "an entry a parameter");
        let values = Arena::zeros(driver, layout.length * 4)?;
        let trained = Self { layout, shapes, values, optimiser: None };
        for (entry, parameter) in trained.layout.entries.iter().zip(parameters) {
            entry.upload(driver.as_ref(), trained.values.start(), parameter)?;
        }
        Ok(trained)
    }

    /// Makes the gradient and the moments, which are zero.
    pub(crate) fn begin(
        &mut self,
        driver: &Arc<dyn Driver>,
        config: AdamWConfig,
        copies: Copies,
        element: Element,
    ) -> Result<(), DriverError> {
        // Given back first, so that the old and the new memories never exist together.
        self.optimiser = None;
        let bytes = self.layout.length * 4;
        let parameters: Vec<Parameter> =
            self.layout.entries.iter().map(|entry| entry.parameter(copies, element)).collect();
        let (table, blocks) = parameter_table(&parameters);
        let table_at = Arena::new(driver, table.len() as u64)?;
        driver.upload(table_at.start(), &table)?;
        self.optimiser = Some(Optimiser {
            config,
            steps: 0,
            gradient: Arena::zeros(driver, bytes)?,
            moments: [Arena::zeros(driver, bytes)?, Arena::zeros(driver, bytes)?],
            table: (table_at, parameters.len() as u32, blocks),
            squares: Arena::new(driver, 8 + square_parts_bytes())?,
        });
        Ok(())
    }

    fn optimiser(&self) -> &Optimiser {
        self.optimiser.as_ref().expect("`begin` was called before training")
    }

    /// The gradient, `[length]`, if training has begun.
    pub(crate) fn gradient(&self) -> Option<Address> {
        self.optimiser.as_ref().map(|optimiser| optimiser.gradient.start())
    }

    pub(crate) fn clear_gradient(&self, driver: &dyn Driver) -> Result<(), DriverError> {
        let gradient = &self.optimiser().gradient;
        driver.clear(gradient.start(), gradient.bytes() as usize)
    }

    /// The gradient as it lies in memory, `[length]`.
    pub(crate) fn flat_gradient(&self, driver: &dyn Driver) -> Result<Vec<f32>, DriverError> {
        let mut bytes = vec![0; self.layout.length as usize * 4];
        driver.download(self.optimiser().gradient.start(), &mut bytes)?;
        Ok(bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    }

    /// Replaces the gradient by one of the same layout.
    pub(crate) fn set_gradient(&self, driver: &dyn Driver, gradient: &[f32]) -> Result<(), DriverError> {
        let bytes: Vec<u8> = gradient.iter().flat_map(|value| value.to_le_bytes()).collect();
        driver.upload(self.optimiser().gradient.start(), &bytes)
    }

    /// Euclidean norm of the gradient.
    pub(crate) fn gradient_norm(&self, kernels: Kernels<'_>) -> Result<f64, DriverError> {
        let Optimiser { gradient, squares, .. } = self.optimiser();
        let (sum, parts) = (squares.start(), squares.start().offset(8));
        sum_of_squares(kernels, gradient.start(), self.layout.length, parts, sum)?;
        let mut bytes = [0; 8];
        kernels.driver.download(sum, &mut bytes)?;
        Ok(f64::from_le_bytes(bytes).sqrt())
    }

    /// One step on the gradient times `factor`; also writes the copies.
    pub(crate) fn step(&mut self, kernels: Kernels<'_>, rate: f64, factor: f64) -> Result<(), DriverError> {
        let values = self.values.start();
        let optimiser = self.optimiser.as_mut().expect("`begin` was called before training");
        optimiser.steps += 1;
        let AdamWConfig { beta1, beta2, epsilon, weight_decay } = optimiser.config;
        let step = AdamW {
            factor: factor as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            epsilon: epsilon as f32,
            rate,
            weight_decay,
            step: optimiser.steps,
        };
        let [first, second] = optimiser.moments.each_ref().map(Arena::start);
        let arenas = Arenas { values, gradient: optimiser.gradient.start(), first, second };
        let (table, count, blocks) = &optimiser.table;
        step.step(kernels, (table.start(), *count, *blocks), arenas)
    }

    /// Writes what products read, from parameters that may be an older copy of these.
    pub(crate) fn write_copies(
        &self,
        kernels: Kernels<'_>,
        values: Address,
        copies: Copies,
    ) -> Result<(), DriverError> {
        for entry in &self.layout.entries {
            let Some((to, factor)) = entry.copied(copies, kernels.element) else { continue };
            let from = Rows { address: values.offset(entry.start * 4), stride: entry.stride as u32 };
            convert(kernels, (from, Element::F32), [entry.rows as u32, entry.columns as u32], factor, to)?;
        }
        Ok(())
    }

    /// Bytes of everything while it is trained.
    pub(crate) fn bytes(layout: &TrainedLayout) -> u64 {
        let table = layout.entries.len() as u64 * 48;
        4 * layout.length * 4 + table.next_multiple_of(256) + 8 + square_parts_bytes()
    }

    /// The parameters, in their order.
    pub(crate) fn parameters(&self, driver: &dyn Driver) -> Result<Vec<Vec<f32>>, DriverError> {
        let values = self.values.start();
        self.layout.entries.iter().map(|entry| entry.download(driver, values)).collect()
    }

    /// The gradient of every parameter, by name.
    pub(crate) fn named_gradient(&self, driver: &dyn Driver) -> Result<Vec<NamedTensor<'static>>, DriverError> {
        self.named(driver, "gradient", self.optimiser().gradient.start()).collect()
    }

    fn named<'a>(
        &'a self,
        driver: &'a dyn Driver,
        kind: &'a str,
        memory: Address,
    ) -> impl Iterator<Item = Result<NamedTensor<'static>, DriverError>> + 'a {
        self.layout.entries.iter().zip(&self.shapes).map(move |(entry, (name, shape))| {
            let values = entry.download(driver, memory)?;
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let (name, bytes) = (format!("{kind}.{name}"), Cow::Owned(bytes));
            Ok(NamedTensor { name, shape: shape.clone(), dtype: Dtype::F32, bytes })
        })
    }

    fn memories(&self) -> [Address; 3] {
        let [first, second] = self.optimiser().moments.each_ref().map(Arena::start);
        [self.values.start(), first, second]
    }

    /// Parameters, then the moments of each, by name, as the host's worker exports them.
    pub(crate) fn export(&self, driver: &dyn Driver) -> Result<Vec<NamedTensor<'static>>, DriverError> {
        let [values, first, second] = self.memories();
        let mut tensors: Vec<_> = self.named(driver, "parameter", values).collect::<Result<_, _>>()?;
        let moments = self.named(driver, "first", first).zip(self.named(driver, "second", second));
        for (first, second) in moments {
            tensors.extend([first?, second?]);
        }
        Ok(tensors)
    }

    /// Restores what was exported after `steps` steps; changes nothing if a tensor doesn't match. The copies are left as
    /// they are.
    pub(crate) fn import(
        &mut self,
        driver: &dyn Driver,
        steps: u64,
        tensors: &[NamedTensor<'_>],
    ) -> Result<(), WorkerError> {
        let by_name: HashMap<&str, &NamedTensor<'_>> =
            tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let mut found = Vec::new();
        for kind in KINDS {
            for (name, shape) in &self.shapes {
                let name = format!("{kind}.{name}");
                let tensor = by_name
                    .get(name.as_str())
                    .ok_or_else(|| WorkerError::State(format!("tensor {name} is missing")))?;
                if tensor.shape != *shape || tensor.dtype != Dtype::F32 {
                    let found = format!("{:?} {:?}", tensor.dtype, tensor.shape);
                    return Err(WorkerError::State(format!("tensor {name} is {found}, not F32 {shape:?}")));
                }
                found.push(tensor);
            }
        }
        let memories = self.memories();
        let places =
            memories.into_iter().flat_map(|memory| self.layout.entries.iter().map(move |entry| (memory, entry)));
        for ((memory, entry), tensor) in places.zip(found) {
            let values: Vec<f32> = tensor.bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
            entry.upload(driver, memory, &values)?;
        }
        self.optimiser.as_mut().expect("`begin` was called before training").steps = steps;
        Ok(())
    }
}

impl Entry {
    fn numbers(&self) -> usize {
        self.rows * self.stride
    }

    /// The copy and the factor of its numbers, if there is one.
    fn copied(&self, copies: Copies, element: Element) -> Option<(Rows, f32)> {
        let copy = self.copy?;
        let memory = match copy.memory {
            Memory::Matrices => copies.matrices,
            Memory::LowRank => copies.low_rank.expect("an adapter has copies of its A matrices"),
        };
        let address = memory.offset(copy.start * element.bytes() as u64);
        Some((Rows { address, stride: copy.stride as u32 }, copy.factor))
    }

    fn parameter(&self, copies: Copies, element: Element) -> Parameter {
        let copy = self.copied(copies, element);
        Parameter {
            start: self.start,
            length: self.numbers() as u64,
            copy: copy.map(|(rows, _)| rows),
            columns: self.stride as u32,
            copy_factor: copy.map_or(1.0, |(_, factor)| factor),
            decays: self.decays,
        }
    }

    /// Copies the numbers to a memory, with zeros between the rows.
    fn upload(&self, driver: &dyn Driver, memory: Address, values: &[f32]) -> Result<(), DriverError> {
        assert_eq!(values.len(), self.rows * self.columns, "a parameter has the shape of its entry");
        let mut bytes = vec![0; self.numbers() * 4];
        for (bytes, values) in bytes.chunks_exact_mut(self.stride * 4).zip(values.chunks_exact(self.columns)) {
            crate::weights::narrowed(Element::F32, values, &mut bytes[..self.columns * 4]);
        }
        driver.upload(memory.offset(self.start * 4), &bytes)
    }

    /// The numbers in a memory.
    fn download(&self, driver: &dyn Driver, memory: Address) -> Result<Vec<f32>, DriverError> {
        let mut bytes = vec![0; self.numbers() * 4];
        driver.download(memory.offset(self.start * 4), &mut bytes)?;
        let row = |bytes: &[u8]| -> Vec<f32> {
            bytes[..self.columns * 4].as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
        };
        Ok(bytes.chunks_exact(self.stride * 4).flat_map(row).collect())
    }
}
