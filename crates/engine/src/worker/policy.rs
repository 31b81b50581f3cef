//! The policy: a model that is trained as a whole, or a frozen one with an adapter.

use std::sync::Arc;

use crate::lora::Lora;
use crate::model::{Model, TensorRef};
use crate::real::Real;

/// The model that is trained or used.
#[derive(Clone, Debug)]
pub enum Policy<R> {
    /// All parameters are trained; the matrices are owned ([`Model::make_trainable`]).
    Full(Box<Model<R>>),
    /// An adapter is trained; the base model is frozen and may be shared.
    Adapter {
        /// The frozen model.
        base: Arc<Model<R>>,
        /// The trained adapter.
        adapter: Lora<R>,
    },
    /// Nothing is trained.
    Frozen(Arc<Model<R>>),
}

impl<R: Real> Policy<R> {
    /// Trains all parameters of a model, which are widened to the computing type.
    pub fn full(mut model: Model<R>) -> Self {
        model.make_trainable();
        Self::Full(Box::new(model))
    }

    /// Trains an adapter of a frozen model.
    pub fn adapter(base: Arc<Model<R>>, adapter: Lora<R>) -> Self {
        Self::Adapter { base, adapter }
    }

    /// The model, without the adapter.
    pub fn model(&self) -> &Model<R> {
        match self {
            Self::Full(model) => model,
            Self::Adapter { base, .. } | Self::Frozen(base) => base,
        }
    }

    /// The adapter, if there is one.
    pub fn lora(&self) -> Option<&Lora<R>> {
        match self {
            Self::Full(_) | Self::Frozen(_) => None,
            Self::Adapter { adapter, .. } => Some(adapter),
        }
    }

    /// The adapter, unless all its B matrices are zero: then the policy equals its base model, and has the same
    /// results and identity.
    pub fn effective_lora(&self) -> Option<&Lora<R>> {
        let changes = |adapter: &&Lora<R>| {
            let members = adapter.layers.iter().flatten().flat_map(|group| &group.members);
            members.into_iter().any(|member| member.b.iter().any(|&value| value != R::ZERO))
        };
        self.lora().filter(changes)
    }

    /// Names and shapes of the trained parameters, in the order of [`Policy::parameters`].
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Full(model) => model.config.tensors(),
            Self::Adapter { base, adapter } => adapter.shapes(&base.config),
            Self::Frozen(_) => Vec::new(),
        }
    }

    /// The elements of what is trained.
    pub fn parameters(&self) -> Vec<&[R]> {
        match self {
            Self::Full(model) => {
                let elements = |(_, tensor)| match tensor {
                    TensorRef::Vector(values) => values,
                    TensorRef::Matrix(matrix) => {
                        matrix.as_owned().expect("the matrices of a fully trained model are owned")
                    }
                };
                model.tensors().into_iter().map(elements).collect()
            }
            Self::Adapter { adapter, .. } => adapter.parameters(),
            Self::Frozen(_) => Vec::new(),
        }
    }

    /// The elements of what is trained.
    pub fn parameters_mut(&mut self) -> Vec<&mut [R]> {
        match self {
            Self::Full(model) => model.parameters_mut(),
            Self::Adapter { adapter, .. } => adapter.parameters_mut(),
            Self::Frozen(_) => Vec::new(),
        }
    }
}
