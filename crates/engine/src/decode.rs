//! Batched generation with a cache of keys and values: shared beginnings, prompts, then one token at a time.

use rayon::prelude::*;

use crate::cache::{CacheShape, KvCache, Sequence, SharedPrefix};
use crate::lora::{Lora, LoraGroup, groups};
use crate::model::{Layer, Model};
use crate::ops::gemm::add_product;
use crate::ops::on_pool;
use crate::ops::panels::Panels;
use crate::ops::rope::RopeTable;
use crate::pass::{Feed, Pass, PassBuffers};
use crate::real::Real;
use crate::scratch::{ThreadScratch, fit};
use crate::view::{View, ViewMut};
use crate::weights::Matrix;
use tabpo_model::{ModelConfig, Projection};

/// Up to this many parameters a model is copied into the fastest layout for decoding.
const PACKED_PARAMETERS: usize = 64 << 20;

/// Up to this many parameters a batch is decoded in independent groups of sequences, one per thread: such weights
/// stay in the processor's caches, so that reading them once per group costs little and no thread waits.
const GROUPED_PARAMETERS: usize = 4 << 20;

/// Sequences that products with packed weights process together.
const GROUP_ROWS: usize = 6;

/// The most rows of one pass, and of one group of a larger model, whose products are split among threads instead.
pub(crate) const PASS_ROWS: usize = 256;

/// A model prepared for generation. A small model is copied into the fastest layout for decoding, with the
/// adapter merged into the weights; a large one is used as it is, with a separate adapter.
#[derive(Debug)]
pub struct Decoder<'m, R> {
    model: &'m Model<R>,
    parameters: usize,
    layers: Vec<DecodeLayer<'m, R>>,
    head: Head<'m, R>,
    groups: Vec<PassBuffers<R>>,
    scratch: ThreadScratch<R>,
    rope: RopeTable<R>,
    /// For a prompt whose rotations depend on its length.
    prompt_rope: RopeTable<R>,
    /// How many beginnings have been shared.
    shared: u64,
    /// Normalised hidden states after the last tokens, `[sequences, hidden]`.
    states: Vec<R>,
    logits: Vec<R>,
}

/// The parameters of one block.
#[derive(Debug)]
pub(crate) struct DecodeLayer<'m, R> {
    pub(crate) layer: &'m Layer<R>,
    /// The projections in the order of [`Projection::ALL`], with the adapter merged. Empty if the model is used
    /// as it is.
    pub(crate) packed: Vec<Panels<R>>,
    /// The adapters that are not merged.
    pub(crate) adapters: Option<&'m [LoraGroup<R>; 4]>,
}

/// The matrix that computes logits.
#[derive(Debug)]
pub(crate) enum Head<'m, R> {
    Packed(Panels<R>),
    /// `[vocabulary, hidden]`
    Plain(&'m Matrix<R>),
}

/// Whether a model is copied into the fastest layout.
pub(crate) fn is_packed(config: &ModelConfig) -> bool {
    config.parameters() <= PACKED_PARAMETERS
}

/// Packs a matrix with its adapter merged.
fn pack<R: Real>(matrix: &Matrix<R>, adapter: Option<(&LoraGroup<R>, usize)>) -> Panels<R> {
    let (outputs, inputs) = (matrix.rows(), matrix.columns());
    let mut values = vec![R::ZERO; outputs * inputs];
    for (output, row) in values.chunks_exact_mut(inputs).enumerate() {
        matrix.copy_row(output, row);
    }
    if let Some((group, index)) = adapter {
        let member = &group.members[index];
        let a = View::new(&group.a, group.ranks(), inputs).rows(member.offset..member.offset + member.rank);
        let b = View::new(&member.b, outputs, member.rank);
        add_product(ViewMut::new(&mut values, outputs, inputs), member.scale, b, a);
    }
    Panels::new(&values, inputs)
}

fn pack_layer<'m, R: Real>(layer: &'m Layer<R>, adapters: Option<&'m [LoraGroup<R>; 4]>) -> DecodeLayer<'m, R> {
    let packed = Projection::ALL.map(|projection| {
        let adapter = adapters.and_then(|groups| {
            let group = &groups[projection.input_group()];
            let index = group.members.iter().position(|member| member.projection == projection)?;
            Some((group, index))
        });
        pack(&layer.projection(projection).weight, adapter)
    });
    DecodeLayer { layer, packed: packed.into(), adapters: None }
}

