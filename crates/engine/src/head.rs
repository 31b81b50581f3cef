//! The head: log-probabilities of targets and divergences from a reference. It computes only rows that have
//! targets, in chunks, so that memory does not grow with vocabulary times length.
//!
//! With logits `z`, `ln p_y = z_y - ln sum e^z`. A loss with derivatives `g_t` for the targets `y_t` of a
//! row and `k` for its divergence `KL(q || p)` has `dL/dz_v = (k - sum g_t) p_v - k q_v + sum g_t [v = y_t]`.

use rayon::prelude::*;
use tabpo_model::ModelConfig;

use crate::linear;
use crate::model::Model;
use crate::ops::bf16::Rows;
use crate::ops::norm;
use crate::ops::softmax::{ReferenceRow, divergence, log_sum_exp, weighted};
use crate::options::ForwardOptions;
use crate::real::Real;
use crate::scratch::{ThreadScratch, fit};
use crate::view::{View, ViewMut};
use crate::workspace::{HeadBuffers, Plan};

/// The reference of a per-token divergence.
#[derive(Clone, Copy, Debug)]
pub struct ReferenceHidden<'a, R> {
    /// The reference's final hidden states at the target rows, from [`target_hidden`](crate::target_hidden) for the
    /// same targets: `[distinct target rows, hidden]`.
    pub hidden: &'a [R],
    /// The reference's model, for its head; the policy's own if only an adapter is trained.
    pub model: &'a Model<R>,
}

/// The derivative of a loss with respect to the results of the forward pass.
#[derive(Clone, Copy, Debug)]
pub struct OutputGradient<'a, R> {
    /// dL/d(log-probability) of every target.
    pub log_probabilities: &'a [f64],
    /// dL/d(divergence) of every target, with the reference of the forward pass, for objectives that use
    /// one.
    pub divergences: Option<(&'a [f64], ReferenceHidden<'a, R>)>,
}

/// Number of target rows whose logits are in memory at the same time.
fn chunk_rows<R: Real>(config: &ModelConfig, options: &ForwardOptions, reference: bool) -> usize {
    /// With fewer rows, reading the head's weights would dominate.
    const FEWEST: usize = 16;
    let copies = if reference { 2 } else { 1 };
    (options.logit_bytes / (config.vocabulary * size_of::<R>() * copies)).max(FEWEST)
}

/// Gathers the residual stream at the target rows and normalises it.
pub(crate) fn gather<R: Real>(model: &Model<R>, rows: &[u32], stream: &[R], head: &mut HeadBuffers<R>) {
    let width = model.config.hidden;
    let gathered = fit(&mut head.stream, rows.len() * width);
    for (target, &row) in gathered.chunks_exact_mut(width).zip(rows) {
        target.copy_from_slice(&stream[row as usize * width..][..width]);
    }
    let inverse = fit(&mut head.inverse, rows.len());
    let hidden = fit(&mut head.hidden, rows.len() * width);
    norm::forward(gathered, &model.norm, model.config.rms_epsilon, inverse, hidden);
}

/// Logits of normalised hidden rows, `[rows, vocabulary]`.
pub(crate) fn logits<R: Real>(
    model: &Model<R>,
    hidden: &[R],
    out: &mut [R],
    scratch: &ThreadScratch<R>,
    rounded: &mut Rows,
) {
    let config = &model.config;
    let rows = hidden.len() / config.hidden;
    let out = ViewMut::new(out, rows, config.vocabulary);
    linear::forward_matrix(model.head_matrix(), View::new(hidden, rows, config.hidden), out, scratch, rounded);
}

/// The inputs of both passes through the head.
pub(crate) struct HeadPass<'a, R> {
    pub(crate) model: &'a Model<R>,
    pub(crate) plan: &'a Plan,
    pub(crate) options: &'a ForwardOptions,
    pub(crate) scratch: &'a ThreadScratch<R>,
}

