//! Heads that copy from the first step on: an induction circuit (Olsson et al. 2022, "In-context
//! learning and induction heads") as the start of a model that is trained from scratch.
//!
//! To continue a text that stands further up, a decoder needs a head that tells every token what
//! stood before it, and above it a head that looks for the place whose previous token is the current
//! one and writes down what stands there. Models that were pre-trained on text have such pairs. A
//! small model on a few thousand sentences finds one after a long plateau or not at all, and until
//! then it can't copy a word that it has not seen. So one is put there to begin with; all of it is
//! trained like everything else.

use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tabpo_engine::{Model, Real, embedding_spread, standard_normal};
use tabpo_model::{ModelConfig, Projection};

/// Rotary pairs by which the previous-token head tells neighbours apart: the fastest ones, which
/// together have no second maximum nearby.
const NEIGHBOUR_PAIRS: usize = 4;
/// Length of that head's constant queries and keys in each pair: the token before is ahead of its
/// neighbours by about 4 in the score.
const NEIGHBOUR_LENGTH: f64 = 6.0;
/// Rotary frequencies, in radians a position, below which a pair hardly turns within a prompt and can
/// compare what tokens are instead of where they stand.
const SLOW: f64 = 0.004;
/// Score of a place whose previous token is the current one.
const MATCH_SCORE: f64 = 12.0;
/// Length of the copied embedding in the residual stream, in lengths of the token's own.
const COPY_LENGTH: f64 = 3.0;

/// A model with random weights ([`Model::initialise`]) in which some heads of the first two blocks copy. The last
/// `head_dim` dimensions of the residual stream are kept free of embeddings; what stood before a token is written
/// there.
///
/// Models without biases on queries and keys, with normalised queries, with fewer than two blocks or with a single
/// head get random weights alone.
pub fn initialise_copying<R: Real>(config: ModelConfig, seed: u64) -> Model<R> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut model = Model::initialise_from(config, &mut random);
    Circuit { model: &mut model }.write(&mut random);
    model
}

/// A model whose weights are being written.
struct Circuit<'a, R> {
    model: &'a mut Model<R>,
}

impl<R: Real> Circuit<'_, R> {
    fn write(&mut self, random: &mut impl Rng) {
        let config = &self.model.config;
        if config.layers < 2 || !config.query_key_value_bias || config.query_key_norm || config.heads < 2 {
            return;
        }
        let (hidden, width) = (config.hidden, config.head_dim);
        let (free, spread) = (hidden - width, embedding_spread(config));
        let frequencies = config.rope_frequencies(0).0;
        let (copying, group) = ((config.kv_heads / 2).max(1), config.heads / config.kv_heads);

        let embeddings = self.model.embedding.as_owned_mut().expect("new weights own their elements");
        embeddings.chunks_exact_mut(hidden).for_each(|row| row[free..].fill(R::ZERO));
        self.attend_to_previous_token(&frequencies);
        // A digest of a token: `head_dim` random projections of its normalised embedding.
        let digest = Block::normal(width, hidden, (free as f64).powf(-0.5), random).without_columns(free..hidden);
        self.set_rows(0, Projection::Value, 0, &digest);
        // The first block writes the digest of the token before, as long as an embedding.
        self.set_columns(0, Projection::Output, 0, &Block::identity(hidden, width, free, spread));
        for head in 0..copying {
            self.look_for_previous_token(head, head * group, &digest, &frequencies, random);
            self.copy_what_stands_there(head, head * group, copying, random);
        }
    }

    /// The first head of the first block: its score for a key `n` positions back is
    /// `length^2 / sqrt(head_dim) * sum over pairs of cos(frequency * (n - 1))`.
    fn attend_to_previous_token(&mut self, frequencies: &[f64]) {
        let half = frequencies.len();
        // A key is turned ahead by one position, so that it meets the query of the next token.
        for (projection, ahead) in [(Projection::Query, 0.0), (Projection::Key, 1.0)] {
            let bias = self.model.layers[0].projections[projection as usize].bias.as_mut();
            let bias = bias.expect("queries and keys have biases");
            for (pair, frequency) in frequencies.iter().enumerate().take(NEIGHBOUR_PAIRS) {
                let angle = ahead * frequency;
                bias[pair] = R::from_f64(NEIGHBOUR_LENGTH * angle.cos());
                bias[half + pair] = R::from_f64(NEIGHBOUR_LENGTH * angle.sin());
            }
        }
    }

    /// A head of the second block whose query is the digest of the current token and whose key is the
    /// digest of the token before, both through the same random projections.
    fn look_for_previous_token(
        &mut self,
        key_head: usize,
        query_head: usize,
        digest: &Block,
        frequencies: &[f64],
        random: &mut impl Rng,
    ) {
        let (hidden, half) = (self.model.config.hidden, frequencies.len());
        let slow = frequencies.iter().position(|frequency| *frequency < SLOW).unwrap_or(half).min(half / 2);
        let rows: Vec<usize> = (slow..half).chain(half + slow..2 * half).collect();
        // A score is a sum over `rows` of products of two numbers of variance 1 and this scale,
        // divided by the square root of the head's width.
        let width = 2.0 * half as f64;
        let scale = (MATCH_SCORE * width.sqrt() / rows.len() as f64).sqrt();
        let directions = Block::normal(rows.len(), 2 * half, scale * width.powf(-0.5), random);
        let query = directions.times(digest).at_rows(&rows, Block::zeros(2 * half, hidden));
        let key = directions.right_aligned(hidden).at_rows(&rows, Block::normal(2 * half, hidden, 0.02, random));
        self.set_rows(1, Projection::Query, query_head, &query);
        self.set_rows(1, Projection::Key, key_head, &key);
    }

    /// The same head writes the embedding of the token at that place: values and outputs are the
    /// two sides of one random projection.
    fn copy_what_stands_there(&mut self, key_head: usize, query_head: usize, heads: usize, random: &mut impl Rng) {
        let (hidden, width) = (self.model.config.hidden as f64, self.model.config.head_dim as f64);
        let value = Block::normal(self.model.config.head_dim, self.model.config.hidden, hidden.powf(-0.5), random);
        let length = COPY_LENGTH * embedding_spread(&self.model.config) * hidden / width / heads as f64;
        let output = value.transposed(length);
        self.set_rows(1, Projection::Value, key_head, &value);
        self.set_columns(1, Projection::Output, query_head, &output);
    }

    /// Replaces the rows of one head in a projection.
    fn set_rows(&mut self, layer: usize, projection: Projection, head: usize, values: &Block) {
        let weight = &mut self.model.layers[layer].projections[projection as usize].weight;
        let weight = weight.as_owned_mut().expect("new weights own their elements");
        let start = head * values.rows * values.columns;
        let target = &mut weight[start..start + values.values.len()];
        target.iter_mut().zip(&values.values).for_each(|(target, &value)| *target = R::from_f64(value));
    }

    /// Replaces the columns of one head in the output projection.
    fn set_columns(&mut self, layer: usize, projection: Projection, head: usize, values: &Block) {
        let weight = &mut self.model.layers[layer].projections[projection as usize].weight;
        let width = weight.columns();
        let weight = weight.as_owned_mut().expect("new weights own their elements");
        let start = head * values.columns;
        for (row, target) in weight.chunks_exact_mut(width).enumerate() {
            let target = &mut target[start..start + values.columns];
            target.iter_mut().zip(values.row(row)).for_each(|(target, &value)| *target = R::from_f64(value));
        }
    }
}

