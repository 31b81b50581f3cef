//! Gradients of trained parameters.

use crate::lora::Lora;
use crate::model::Model;
use crate::real::Real;

/// The gradient of all parameters or of an adapter. The backward pass adds to it, so that micro-batches
/// accumulate.
#[derive(Clone, Debug)]
pub enum Gradients<R> {
    /// Of every parameter of the model.
    Full(Box<Model<R>>),
    /// Of an adapter; the model is frozen and has no gradient.
    Lora(Lora<R>),
}

impl<R: Real> Gradients<R> {
    /// A zero gradient for all parameters of a model.
    pub fn full(model: &Model<R>) -> Self {
        Gradients::Full(Box::new(Model::zeros(model.config.clone())))
    }

    /// A zero gradient for an adapter of a model.
    pub fn lora(model: &Model<R>, lora: &Lora<R>) -> Self {
        Gradients::Lora(Lora::zeros(&model.config, lora.config.clone()))
    }

    /// The elements, in the order of the parameters of the model or the adapter.
    pub fn parts_mut(&mut self) -> Vec<&mut [R]> {
        match self {
            Gradients::Full(model) => model.parameters_mut(),
            Gradients::Lora(lora) => lora.parameters_mut(),
        }
    }

    /// Sets the gradient to zero.
    pub fn clear(&mut self) {
        for part in self.parts_mut() {
            part.fill(R::ZERO);
        }
    }

    /// Multiplies the gradient by a factor.
    pub fn scale(&mut self, factor: f64) {
        let factor = R::from_f64(factor);
        for part in self.parts_mut() {
            for value in part {
                *value *= factor;
            }
        }
    }

    /// The Euclidean norm over all parameters, summed in double precision.
    pub fn norm(&mut self) -> f64 {
        self.parts_mut().iter().map(|part| crate::ops::reduce::sum_of_squares(part)).sum::<f64>().sqrt()
    }

    /// Scales the gradient down to norm `limit` if it is longer, and returns its previous norm. If that is not
    /// finite, the gradient is left unchanged, and the caller should skip the step.
    pub fn clip(&mut self, limit: f64) -> f64 {
        let norm = self.norm();
        if norm.is_finite() && norm > limit {
            self.scale(limit / norm);
        }
        norm
    }
}
