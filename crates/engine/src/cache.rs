//! Keys and values of the tokens read and generated so far, shared where prompts begin alike.

use std::sync::Arc;

use crate::ops::reduce::LANES;
use crate::real::Real;
use tabpo_model::ModelConfig;

/// The sizes that determine the layout of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheShape {
    pub(crate) layers: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

impl CacheShape {
    pub(crate) fn of(config: &ModelConfig) -> Self {
        Self { layers: config.layers, kv_heads: config.kv_heads, head_dim: config.head_dim }
    }

    /// Panels of the elements of a value.
    fn panels(self) -> usize {
        self.head_dim.div_ceil(LANES)
    }

    /// Vectors of the keys and of the values of one head, for `capacity` tokens.
    fn head(self, capacity: usize) -> (usize, usize) {
        (capacity / LANES * self.head_dim, self.panels() * capacity)
    }

    /// Vectors of `capacity` tokens.
    pub(crate) fn vectors(self, capacity: usize) -> usize {
        let (keys, values) = self.head(capacity.next_multiple_of(LANES));
        self.layers * self.kv_heads * (keys + values)
    }
}

/// Keys and values of consecutive tokens. For every layer and key head, the keys are
/// `[capacity / LANES, head_dim, LANES]` and the values `[head_dim / LANES, capacity, LANES]`, so that attention reads
/// neighbouring keys, and neighbouring elements of values, as vectors.
#[derive(Clone, Debug)]
pub(crate) struct Stretch<R> {
    pub(crate) length: usize,
    capacity: usize,
    vectors: Vec<[R; LANES]>,
}

/// The keys and values of one head of a [`Stretch`].
#[derive(Clone, Copy)]
pub(crate) struct HeadCache<'a, R> {
    /// `[capacity / LANES, head_dim, LANES]`
    pub(crate) keys: &'a [[R; LANES]],
    /// `[head_dim / LANES, capacity, LANES]`
    pub(crate) values: &'a [[R; LANES]],
    pub(crate) capacity: usize,
}

impl<R: Real> Stretch<R> {
    /// Space for `capacity` tokens.
    fn new(shape: CacheShape, capacity: usize) -> Self {
        let capacity = capacity.next_multiple_of(LANES);
        Self { length: 0, capacity, vectors: vec![[R::ZERO; LANES]; shape.vectors(capacity)] }
    }

    pub(crate) fn head(&self, shape: CacheShape, layer: usize, head: usize) -> HeadCache<'_, R> {
        let (keys, values) = shape.head(self.capacity);
        let start = (layer * shape.kv_heads + head) * (keys + values);
        let (keys, rest) = self.vectors[start..].split_at(keys);
        HeadCache { keys, values: &rest[..values], capacity: self.capacity }
    }

    /// Stores keys and values `[kv_heads * head_dim]` of one token in one layer, at `position` in the stretch.
    pub(crate) fn store(&mut self, shape: CacheShape, layer: usize, position: usize, key: &[R], value: &[R]) {
        assert!(position < self.capacity, "the cache has space for the token");
        let (key_vectors, value_vectors) = shape.head(self.capacity);
        let width = shape.head_dim;
        for (head, (key, value)) in key.chunks_exact(width).zip(value.chunks_exact(width)).enumerate() {
            let start = (layer * shape.kv_heads + head) * (key_vectors + value_vectors);
            let keys = &mut self.vectors[start + position / LANES * width..][..width];
            for (vector, &k) in keys.iter_mut().zip(key) {
                vector[position % LANES] = k;
            }
            for (panel, value) in value.chunks(LANES).enumerate() {
                let vector = &mut self.vectors[start + key_vectors + panel * self.capacity + position];
                vector[..value.len()].copy_from_slice(value);
            }
        }
    }
}

/// Keys and values of a beginning that several sequences share. They are kept for as long as a clone of this or a
/// sequence that begins with it lives.
#[derive(Clone, Debug)]
pub struct SharedPrefix<R>(Arc<Part<R>>);