/// A small matrix in f64, `[rows, columns]`.
struct Block {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

impl Block {
    fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: vec![0.0; rows * columns] }
    }

    fn normal(rows: usize, columns: usize, deviation: f64, random: &mut impl Rng) -> Self {
        let values = (0..rows * columns).map(|_| deviation * standard_normal(random)).collect();
        Self { rows, columns, values }
    }

    /// `factor` times the identity in the rows from `start` on.
    fn identity(rows: usize, columns: usize, start: usize, factor: f64) -> Self {
        let mut block = Self::zeros(rows, columns);
        (0..columns).for_each(|index| block.row_mut(start + index)[index] = factor);
        block
    }

    fn without_columns(mut self, columns: Range<usize>) -> Self {
        (0..self.rows).for_each(|row| self.row_mut(row)[columns.clone()].fill(0.0));
        self
    }

    /// The matrix as the last columns of a wider one.
    fn right_aligned(&self, columns: usize) -> Self {
        let mut block = Self::zeros(self.rows, columns);
        (0..self.rows).for_each(|row| block.row_mut(row)[columns - self.columns..].copy_from_slice(self.row(row)));
        block
    }

    /// The rows of the matrix in place of the given rows of `block`.
    fn at_rows(&self, places: &[usize], mut block: Self) -> Self {
        places.iter().enumerate().for_each(|(row, &place)| block.row_mut(place).copy_from_slice(self.row(row)));
        block
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.values[row * self.columns..(row + 1) * self.columns]
    }

    /// `self other`
    fn times(&self, other: &Self) -> Self {
        let mut product = Self::zeros(self.rows, other.columns);
        for row in 0..self.rows {
            for (inner, &factor) in self.row(row).iter().enumerate() {
                product.row_mut(row).iter_mut().zip(other.row(inner)).for_each(|(sum, value)| *sum += factor * value);
            }
        }
        product
    }

    /// `factor` times the transposed matrix.
    fn transposed(&self, factor: f64) -> Self {
        let entry = |index: usize| factor * self.values[(index % self.rows) * self.columns + index / self.rows];
        Self { rows: self.columns, columns: self.rows, values: (0..self.values.len()).map(entry).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tabpo_engine::{Batch, Segment, Workspace, logits};

    /// An untrained model continues a repeated random text in most places; without the circuit it
    /// is right by chance alone.
    #[test]
    fn an_untrained_model_copies() {
        const LENGTH: u32 = 60;
        let right = |config: &ModelConfig| {
            let model = initialise_copying::<f32>(config.clone(), 3);
            let mut random = ChaCha8Rng::seed_from_u64(5);
            let text: Vec<u32> = (0..LENGTH).map(|_| random.next_u32() % config.vocabulary as u32).collect();
            let tokens = [text.as_slice(), &text].concat();
            let count = tokens.len();
            let batch = Batch {
                positions: (0..count as u32).collect(),
                segments: vec![Segment { rows: 0..count, context: Vec::new() }],
                tokens,
            };
            let rows: Vec<u32> = (LENGTH..2 * LENGTH - 1).collect();
            let scores = logits(&model, None, &batch, &rows, &mut Workspace::new());
            let best = scores.chunks_exact(config.vocabulary).map(|row| {
                let order = |a: &usize, b: &usize| row[*a].total_cmp(&row[*b]);
                (0..row.len()).max_by(order).expect("a vocabulary is not empty") as u32
            });
            best.zip(&text[1..]).filter(|(found, wanted)| found == *wanted).count()
        };
        let config = ModelConfig::small(1000, 128, 4, 4);
        let plain = ModelConfig { query_key_value_bias: false, ..config.clone() };
        assert!(right(&config) > 40, "{} of 59 with the circuit", right(&config));
        assert!(right(&plain) < 10, "{} of 59 without", right(&plain));
    }
}
