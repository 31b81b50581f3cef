//! A pass over a job: embeddings, blocks, head, and back.

use tabpo_engine::Dropout;
use tabpo_model::ModelConfig;

use crate::adapter::{AdapterLayout, Group};
use crate::buffers::{BlockCuts, Buffers, Sizes};
use crate::decode::Fed;
use crate::driver::{Address, DriverError, Element};
use crate::listed::Listed;
use crate::memory::Rung;
use crate::ops::{Attention, Embedding, Kernels, Linear, Norm, Projected, Rope, Rows};
use crate::trained::FullLayout;
use crate::weights::Weights;

/// Where the gradient of the trained parameters goes.
#[derive(Clone, Copy)]
pub(crate) enum Gradient<'a> {
    /// Of an adapter, with its memory.
    Adapter(Address),
    /// Of all parameters.
    Full(Address, &'a FullLayout),
}

/// An adapter with the A matrices that products read.
#[derive(Clone, Copy)]
pub(crate) struct Adapter<'a> {
    pub(crate) layout: &'a AdapterLayout,
    pub(crate) copies: Address,
    /// Probability of dropout in training.
    pub(crate) dropout: f64,
}

/// What the rows of a pass are, and so what they attend to.
#[derive(Clone, Copy)]
pub(crate) enum Over<'a> {
    /// A job, whose rows attend to each other.
    Job(&'a Listed),
    /// New tokens of sequences, which attend to what is cached.
    Cache(&'a Fed),
}

/// Everything that a pass reads, and where it works.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) kernels: Kernels<'a>,
    pub(crate) config: &'a ModelConfig,
    pub(crate) sizes: Sizes<'a>,
    pub(crate) weights: Weights<'a>,
    pub(crate) adapter: Option<Adapter<'a>>,
    pub(crate) buffers: &'a Buffers,
    pub(crate) over: Over<'a>,
    /// Cosines and sines.
    pub(crate) rotation: [Address; 2],
    pub(crate) dropout_seed: Option<u64>,
}

impl<'a> Pass<'a> {
    pub(crate) fn rows(&self) -> u32 {
        match self.over {
            Over::Job(job) => job.rows(),
            Over::Cache(fed) => fed.rows,
        }
    }