/// The last part of a shared beginning.
#[derive(Debug)]
struct Part<R> {
    above: Option<SharedPrefix<R>>,
    /// Tokens before it.
    start: usize,
    /// Larger for later parts, so that sequences can be sorted by what they share.
    number: u64,
    stretch: Stretch<R>,
}

impl<R: Real> SharedPrefix<R> {
    /// Number of tokens from the beginning.
    pub fn length(&self) -> usize {
        self.0.start + self.0.stretch.length
    }

    /// The parts from the beginning to this one.
    fn parts(&self) -> Vec<Self> {
        let mut parts: Vec<Self> = std::iter::successors(Some(self), |part| part.0.above.as_ref()).cloned().collect();
        parts.reverse();
        parts
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.number
    }

    pub(crate) fn start(&self) -> usize {
        self.0.start
    }

    pub(crate) fn stretch(&self) -> &Stretch<R> {
        &self.0.stretch
    }
}

/// A sequence: what it shares, then what is its own.
#[derive(Clone, Debug)]
pub(crate) struct Sequence<R> {
    pub(crate) shared: Vec<SharedPrefix<R>>,
    /// Tokens in `shared`.
    pub(crate) before: usize,
    pub(crate) own: Stretch<R>,
}

impl<R: Real> Sequence<R> {
    /// An empty sequence with space for `capacity` tokens of its own, after a shared beginning.
    pub(crate) fn new(shape: CacheShape, after: Option<&SharedPrefix<R>>, capacity: usize) -> Self {
        let mut new = Self { shared: Vec::new(), before: 0, own: Stretch::new(shape, capacity) };
        new.begin_after(after);
        new
    }

    fn begin_after(&mut self, after: Option<&SharedPrefix<R>>) {
        self.shared = after.map_or_else(Vec::new, SharedPrefix::parts);
        self.before = after.map_or(0, SharedPrefix::length);
        self.own.length = 0;
    }

    /// Makes what is its own another part of the shared beginning; `number` is larger than those of earlier parts.
    pub(crate) fn into_shared(mut self, number: u64) -> SharedPrefix<R> {
        SharedPrefix(Arc::new(Part { above: self.shared.pop(), start: self.before, number, stretch: self.own }))
    }
}

/// Keys and values of live sequences of different lengths.
#[derive(Clone, Debug)]
pub struct KvCache<R> {
    shape: CacheShape,
    capacity: usize,
    sequences: usize,
    live: Vec<Sequence<R>>,
    /// Memory of finished sequences, for reuse.
    free: Vec<Sequence<R>>,
}

impl<R: Real> KvCache<R> {
    /// A cache for up to `sequences` live sequences of up to `capacity` tokens each, not counting those of a shared
    /// beginning. The memory of a sequence is allocated when it is added.
    pub fn new(config: &ModelConfig, sequences: usize, capacity: usize) -> Self {
        Self { shape: CacheShape::of(config), capacity, sequences, live: Vec::new(), free: Vec::new() }
    }

    /// Number of live sequences.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether no sequence is live.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Keeps the live sequences for which `keep` is true, in their order. Keys and values are not moved.
    ///
    /// # Panics
    /// If `keep` does not have one entry per live sequence.
    pub fn retain(&mut self, keep: &[bool]) {
        assert_eq!(keep.len(), self.live.len(), "one decision per live sequence");
        let mut decisions = keep.iter();
        let first = self.free.len();
        self.free.extend(self.live.extract_if(.., |_| decisions.next() == Some(&false)));
        for sequence in &mut self.free[first..] {
            sequence.begin_after(None);
        }
    }

    pub(crate) fn live_mut(&mut self) -> &mut [Sequence<R>] {
        &mut self.live
    }

    /// Adds an empty sequence after a shared beginning.
    pub(crate) fn push(&mut self, after: Option<&SharedPrefix<R>>) {
        assert!(self.live.len() < self.sequences, "the cache holds at most {} sequences", self.sequences);
        let sequence = match self.free.pop() {
            Some(mut sequence) => {
                sequence.begin_after(after);
                sequence
            }
            None => Sequence::new(self.shape, after, self.capacity),
        };
        self.live.push(sequence);
    }
}
