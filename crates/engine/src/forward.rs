//! The forward pass over a packed batch.

use crate::batch::{Batch, Target};
use crate::block::{Block, Pass};
use crate::embedding;
use crate::head::{self, HeadPass, ReferenceHidden};
use crate::lora::{Lora, groups};
use crate::model::Model;
use crate::ops::on_pool;
use crate::options::ForwardOptions;
use crate::real::Real;
use crate::workspace::Workspace;

/// The log-probability of every target, in the order of `targets`. Keeps in `workspace` what
/// [`crate::backward`] needs.
///
/// # Panics
/// If the batch violates the rules of [`Batch`], or a token or row is out of range.
pub fn forward<R: Real>(
    model: &Model<R>,
    lora: Option<&Lora<R>>,
    batch: &Batch,
    targets: &[Target],
    options: &ForwardOptions,
    workspace: &mut Workspace<R>,
) -> Vec<f64> {
    through_head(model, lora, batch, targets, None, options, workspace).0
}

/// As [`forward`], with the Kullback-Leibler divergence `KL(reference || policy)` over the vocabulary at
/// the row of every target: `(log-probabilities, divergences)`.
///
/// # Panics
/// As [`forward`], or if the reference has other target rows or another vocabulary.
pub fn forward_with_reference<R: Real>(
    model: &Model<R>,
    lora: Option<&Lora<R>>,
    batch: &Batch,
    targets: &[Target],
    reference: ReferenceHidden<'_, R>,
    options: &ForwardOptions,
    workspace: &mut Workspace<R>,
) -> (Vec<f64>, Vec<f64>) {
    through_head(model, lora, batch, targets, Some(reference), options, workspace)
}

fn through_head<R: Real>(
    model: &Model<R>,
    lora: Option<&Lora<R>>,
    batch: &Batch,
    targets: &[Target],
    reference: Option<ReferenceHidden<'_, R>>,
    options: &ForwardOptions,
    workspace: &mut Workspace<R>,
) -> (Vec<f64>, Vec<f64>) {
    on_pool(|| {
        workspace.prepare(&model.config, batch, targets, options);
        blocks(model, lora, batch, workspace, |_, _, _| ());
        let last = Workspace::<R>::stream(options, model.config.layers);
        let Workspace { plan, streams, head, scratch, .. } = workspace;
        head::gather(model, &plan.target_rows, &streams[last], head);
        HeadPass { model, plan, options, scratch }.forward(reference, head)
    })
}

/// The final hidden states at the distinct target rows of the last forward pass, in increasing order of
/// row: `[distinct target rows, hidden]`.
pub fn target_hidden<R: Real>(workspace: &Workspace<R>) -> &[R] {
    let rows = workspace.plan.target_rows.len();
    let width = workspace.head.hidden.len() / workspace.head.inverse.len().max(1);
    &workspace.head.hidden[..rows * width]
}

/// The logits at some rows, in the given order: `[rows.len(), vocabulary]`.
///
/// # Panics
/// As [`forward`].
pub fn logits<R: Real>(
    model: &Model<R>,
    lora: Option<&Lora<R>>,
    batch: &Batch,
    rows: &[u32],
    workspace: &mut Workspace<R>,
) -> Vec<R> {
    let options = ForwardOptions::inference();
    on_pool(|| {
        workspace.prepare(&model.config, batch, &[], &options);
        blocks(model, lora, batch, workspace, |_, _, _| ());
        let last = Workspace::<R>::stream(&options, model.config.layers);
        let Workspace { streams, head, scratch, .. } = workspace;
        head::gather(model, rows, &streams[last], head);
        let mut out = vec![R::ZERO; rows.len() * model.config.vocabulary];
        let hidden = &head.hidden[..rows.len() * model.config.hidden];
        head::logits(model, hidden, &mut out, scratch, &mut head.rounded);
        out
    })
}

/// Embeds the tokens and runs all blocks; `visit(layer, keys, values)` is given the rotated keys and the values
/// of each layer, `[rows, kv_heads * head_dim]`.
pub(crate) fn blocks<R: Real>(
    model: &Model<R>,
    lora: Option<&Lora<R>>,
    batch: &Batch,
    workspace: &mut Workspace<R>,
    mut visit: impl FnMut(usize, &[R], &[R]),
) {
    let config = &model.config;
    let Workspace { options, scratch, rope, plan, streams, layers, shared, .. } = workspace;
    let (options, width) = (*options, plan.rows * config.hidden);
    let dropout = lora.map_or(0.0, |lora| lora.config.dropout);
    let pass = Pass { config, batch, plan, rope, scratch, options: &options, dropout };
    embedding::forward(&model.embedding, &batch.tokens, &mut streams[Workspace::<R>::stream(&options, 0)][..width]);
    for (index, layer) in model.layers.iter().enumerate() {
        let block = Block { index, layer, adapters: groups(lora, index) };
        let buffers = &mut layers[Workspace::<R>::slot(&options, index)];
        let (from, to) = (Workspace::<R>::stream(&options, index), Workspace::<R>::stream(&options, index + 1));
        let [input, output] = streams.get_disjoint_mut([from, to]).expect("a block's input and output differ");
        pass.forward(block, &input[..width], buffers, shared, Some(&mut output[..width]));
        let length = plan.rows * config.key_width();
        visit(index, &buffers.key[..length], &buffers.value[..length]);
    }
}
