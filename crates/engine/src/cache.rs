//! Keys and values of the tokens generated so far.

use crate::ops::reduce::LANES;
use crate::real::Real;
use tabpo_model::ModelConfig;

/// The keys and values of one sequence: for every layer the keys as
/// `[kv_heads, capacity / LANES, head_dim, LANES]`, so that the scores of neighbouring keys are computed
/// together from sequential memory, then the values as `[kv_heads, capacity, head_dim]`.
#[derive(Clone, Debug)]
pub(crate) struct Sequence<R> {
    pub(crate) length: usize,
    values: Vec<R>,
}

/// Keys and values of live sequences of different lengths.
#[derive(Clone, Debug)]
pub struct KvCache<R> {
    shape: CacheShape,
    sequences: usize,
    live: Vec<Sequence<R>>,
    /// Memory of finished sequences, for reuse.
    free: Vec<Sequence<R>>,
}

/// The sizes that determine the layout of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheShape {
    pub(crate) layers: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) capacity: usize,
}

impl CacheShape {
    /// Elements of the keys of one head, and of its values.
    fn head(self) -> usize {
        self.head_dim * self.capacity
    }
}

impl<R: Real> Sequence<R> {
    /// Keys `[capacity / LANES, head_dim, LANES]` and values `[capacity, head_dim]` of one head.
    pub(crate) fn head(&self, shape: CacheShape, layer: usize, head: usize) -> (&[R], &[R]) {
        let size = shape.head();
        let keys = (layer * 2 * shape.kv_heads + head) * size;
        let values = keys + shape.kv_heads * size;
        (&self.values[keys..keys + size], &self.values[values..values + size])
    }

    /// Stores keys and values `[kv_heads * head_dim]` of one position in one layer.
    pub(crate) fn store(&mut self, shape: CacheShape, layer: usize, position: usize, key: &[R], value: &[R]) {
        let (size, width) = (shape.head(), shape.head_dim);
        for (head, (key, value)) in key.chunks_exact(width).zip(value.chunks_exact(width)).enumerate() {
            let keys = (layer * 2 * shape.kv_heads + head) * size;
            let block = keys + position / LANES * LANES * width;
            for (row, &k) in key.iter().enumerate() {
                self.values[block + row * LANES + position % LANES] = k;
            }
            let values = keys + shape.kv_heads * size + position * width;
            self.values[values..values + width].copy_from_slice(value);
        }
    }
}

impl<R: Real> KvCache<R> {
    /// A cache for up to `sequences` live sequences of up to `capacity` tokens each. The memory of a
    /// sequence is allocated when it is added.
    pub fn new(config: &ModelConfig, sequences: usize, capacity: usize) -> Self {
        let shape = CacheShape {
            layers: config.layers,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            // Whole vectors, because attention reads past the end of a sequence.
            capacity: capacity.next_multiple_of(LANES),
        };
        Self { shape, sequences, live: Vec::new(), free: Vec::new() }
    }

    /// Number of live sequences.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether no sequence is live.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Largest length of a sequence: the requested one, rounded up to a multiple of 16.
    pub(crate) fn capacity(&self) -> usize {
        self.shape.capacity
    }

    /// Keeps the live sequences for which `keep` is true, in their order. Keys and values are not moved.
    ///
    /// # Panics
    /// If `keep` does not have one entry per live sequence.
    pub fn retain(&mut self, keep: &[bool]) {
        assert_eq!(keep.len(), self.live.len(), "one decision per live sequence");
        let mut decisions = keep.iter();
        self.free.extend(self.live.extract_if(.., |_| decisions.next() == Some(&false)));
    }

    pub(crate) fn shape(&self) -> CacheShape {
        self.shape
    }

    pub(crate) fn live_mut(&mut self) -> &mut [Sequence<R>] {
        &mut self.live
    }

    /// Adds an empty sequence.
    pub(crate) fn push(&mut self) {
        assert!(self.live.len() < self.sequences, "the cache holds at most {} sequences", self.sequences);
        let shape = self.shape;
        let mut sequence = self.free.pop().unwrap_or_else(|| {
            let elements = shape.layers * 2 * shape.kv_heads * shape.head();
            Sequence { length: 0, values: vec![R::ZERO; elements] }
        });
        sequence.length = 0;
        self.live.push(sequence);
    }
}
