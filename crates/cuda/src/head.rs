//! The head of a pass: log-probabilities of targets and divergences from a reference, over rows with targets only, in
//! chunks of rows whose logits are in memory at the same time.

use std::ops::Range;

use tabpo_engine::TargetValues;

use crate::driver::{Address, DriverError, Element};
use crate::ops::{Head, Logits, Norm, ReferenceLogits, Rows, weight_gradient};
use crate::pass::{Gradient, Pass};
use crate::weights::Weights;

/// The derivatives of a loss by the results of a job, as the device reads them.
pub(crate) struct Seeds {
    /// By the log-probability of every target, in the order of [`Targets`](crate::plan::Targets).
    log_probs: Vec<f32>,
    /// By the divergence of every row with targets.
    divergences: Vec<f32>,
}

impl Seeds {
    /// Puts the derivatives by a job's values into the order of its rows.
    pub(crate) fn new(pass: &Pass<'_>, of: &TargetValues) -> Self {
        let targets = &pass.job().targets;
        assert_eq!(of.log_probs.len(), targets.indices.len(), "one derivative a target");
        let in_order =
            |values: &[f64]| targets.indices.iter().map(|&index| values[index as usize]).collect::<Vec<f64>>();
        let log_probs = in_order(&of.log_probs).into_iter().map(|value| value as f32).collect();
        let mut divergences = Vec::new();
        if !of.divergences.is_empty() {
            let values = in_order(&of.divergences);
            let row = |bounds: &[u32]| values[bounds[0] as usize..bounds[1] as usize].iter().sum::<f64>() as f32;
            divergences = targets.bounds.windows(2).map(row).collect();
        }
        Self { log_probs, divergences }
    }
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

impl<'a> Pass<'a> {
    fn head_norm(&self) -> Norm {
        Norm { rows: self.job().target_rows(), ..self.norm(self.weights.layout.vectors.norm) }
    }

    /// The chunks of rows.
    fn chunks(&self) -> impl Iterator<Item = Range<u32>> + use<'a> {
        let (rows, most) = (self.job().target_rows(), self.buffers.logit_rows.max(1));
        (0..rows).step_by(most).map(move |start| start..(start + most as u32).min(rows))
    }

    fn kernels_of(&self, part: &Range<u32>) -> Head {
        Head {
            rows: part.end - part.start,
            vocabulary: self.config.vocabulary as u32,
            bounds: self.job().target_bounds.offset(u64::from(part.start) * 4),
            tokens: self.job().target_tokens,
        }
    }

    /// A part of a buffer with a row for every row with targets, `width` bytes each.
    fn part_of(&self, cut: crate::arena::Cut, part: &Range<u32>, width: usize) -> Address {
        self.buffers.at(cut).offset(u64::from(part.start) * width as u64)
    }

    fn hidden_of(&self, cut: crate::arena::Cut, part: &Range<u32>) -> Rows {
        let hidden = self.config.hidden;
        Rows { address: self.part_of(cut, part, hidden * self.kernels.element.bytes()), stride: hidden as u32 }
    }

    /// Where the logits of a chunk are, with their log-sums.
    fn logits_of(&self, part: &Range<u32>) -> Logits {
        let head = &self.buffers.cuts.head;
        let values = Rows { address: self.buffers.at(head.logits), stride: self.sizes.logit_stride() as u32 };
        Logits { values, log_sums: self.part_of(head.log_sums, part, 8) }
    }

    /// The same for the reference.
    fn reference_logits_of(&self, part: &Range<u32>) -> Logits {
        let head = &self.buffers.cuts.head;
        let values = Rows { address: self.buffers.at(head.reference_logits), ..self.logits_of(part).values };
        Logits { values, log_sums: self.part_of(head.reference_log_sums, part, 8) }
    }

    fn compute_logits(&self, part: &Range<u32>) -> Result<(), DriverError> {
        let normed = self.hidden_of(self.buffers.cuts.head.normed, part);
        self.weights.head().logits(self.kernels, normed, part.end - part.start, self.logits_of(part).values)
    }

    fn compute_reference_logits(&self, weights: Weights<'_>, part: &Range<u32>) -> Result<(), DriverError> {
        let hidden = self.hidden_of(self.buffers.cuts.head.reference, part);
        weights.head().logits(self.kernels, hidden, part.end - part.start, self.reference_logits_of(part).values)
    }

    /// Takes the rows with targets from the stream and normalises them.
    fn gather(&self, target: crate::arena::Cut) -> Result<(), DriverError> {
        let (head, rows) = (&self.buffers.cuts.head, self.job().target_rows());
        let (stream, hidden) = (self.buffers.at(head.stream), self.config.hidden as u32);
        let places = self.job().target_places;
        self.kernels_of(&(0..rows)).gather(self.kernels, self.stream(self.config.layers), places, hidden, stream)?;
        let normed = self.hidden_of(target, &(0..rows));
        self.head_norm().forward(self.kernels, stream, self.buffers.at(head.inverse), normed)
    }

