//! `AdamW` with decoupled weight decay (arXiv 1711.05101).

use serde::{Deserialize, Serialize};

use crate::gradients::Gradients;
use crate::lora::Lora;
use crate::model::Model;
use crate::real::Real;

/// The settings of [`AdamW`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay; not applied to norms and biases.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// The optimiser's state for one parameter.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    /// Name of the parameter.
    pub(crate) name: String,
    /// Its shape.
    pub(crate) shape: Vec<usize>,
    /// Moving average of the gradient.
    pub(crate) first: Vec<f32>,
    /// Moving average of the squared gradient.
    pub(crate) second: Vec<f32>,
}

/// `AdamW` over the parameters of a model or of an adapter, with 32-bit state.
#[derive(Clone, Debug)]
pub struct AdamW {
    config: AdamWConfig,
    steps: u64,
    moments: Vec<Moments>,
}

impl AdamW {
    /// Fresh state for all parameters of a model.
    pub fn for_model<R: Real>(model: &Model<R>, config: AdamWConfig) -> Self {
        Self::new(model.config.tensors(), config)
    }

    /// Fresh state for the parameters of an adapter.
    pub fn for_lora<R: Real>(model: &Model<R>, lora: &Lora<R>, config: AdamWConfig) -> Self {
        Self::new(lora.shapes(&model.config), config)
    }

    fn new(shapes: Vec<(String, Vec<usize>)>, config: AdamWConfig) -> Self {
        let moments = shapes
            .into_iter()
            .map(|(name, shape)| {
                let length = shape.iter().product();
                Moments { name, shape, first: vec![0.0; length], second: vec![0.0; length] }
            })
            .collect();
        Self { config, steps: 0, moments }
    }

    /// Restores the state after `steps` steps. `moments` are in the order of [`AdamW::moments`].
    pub(crate) fn restore(&mut self, steps: u64, moments: Vec<Moments>) {
        (self.steps, self.moments) = (steps, moments);
    }

    /// The state for a checkpoint, in the order of the parameters.
    pub(crate) fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// One step on all parameters of a model.
    ///
    /// # Panics
    /// If the optimiser or the gradients were made for something else.
    pub fn step_model<R: Real>(&mut self, model: &mut Model<R>, gradients: &mut Gradients<R>, learning_rate: f64) {
        crate::ops::on_pool(|| self.step(model.parameters_mut(), gradients.parts_mut(), learning_rate));
    }

    /// One step on an adapter.
    ///
    /// # Panics
    /// If the optimiser or the gradients were made for something else.
    pub fn step_lora<R: Real>(&mut self, lora: &mut Lora<R>, gradients: &mut Gradients<R>, learning_rate: f64) {
        crate::ops::on_pool(|| self.step(lora.parameters_mut(), gradients.parts_mut(), learning_rate));
    }

    /// With bias-corrected moments `m` and `v`, and decay `w`:
    /// `p <- p - rate * (m / (sqrt(v) + epsilon) + w * p)`.
    fn step<R: Real>(&mut self, parameters: Vec<&mut [R]>, gradients: Vec<&mut [R]>, learning_rate: f64) {
        assert!(parameters.len() == self.moments.len() && gradients.len() == self.moments.len());
        self.steps += 1;
        let AdamWConfig { beta1, beta2, epsilon, weight_decay } = self.config;
        let correction1 = 1.0 - beta1.powi(self.steps as i32);
        let correction2 = 1.0 - beta2.powi(self.steps as i32);
        for ((parameter, gradient), moments) in parameters.into_iter().zip(gradients).zip(&mut self.moments) {
            assert!(parameter.len() == moments.first.len() && gradient.len() == moments.first.len());
            // Norms and biases are the vectors among the parameters.
            let decay = if moments.shape.len() == 1 { 0.0 } else { weight_decay };
            let update = Update {
                beta1: beta1 as f32,
                beta2: beta2 as f32,
                epsilon: epsilon as f32,
                rate: (learning_rate / correction1) as f32,
                root_correction: (1.0 / correction2.sqrt()) as f32,
                keep: R::from_f64(1.0 - learning_rate * decay),
            };
            update.apply(parameter, gradient, &mut moments.first, &mut moments.second);
        }
    }
}

/// The constants of one step.
struct Update<R> {
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    rate: f32,
    root_correction: f32,
    keep: R,
}

impl<R: Real> Update<R> {
    fn apply(&self, parameter: &mut [R], gradient: &[R], first: &mut [f32], second: &mut [f32]) {
        use rayon::prelude::*;
        const CHUNK: usize = 1 << 15;
        parameter
            .par_chunks_mut(CHUNK)
            .zip(gradient.par_chunks(CHUNK))
            .zip(first.par_chunks_mut(CHUNK))
            .zip(second.par_chunks_mut(CHUNK))
            .for_each(|(((parameter, gradient), first), second)| {
                crate::ops::simd(
                    #[inline(always)]
                    || {
                        for (((p, g), m), v) in parameter.iter_mut().zip(gradient).zip(first).zip(second) {
                            let g = g.to_f64() as f32;
                            *m = self.beta1 * *m + (1.0 - self.beta1) * g;
                            *v = self.beta2 * *v + (1.0 - self.beta2) * g * g;
                            let step = self.rate * *m / (v.sqrt() * self.root_correction + self.epsilon);
                            *p = *p * self.keep - R::from_f32(step);
                        }
                    },
                );
            });
    }
}
