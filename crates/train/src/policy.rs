//! What is trained: all parameters of a model, or an adapter of a frozen one.

use tabpo_engine::{AdamW, AdamWConfig, Gradients, Lora, Model, Real, TensorRef};

use crate::ReferenceIdentity;

/// The model that training changes.
#[derive(Clone, Debug)]
pub enum Policy<'m, R> {
    /// Every parameter of a model; its matrices are owned ([`Model::make_trainable`]).
    Full(Box<Model<R>>),
    /// An adapter; the model under it stays as it is and may be shared.
    Adapter {
        /// The frozen model.
        base: &'m Model<R>,
        /// What is trained.
        adapter: Lora<R>,
    },
}

impl<R: Real> Policy<'_, R> {
    /// All parameters of a model, widened to the computing type.
    pub fn full(mut model: Model<R>) -> Self {
        model.make_trainable();
        Self::Full(Box::new(model))
    }

    /// The model, without the adapter.
    pub fn model(&self) -> &Model<R> {
        match self {
            Self::Full(model) => model,
            Self::Adapter { base, .. } => base,
        }
    }

    /// The adapter, where one is trained.
    pub fn adapter(&self) -> Option<&Lora<R>> {
        match self {
            Self::Full(_) => None,
            Self::Adapter { adapter, .. } => Some(adapter),
        }
    }

    /// The adapter, unless all its B matrices are zero: then the policy is the model under it, and
    /// is computed and named as that.
    pub fn effective_adapter(&self) -> Option<&Lora<R>> {
        let changes = |adapter: &&Lora<R>| {
            let members = adapter.layers.iter().flatten().flat_map(|group| &group.members);
            members.into_iter().any(|member| member.b.iter().any(|&value| value != R::ZERO))
        };
        self.adapter().filter(changes)
    }

    /// Names and shapes of what is trained, in the order of [`Policy::parameters`].
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Full(model) => Model::<R>::shapes(&model.config),
            Self::Adapter { base, adapter } => adapter.shapes(&base.config),
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
        }
    }

    /// The elements of what is trained.
    pub fn parameters_mut(&mut self) -> Vec<&mut [R]> {
        match self {
            Self::Full(model) => model.parameters_mut(),
            Self::Adapter { adapter, .. } => adapter.parameters_mut(),
        }
    }

    /// A zero gradient for what is trained.
    pub fn gradients(&self) -> Gradients<R> {
        match self {
            Self::Full(model) => Gradients::full(model),
            Self::Adapter { base, adapter } => Gradients::lora(base, adapter),
        }
    }

    /// A fresh optimiser for what is trained.
    pub fn optimiser(&self, config: AdamWConfig) -> AdamW {
        match self {
            Self::Full(model) => AdamW::for_model(model, config),
            Self::Adapter { base, adapter } => AdamW::for_lora(base, adapter, config),
        }
    }

    /// One optimiser step.
    pub(crate) fn update(&mut self, optimiser: &mut AdamW, gradients: &mut Gradients<R>, learning_rate: f64) {
        match self {
            Self::Full(model) => optimiser.step_model(model, gradients, learning_rate),
            Self::Adapter { adapter, .. } => optimiser.step_lora(adapter, gradients, learning_rate),
        }
    }

    /// A copy of what is trained, for [`Policy::restore`].
    pub(crate) fn snapshot(&self) -> Vec<Vec<R>> {
        self.parameters().into_iter().map(<[R]>::to_vec).collect()
    }

    /// Puts back what [`Policy::snapshot`] took of the same policy.
    pub(crate) fn restore(&mut self, snapshot: &[Vec<R>]) {
        for (parameter, values) in self.parameters_mut().into_iter().zip(snapshot) {
            parameter.copy_from_slice(values);
        }
    }

    /// The identity under which this policy's log-probs are kept as a reference. `tokenizer` is the
    /// digest of the tokenizer ([`tokenizer_digest`]).
    pub fn identity(&self, tokenizer: &[u8; 32]) -> ReferenceIdentity {
        reference_identity(self.model(), self.effective_adapter(), tokenizer)
    }
}

/// The identity under which the log-probs of a model, with an adapter or without, are kept.
/// `tokenizer` is the digest of the tokenizer ([`tokenizer_digest`]).
pub fn reference_identity<R: Real>(
    model: &Model<R>,
    adapter: Option<&Lora<R>>,
    tokenizer: &[u8; 32],
) -> ReferenceIdentity {
    let adapter = adapter.map(|adapter| {
        let shapes = adapter.shapes(&model.config);
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{:?}", adapter.config).as_bytes());
        for ((name, shape), values) in shapes.iter().zip(adapter.parameters()) {
            absorb(&mut hasher, name, shape, bytemuck::cast_slice(values));
        }
        *hasher.finalize().as_bytes()
    });
    ReferenceIdentity::new(&model_digest(model), adapter.as_ref(), tokenizer)
}

/// Digest of a model's shape and weights, and of the type it computes in.
fn model_digest<R: Real>(model: &Model<R>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{} {:?}", size_of::<R>(), model.config).as_bytes());
    for (name, tensor) in model.tensors() {
        match tensor {
            TensorRef::Vector(values) => absorb(&mut hasher, &name, &[values.len()], bytemuck::cast_slice(values)),
            TensorRef::Matrix(matrix) => {
                let shape = [matrix.rows(), matrix.columns()];
                // Packed weights are other weights: they are rounded, and so is what they multiply.
                let name = if matrix.is_packed() { format!("{name} in bf16") } else { name };
                absorb(&mut hasher, &name, &shape, matrix.as_bytes());
            }
        }
    }
    *hasher.finalize().as_bytes()
}

fn absorb(hasher: &mut blake3::Hasher, name: &str, shape: &[usize], bytes: &[u8]) {
    hasher.update(format!("{name} {shape:?} {}\n", bytes.len()).as_bytes());
    hasher.update(bytes);
}

/// Digest of a tokenizer, for [`Policy::identity`].
pub fn tokenizer_digest(tokenizer: &tabpo_engine::Tokenizer) -> [u8; 32] {
    // Both are maps in memory: a sorted vocabulary names the tokens, the stop ids end the answers.
    let mut vocabulary: Vec<_> = tokenizer.inner().get_vocab(true).into_iter().collect();
    vocabulary.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for (token, id) in vocabulary {
        hasher.update(&id.to_le_bytes());
        hasher.update(&(token.len() as u32).to_le_bytes());
        hasher.update(token.as_bytes());
    }
    for id in tokenizer.stop_ids() {
        hasher.update(&id.to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}