    /// Leaves the hidden states of a reference, whose pass this is, for [`forward_head`](Self::forward_head).
    pub(crate) fn keep_as_reference(&self) -> Result<(), DriverError> {
        self.gather(self.buffers.cuts.head.reference)
    }

    /// The values of the job's targets, in the order in which they were asked for; with divergences if the weights of a
    /// reference are given, whose hidden states were kept.
    pub(crate) fn forward_head(&self, reference: Option<Weights<'_>>) -> Result<TargetValues, DriverError> {
        self.gather(self.buffers.cuts.head.normed)?;
        let divergences = self.buffers.cuts.head.divergences;
        for part in self.chunks() {
            let (head, logits) = (self.kernels_of(&part), self.logits_of(&part));
            if let Some(weights) = reference {
                // Its log-probabilities are overwritten by those of the policy.
                self.compute_reference_logits(weights, &part)?;
                head.log_probs(self.kernels, self.reference_logits_of(&part), self.job().log_probs)?;
            }
            self.compute_logits(&part)?;
            head.log_probs(self.kernels, logits, self.job().log_probs)?;
            if reference.is_some() {
                let target = self.part_of(divergences, &part, 8);
                head.divergence(self.kernels, self.reference_logits_of(&part), logits, target)?;
            }
        }
        let targets = &self.job().targets;
        let mut log_probs = vec![0.0; targets.indices.len()];
        for (&index, value) in targets.indices.iter().zip(self.doubles(self.job().log_probs, targets.indices.len())?) {
            log_probs[index as usize] = value;
        }
        let mut of_targets = Vec::new();
        if reference.is_some() {
            of_targets.resize(log_probs.len(), 0.0);
            let rows = self.doubles(self.buffers.at(divergences), targets.places.len())?;
            for (bounds, value) in targets.bounds.windows(2).zip(rows) {
                for &index in &targets.indices[bounds[0] as usize..bounds[1] as usize] {
                    of_targets[index as usize] = value;
                }
            }
        }
        Ok(TargetValues { log_probs, divergences: of_targets })
    }

    fn doubles(&self, from: Address, count: usize) -> Result<Vec<f64>, DriverError> {
        let mut bytes = vec![0; count * 8];
        self.kernels.driver.download(from, &mut bytes)?;
        Ok(bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect())
    }

    /// Writes the gradient of the stream after the last block, and adds those of the head and the final norm where they
    /// are trained.
    pub(crate) fn backward_head(
        &self,
        reference: Option<Weights<'_>>,
        seeds: &Seeds,
        gradient: Gradient<'_>,
    ) -> Result<(), DriverError> {
        let (kernels, cuts, rows) = (self.kernels, &self.buffers.cuts.head, self.job().target_rows());
        let hidden = self.config.hidden as u32;
        kernels.driver.upload(self.job().seeds, &bytes_of(&seeds.log_probs))?;
        if reference.is_some() {
            kernels.driver.upload(self.buffers.at(cuts.divergence_seeds), &bytes_of(&seeds.divergences))?;
        }
        // The forward pass keeps the logits of a single chunk.
        let again = rows as usize > self.buffers.logit_rows;
        for part in self.chunks() {
            if again {
                self.compute_logits(&part)?;
            }
            let logits = self.logits_of(&part);
            let of_reference = match reference {
                None => None,
                Some(weights) => {
                    if again {
                        self.compute_reference_logits(weights, &part)?;
                    }
                    let seeds = self.part_of(cuts.divergence_seeds, &part, 4);
                    Some(ReferenceLogits { logits: self.reference_logits_of(&part), seeds })
                }
            };
            // Over the logits, row over row.
            let wider = (Element::F32.bytes() / kernels.element.bytes()) as u32;
            let dlogits = Rows { stride: logits.values.stride * wider, ..logits.values };
            self.kernels_of(&part).gradient(kernels, logits, self.job().seeds, of_reference, dlogits)?;
            let (linear, count) = (self.weights.head(), part.end - part.start);
            linear.input_gradient(kernels, dlogits, count, false, self.hidden_of(cuts.gradient, &part))?;
            if let Gradient::Full(memory, layout) = gradient {
                let normed = self.hidden_of(cuts.normed, &part);
                let target = Self::single(memory, layout.head.unwrap_or(layout.embedding), hidden as usize);
                weight_gradient(kernels, (dlogits, linear.outputs), (normed, hidden), count, 1.0, target)?;
            }
        }
        let (stream, inverse) = (self.buffers.at(cuts.stream), self.buffers.at(cuts.inverse));
        let of_rows = self.hidden_of(cuts.gradient, &(0..rows));
        let norm = self.head_norm();
        if let Gradient::Full(memory, layout) = gradient {
            let (parts, target) = (self.buffers.at(self.buffers.cuts.parts), memory.offset(layout.vectors.norm * 4));
            norm.scale_gradient(kernels, stream, inverse, of_rows, parts, target)?;
        }
        norm.backward(kernels, stream, inverse, of_rows, false, of_rows.address)?;
        let target = self.buffers.at(self.buffers.cuts.stream_gradient);
        Head::scatter(kernels, of_rows.address, self.job().target_slots, [self.rows(), hidden], target)
    }
}