impl<'m, R: Real> Decoder<'m, R> {
    /// Prepares a model with an adapter.
    pub fn new(model: &'m Model<R>, lora: Option<&'m Lora<R>>) -> Self {
        Self::in_layout(model, lora, is_packed(&model.config))
    }

    /// Prepares a model with an adapter without a copy of its weights, even if it is small.
    pub fn as_stored(model: &'m Model<R>, lora: Option<&'m Lora<R>>) -> Self {
        Self::in_layout(model, lora, false)
    }

    fn in_layout(model: &'m Model<R>, lora: Option<&'m Lora<R>>, small: bool) -> Self {
        let parameters = model.config.parameters();
        let layers = model.layers.iter().enumerate().map(|(index, layer)| {
            let adapters = groups(lora, index);
            if small { pack_layer(layer, adapters) } else { DecodeLayer { layer, packed: Vec::new(), adapters } }
        });
        let head = if small { Head::Packed(pack(model.head_matrix(), None)) } else { Head::Plain(model.head_matrix()) };
        Self {
            model,
            parameters,
            layers: layers.collect(),
            head,
            groups: Vec::new(),
            scratch: ThreadScratch::new(),
            rope: RopeTable::default(),
            prompt_rope: RopeTable::default(),
            shared: 0,
            states: Vec::new(),
            logits: Vec::new(),
        }
    }

    /// The logits of the last pass, `[sequences, vocabulary]`, followed by unspecified values.
    pub(crate) fn logits(&self) -> &[R] {
        &self.logits
    }

    /// Computes the keys and values of a beginning that several prompts share: `tokens`, after those of `above`.
    ///
    /// # Panics
    /// If there are no tokens.
    pub fn share(&mut self, above: Option<&SharedPrefix<R>>, tokens: &[u32]) -> SharedPrefix<R> {
        assert!(!tokens.is_empty(), "a shared beginning has tokens");
        let mut sequence = Sequence::new(CacheShape::of(&self.model.config), above, tokens.len());
        on_pool(|| {
            for tokens in tokens.chunks(PASS_ROWS) {
                self.pass(&[Feed { sequence: 0, tokens, state: None }], std::slice::from_mut(&mut sequence), None);
            }
        });
        self.shared += 1;
        sequence.into_shared(self.shared)
    }

    /// Adds one sequence per prompt to the cache and returns the logits after each prompt's last token,
    /// `[prompts, vocabulary]`.
    ///
    /// # Panics
    /// If a prompt is empty or exceeds the cache's capacity, or the cache cannot hold all sequences.
    pub fn prefill(&mut self, prompts: &[&[u32]], cache: &mut KvCache<R>) -> &[R] {
        let prompts: Vec<_> = prompts.iter().map(|&prompt| (None, prompt)).collect();
        self.prefill_after(&prompts, cache)
    }

    /// As [`prefill`](Self::prefill), for prompts that consist of a shared beginning and tokens of their own.
    ///
    /// # Panics
    /// As [`prefill`](Self::prefill), for the tokens of their own.
    pub fn prefill_after(&mut self, prompts: &[(Option<&SharedPrefix<R>>, &[u32])], cache: &mut KvCache<R>) -> &[R] {
        let before = cache.len();
        for (after, tokens) in prompts {
            assert!(!tokens.is_empty(), "a prompt has a token of its own");
            cache.push(*after);
        }
        on_pool(|| {
            fit(&mut self.states, prompts.len() * self.model.config.hidden);
            self.prefill_on_pool(prompts, &mut cache.live_mut()[before..]);
            self.compute_logits(prompts.len());
        });
        &self.logits[..prompts.len() * self.model.config.vocabulary]
    }