    /// The job, without which there are no targets and no gradient.
    pub(crate) fn job(&self) -> &'a Listed {
        match self.over {
            Over::Job(job) => job,
            Over::Cache(_) => unreachable!("only the blocks of a pass are computed over a cache"),
        }
    }

    fn tokens_and_positions(&self) -> [Address; 2] {
        match self.over {
            Over::Job(job) => [job.tokens, job.positions],
            Over::Cache(fed) => [fed.tokens, fed.positions],
        }
    }

    /// A matrix of the kernels' type in one of the buffers.
    pub(crate) fn matrix(&self, cut: crate::arena::Cut, width: usize) -> Rows {
        Rows { address: self.buffers.at(cut), stride: width as u32 }
    }

    /// The columns of a matrix in the kernels' type from one on.
    pub(crate) fn columns(&self, rows: Rows, first: usize) -> Rows {
        rows.from_column(self.kernels.element, first)
    }

    pub(crate) fn cuts(&self, layer: usize) -> &'a BlockCuts {
        &self.buffers.cuts.blocks[layer]
    }

    /// The rung of a block in a pass with a gradient.
    pub(crate) fn rung(&self, layer: usize) -> Rung {
        self.buffers.rungs.as_ref().map_or(Rung::Input, |rungs| rungs[layer])
    }

    /// The A matrices of an input group, if there is an adapter with room for it.
    pub(crate) fn low_rank(&self, layer: usize, group: usize) -> Option<(Linear, &'a Group)> {
        let adapter = self.adapter?;
        let room = adapter.layout.rooms[group];
        if room == 0 {
            return None;
        }
        let of_group = &adapter.layout.blocks[layer][group];
        let inputs = self.weights.layout.blocks[layer][group].inputs as u32;
        let address = adapter.copies.offset(of_group.copy * self.kernels.element.bytes() as u64);
        let weight = Rows { address, stride: inputs };
        Some((Linear { weight, outputs: room as u32, inputs }, of_group))
    }

    /// The dropout mask of an input group, if there is one.
    pub(crate) fn mask(&self, layer: usize, group: usize) -> Option<Dropout> {
        let dropout = self.adapter.map_or(0.0, |adapter| adapter.dropout);
        let seed = self.dropout_seed.filter(|_| dropout > 0.0)?;
        Some(Dropout::new(seed, layer, group, dropout))
    }

    pub(crate) fn norm(&self, scale: u64) -> Norm {
        let ModelConfig { hidden, rms_epsilon, .. } = *self.config;
        let scale = self.weights.vector(scale);
        Norm { rows: self.rows(), width: hidden as u32, epsilon: rms_epsilon as f32, scale }
    }

    pub(crate) fn rope(&self, layer: usize) -> Rope {
        let ModelConfig { heads, kv_heads, head_dim, rms_epsilon, .. } = *self.config;
        let vectors = self.weights.block(layer);
        let [cosines, sines] = self.rotation;
        Rope {
            rows: self.rows(),
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            size: head_dim as u32,
            bias: vectors.biases.map(|[query, ..]| self.weights.vector(query)),
            scales: vectors.head_norms.map(|[query, _]| self.weights.vector(query)),
            epsilon: rms_epsilon as f32,
            cosines,
            sines,
            positions: self.tokens_and_positions()[1],
        }
    }

    pub(crate) fn attention(&self, layer: usize) -> Attention {
        let ModelConfig { heads, kv_heads, head_dim, .. } = *self.config;
        let window = self.config.window(layer);
        let job = self.job();
        let [by_query, by_key] = job.tiles(window);
        Attention {
            rows: self.rows(),
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            size: head_dim as u32,
            ends: job.ends,
            positions: job.positions,
            window: window.unwrap_or(0) as u32,
            by_query,
            by_key,
            plain: false,
        }
    }

    /// Attention of the rows to what they see; keys and values of new tokens are cached.
    pub(crate) fn attend(
        &self,
        layer: usize,
        projected: Projected,
        out: Rows,
        log_sums: Address,
    ) -> Result<(), DriverError> {
        match self.over {
            Over::Job(_) => self.attention(layer).forward(self.kernels, projected, out, log_sums),
            Over::Cache(fed) => fed.attend(self.kernels, self.config, layer, projected, out),
        }
    }

    /// Queries, keys and values, which lie beside each other.
    pub(crate) fn projected(&self, rows: Rows) -> Projected {
        let (query, key) = (self.config.query_width(), self.config.key_width());
        Projected { queries: rows, keys: self.columns(rows, query), values: self.columns(rows, query + key) }
    }

    /// The stream before a block, or after the last.
    pub(crate) fn stream(&self, layer: usize) -> Address {
        let cut = self.buffers.cuts.blocks.get(layer).map_or(self.buffers.cuts.output, |cuts| cuts.input);
        self.buffers.at(cut)
    }

    /// Embeds the tokens and runs all blocks.
    pub(crate) fn forward(&self) -> Result<(), DriverError> {
        let embedding = Embedding { width: self.config.hidden as u32 };
        let (table, [tokens, _]) = (self.weights.embedding(), self.tokens_and_positions());
        embedding.forward(self.kernels, table, tokens, self.rows(), self.stream(0))?;
        (0..self.config.layers).try_for_each(|layer| self.forward_block(layer, Some(self.stream(layer + 1))))
    }

    /// From the gradient of the stream after the last block to those of all parameters below.
    pub(crate) fn backward(&self, gradient: Gradient<'_>) -> Result<(), DriverError> {
        for layer in (0..self.config.layers).rev() {
            if self.rung(layer) == Rung::Input {
                self.forward_block(layer, None)?;
            }
            // Below the first block there is only the embedding, which isn't trained with an adapter.
            let input_gradient = layer > 0 || matches!(gradient, Gradient::Full(..));
            self.backward_block(layer, gradient, input_gradient)?;
        }
        if let Gradient::Full(memory, layout) = gradient {
            let embedding = Embedding { width: self.config.hidden as u32 };
            let (distinct, lists) = self.job().by_token();
            let stream = self.buffers.at(self.buffers.cuts.stream_gradient);
            embedding.backward(self.kernels, stream, distinct, lists, memory.offset(layout.embedding * 4))?;
        }
        Ok(())
    }

    /// A part of a memory of single precision as a matrix.
    pub(crate) fn single(memory: Address, start: u64, stride: usize) -> Rows {
        Rows { address: memory.offset(start * Element::F32.bytes() as u64), stride: stride as u32 }
    }
}
