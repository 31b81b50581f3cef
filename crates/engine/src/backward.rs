//! The backward pass over a packed batch.

use crate::batch::Batch;
use crate::block::{Block, BlockGradients, Pass};
use crate::embedding;
use crate::gradients::Gradients;
use crate::head::{HeadPass, OutputGradient};
use crate::lora::{Lora, groups};
use crate::model::Model;
use crate::ops::on_pool;
use crate::real::Real;
use crate::scratch::fit;
use crate::workspace::Workspace;

/// Adds the gradient of the loss to `gradients`. `model`, `lora` and `batch` must be those of the last
/// forward pass in `workspace`, which remembers its targets and options. What that pass kept is consumed:
/// each backward pass needs its own forward pass.
///
/// # Panics
/// If the forward pass kept nothing, or the output gradient does not have one value per target.
pub fn backward<R: Real>(
    model: &Model<R>,
    lora: Option<&Lora<R>>,
    batch: &Batch,
    output: &OutputGradient<'_, R>,
    workspace: &mut Workspace<R>,
    gradients: &mut Gradients<R>,
) {
    on_pool(|| backward_on_pool(model, lora, batch, output, workspace, gradients));
}

fn backward_on_pool<R: Real>(
    model: &Model<R>,
    lora: Option<&Lora<R>>,
    batch: &Batch,
    output: &OutputGradient<'_, R>,
    workspace: &mut Workspace<R>,
    gradients: &mut Gradients<R>,
) {
    let config = &model.config;
    let Workspace { options, scratch, rope, plan, streams, layers, shared, head } = workspace;
    assert!(options.gradient, "the forward pass kept what the backward pass needs");
    let options = *options;
    let width = plan.rows * config.hidden;
    let full = match gradients {
        Gradients::Full(model) => Some(&mut **model),
        Gradients::Lora(_) => None,
    };
    let stream_gradient = fit(&mut shared.stream_gradient, width);
    HeadPass { model, plan, options: &options, scratch }.backward(output, head, stream_gradient, full);
    let dropout = lora.map_or(0.0, |lora| lora.config.dropout);
    let pass = Pass { config, batch, plan, rope, scratch, options: &options, dropout };
    for (index, layer) in model.layers.iter().enumerate().rev() {
        let block = Block { index, layer, adapters: groups(lora, index) };
        let buffers = &mut layers[Workspace::<R>::slot(&options, index)];
        let input = &streams[index][..width];
        if options.recompute.repeats(index) {
            pass.forward(block, input, buffers, shared, None);
        }
        let mut targets = match gradients {
            Gradients::Full(model) => BlockGradients::Full(&mut model.layers[index]),
            Gradients::Lora(lora) => BlockGradients::Lora(&mut lora.layers[index]),
        };
        // Below the first block there is only the embedding, which is not trained with an adapter.
        let input_gradient = index > 0 || matches!(targets, BlockGradients::Full(_));
        pass.backward(block, input, buffers, shared, &mut targets, input_gradient);
    }
    if let Gradients::Full(gradients) = gradients {
        let target = gradients.embedding.as_owned_mut().expect("gradients own their elements");
        embedding::backward(&shared.stream_gradient[..width], &batch.tokens, config.hidden, target);
    }
}