    fn prefill_on_pool(&mut self, prompts: &[(Option<&SharedPrefix<R>>, &[u32])], sequences: &mut [Sequence<R>]) {
        let config = &self.model.config;
        let mut feeds: Vec<Feed<'_>> = Vec::new();
        let mut space = PASS_ROWS;
        for (index, (after, tokens)) in prompts.iter().enumerate() {
            let length = after.map_or(0, SharedPrefix::length) + tokens.len();
            // If rotations depend on the length of the sequence, it has a table of its own.
            let own_table = config.rope_depends_on(length).then_some(length);
            if own_table.is_some() {
                assert!(after.is_none(), "rotations that depend on the length of a prompt cannot be shared");
                self.pass(&feeds, sequences, None);
                (feeds, space) = (Vec::new(), PASS_ROWS);
            }
            let mut rest = *tokens;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(space));
                feeds.push(Feed { sequence: index, tokens: now, state: later.is_empty().then_some(index) });
                (rest, space) = (later, space - now.len());
                if space == 0 || own_table.is_some() {
                    self.pass(&feeds, sequences, own_table);
                    (feeds, space) = (Vec::new(), PASS_ROWS);
                }
            }
        }
        self.pass(&feeds, sequences, None);
    }

    /// Appends one token to every live sequence and returns the logits after it,
    /// `[live sequences, vocabulary]`.
    ///
    /// # Panics
    /// If `tokens` does not have one token per live sequence, or a sequence is full.
    pub fn step(&mut self, tokens: &[u32], cache: &mut KvCache<R>) -> &[R] {
        assert_eq!(tokens.len(), cache.len(), "one token per live sequence");
        on_pool(|| {
            fit(&mut self.states, tokens.len() * self.model.config.hidden);
            let feeds: Vec<Feed<'_>> = tokens
                .chunks(1)
                .enumerate()
                .map(|(sequence, tokens)| Feed { sequence, tokens, state: Some(sequence) })
                .collect();
            self.pass(&feeds, cache.live_mut(), None);
            self.compute_logits(tokens.len());
        });
        &self.logits[..tokens.len() * self.model.config.vocabulary]
    }

    /// Appends tokens to sequences, at most one feed for each, and stores the hidden states that the feeds ask for.
    /// `length` is the length of the sequence if rotations depend on it.
    fn pass(&mut self, feeds: &[Feed<'_>], sequences: &mut [Sequence<R>], length: Option<usize>) {
        if feeds.is_empty() {
            return;
        }
        let config = &self.model.config;
        let end = |feed: &Feed<'_>| {
            let sequence = &sequences[feed.sequence];
            sequence.before + sequence.own.length + feed.tokens.len()
        };
        let longest = feeds.iter().map(end).max().unwrap_or(0);
        let rope = if let Some(length) = length {
            self.prompt_rope.extend(config, length);
            &self.prompt_rope
        } else {
            self.rope.extend_growing(config, longest.next_multiple_of(PASS_ROWS));
            &self.rope
        };
        // Sequences with the same beginning become neighbours.
        let mut taken: Vec<Option<&mut Sequence<R>>> = sequences.iter_mut().map(Some).collect();
        let mut work: Vec<(Feed<'_>, &mut Sequence<R>)> = feeds
            .iter()
            .map(|feed| (*feed, taken[feed.sequence].take().expect("each sequence is fed once in a pass")))
            .collect();
        work.sort_by(|(_, a), (_, b)| {
            a.shared.iter().map(SharedPrefix::number).cmp(b.shared.iter().map(SharedPrefix::number))
        });
        let size = if self.parameters <= GROUPED_PARAMETERS {
            // A row's result does not depend on its group, so that groups may depend on the number of threads.
            let share = work.len().div_ceil(rayon::current_num_threads()).max(1);
            if share <= GROUP_ROWS { share } else { share.next_multiple_of(GROUP_ROWS) }
        } else {
            PASS_ROWS
        };
        let count = work.len().div_ceil(size);
        if self.groups.len() < count {
            self.groups.resize_with(count, PassBuffers::default);
        }
        let pass = Pass { model: self.model, layers: &self.layers, rope, scratch: &self.scratch };
        work.par_chunks_mut(size).zip(&mut self.groups).for_each(|(work, buffers)| pass.run(work, buffers));
        let hidden = config.hidden;
        for (work, buffers) in work.chunks(size).zip(&self.groups) {
            let states = work.iter().filter_map(|(feed, _)| feed.state);
            for (state, values) in states.zip(buffers.states(hidden)) {
                self.states[state * hidden..(state + 1) * hidden].copy_from_slice(values);
            }
        }
    }

    /// The logits of the first `rows` hidden states.
    fn compute_logits(&mut self, rows: usize) {
        let (hidden, vocabulary) = (self.model.config.hidden, self.model.config.vocabulary);
        let logits = fit(&mut self.logits, rows * vocabulary);
        if self.groups.is_empty() {
            self.groups.push(PassBuffers::default());
        }
        let buffers = &mut self.groups[0];
        let parts = self.states[..rows * hidden].chunks(PASS_ROWS * hidden);
        for (states, logits) in parts.zip(logits.chunks_mut(PASS_ROWS * vocabulary)) {
            buffers.logits(&self.head, states, logits, &self.scratch);
        }
    }
}