impl<R: Real> HeadPass<'_, R> {
    /// The log-probability of every target and, with a reference, the divergence at its row.
    pub(crate) fn forward(
        &self,
        reference: Option<ReferenceHidden<'_, R>>,
        head: &mut HeadBuffers<R>,
    ) -> (Vec<f64>, Vec<f64>) {
        let Self { model, plan, options, scratch } = *self;
        let ModelConfig { vocabulary, hidden, .. } = model.config;
        let rows = plan.target_rows.len();
        let chunk = chunk_rows::<R>(&model.config, options, reference.is_some());
        head.log_sums.resize(rows, 0.0);
        if let Some(reference) = reference {
            assert_eq!(reference.hidden.len(), rows * hidden, "the reference has the policy's target rows");
            assert_eq!(reference.model.config.vocabulary, vocabulary, "the reference has the policy's vocabulary");
            head.reference_log_sums.resize(rows, 0.0);
            head.divergences.resize(rows, 0.0);
        }
        let mut log_probabilities = vec![0.0; plan.targets.len()];
        for start in (0..rows).step_by(chunk) {
            let part = start..(start + chunk).min(rows);
            let values = fit(&mut head.logits, part.len() * vocabulary);
            logits(model, &head.hidden[part.start * hidden..part.end * hidden], values, scratch, &mut head.rounded);
            let log_sums = &mut head.log_sums[part.clone()];
            log_sums.par_iter_mut().zip(values.par_chunks(vocabulary)).for_each(|(sum, row)| *sum = log_sum_exp(row));
            for ((target, &slot), out) in plan.targets.iter().zip(&plan.target_slots).zip(&mut log_probabilities) {
                if part.contains(&slot) {
                    let logit = values[(slot - start) * vocabulary + target.token as usize].to_f64();
                    *out = logit - log_sums[slot - start];
                }
            }
            if let Some(reference) = reference {
                let other = fit(&mut head.reference_logits, part.len() * vocabulary);
                logits(
                    reference.model,
                    &reference.hidden[part.start * hidden..part.end * hidden],
                    other,
                    scratch,
                    &mut head.rounded,
                );
                head.reference_log_sums[part.clone()]
                    .par_iter_mut()
                    .zip(&mut head.divergences[part])
                    .zip(log_sums)
                    .zip(values.par_chunks(vocabulary).zip(other.par_chunks(vocabulary)))
                    .for_each(|(((other_sum, out), sum), (row, other))| {
                        *other_sum = log_sum_exp(other);
                        *out = divergence(other, *other_sum, row, *sum);
                    });
            }
        }
        let divergences = match reference {
            Some(_) => plan.target_slots.iter().map(|&slot| head.divergences[slot]).collect(),
            None => Vec::new(),
        };
        (log_probabilities, divergences)
    }

    /// Writes the gradient of the residual stream into `stream_gradient` (zero at rows without targets) and
    /// adds those of the head and the final norm to `gradients`, if they are trained.
    pub(crate) fn backward(
        &self,
        output: &OutputGradient<'_, R>,
        head: &mut HeadBuffers<R>,
        stream_gradient: &mut [R],
        mut gradients: Option<&mut Model<R>>,
    ) {
        let Self { model, plan, options, scratch } = *self;
        let ModelConfig { vocabulary, hidden, .. } = model.config;
        let rows = plan.target_rows.len();
        let reference = output.divergences.map(|(_, reference)| reference);
        let [weights, divergence_weights] = &mut head.output_gradients;
        sum_over_rows(plan, output.log_probabilities, weights);
        match output.divergences {
            Some((values, _)) => sum_over_rows(plan, values, divergence_weights),
            None => divergence_weights.clear(),
        }
        let chunk = chunk_rows::<R>(&model.config, options, reference.is_some());
        let hidden_gradient = fit(&mut head.hidden_gradient, rows * hidden);
        for start in (0..rows).step_by(chunk) {
            let part = start..(start + chunk).min(rows);
            let elements = part.start * hidden..part.end * hidden;
            let values = fit(&mut head.logits, part.len() * vocabulary);
            // The forward pass keeps the logits of a single chunk.
            if rows > chunk {
                logits(model, &head.hidden[elements.clone()], values, scratch, &mut head.rounded);
            }
            let sums = head.log_sums[part.clone()].par_iter().zip(&weights[part.clone()]);
            if let Some(reference) = reference {
                let other = fit(&mut head.reference_logits, part.len() * vocabulary);
                if rows > chunk {
                    logits(reference.model, &reference.hidden[elements.clone()], other, scratch, &mut head.rounded);
                }
                let others = head.reference_log_sums[part.clone()].par_iter().zip(&divergence_weights[part.clone()]);
                sums.zip(others).zip(values.par_chunks_mut(vocabulary).zip(other.par_chunks(vocabulary))).for_each(
                    |(((&sum, &weight), (&other_sum, &other_weight)), (row, other))| {
                        let reference = ReferenceRow { logits: other, log_sum: other_sum, weight: other_weight };
                        weighted(row, sum, other_weight - weight, Some(reference));
                    },
                );
            } else {
                sums.zip(values.par_chunks_mut(vocabulary))
                    .for_each(|((&sum, &weight), row)| weighted(row, sum, -weight, None));
            }
            for ((target, &slot), &weight) in plan.targets.iter().zip(&plan.target_slots).zip(output.log_probabilities)
            {
                if part.contains(&slot) {
                    values[(slot - start) * vocabulary + target.token as usize] += R::from_f64(weight);
                }
            }
            let logit_gradient = View::new(values, part.len(), vocabulary);
            let target = ViewMut::new(&mut hidden_gradient[elements.clone()], part.len(), hidden);
            linear::backward_matrix(model.head_matrix(), logit_gradient, target, scratch, &mut head.rounded);
            if let Some(gradients) = gradients.as_deref_mut() {
                let states = View::new(&head.hidden[elements], part.len(), hidden);
                let matrix = gradients.head.as_mut().unwrap_or(&mut gradients.embedding);
                let matrix = matrix.as_owned_mut().expect("gradients own their elements");
                linear::backward_weight(logit_gradient, states, matrix);
            }
        }
        let (stream, inverse) = (&head.stream[..rows * hidden], &head.inverse[..rows]);
        if let Some(gradients) = gradients {
            norm::backward_scale(stream, inverse, hidden_gradient, &mut gradients.norm);
        }
        norm::backward_in_place(stream, &model.norm, inverse, hidden_gradient);
        stream_gradient.fill(R::ZERO);
        for (gradient, &row) in hidden_gradient.chunks_exact(hidden).zip(&plan.target_rows) {
            stream_gradient[row as usize * hidden..][..hidden].copy_from_slice(gradient);
        }
    }
}

/// Sums the values of the targets of each row.
fn sum_over_rows(plan: &Plan, values: &[f64], sums: &mut Vec<f64>) {
    assert_eq!(values.len(), plan.targets.len(), "one value per target");
    sums.clear();
    sums.resize(plan.target_rows.len(), 0.0);
    for (&slot, &value) in plan.target_slots.iter().zip(values) {
        sums[slot] += value;
    }
}
