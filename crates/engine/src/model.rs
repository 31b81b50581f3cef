//! The parameters of a decoder, under their Hugging Face names.

use tabpo_model::{ModelConfig, Projection};

use crate::real::Real;
use crate::weights::Matrix;

/// `y = x W^T + b`.
#[derive(Clone, Debug)]
pub struct Linear<R> {
    /// `[outputs, inputs]`
    pub weight: Matrix<R>,
    /// `[outputs]`
    pub bias: Option<Vec<R>>,
}

/// The parameters of one block.
#[derive(Clone, Debug)]
pub struct Layer<R> {
    /// Scale of the normalisation before attention, `[hidden]`.
    pub input_norm: Vec<R>,
    /// Scale of the normalisation before the feed-forward part, `[hidden]`.
    pub post_attention_norm: Vec<R>,
    /// Scale of the queries' normalisation, `[head_dim]`, in Qwen3.
    pub query_norm: Option<Vec<R>>,
    /// Scale of the keys' normalisation, `[head_dim]`, in Qwen3.
    pub key_norm: Option<Vec<R>>,
    /// The projections in the order of [`Projection::ALL`].
    pub projections: [Linear<R>; 7],
}

impl<R> Layer<R> {
    /// One projection of the block.
    pub fn projection(&self, projection: Projection) -> &Linear<R> {
        &self.projections[projection as usize]
    }
}

/// A decoder: shape and parameters.
#[derive(Clone, Debug)]
pub struct Model<R> {
    /// The shape.
    pub config: ModelConfig,
    /// Token embeddings, `[vocabulary, hidden]`; also the head if it is tied.
    pub embedding: Matrix<R>,
    /// The blocks.
    pub layers: Vec<Layer<R>>,
    /// Scale of the final normalisation, `[hidden]`.
    pub norm: Vec<R>,
    /// The head, `[vocabulary, hidden]`, unless it is tied.
    pub head: Option<Matrix<R>>,
}

/// A tensor of a model, for writing it out.
#[derive(Clone, Copy, Debug)]
pub enum TensorRef<'a, R> {
    /// A vector: a norm's scale or a bias.
    Vector(&'a [R]),
    /// A matrix.
    Matrix(&'a Matrix<R>),
}

impl<R: Real> Model<R> {
    /// Builds a model from its tensors. `tensor` is called with every name of [`ModelConfig::tensors`], in
    /// that order, and its shape `[rows, columns]`; a vector has one row.
    ///
    /// # Errors
    /// The first error of `tensor`.
    pub fn from_tensors<E>(
        config: ModelConfig,
        mut tensor: impl FnMut(&str, [usize; 2]) -> Result<Matrix<R>, E>,
    ) -> Result<Self, E> {
        let embedding = tensor("model.embed_tokens.weight", [config.vocabulary, config.hidden])?;
        let mut layers = Vec::with_capacity(config.layers);
        for index in 0..config.layers {
            let prefix = format!("model.layers.{index}");
            let input_norm = vector(&mut tensor, &format!("{prefix}.input_layernorm.weight"), config.hidden)?;
            let post_attention_norm =
                vector(&mut tensor, &format!("{prefix}.post_attention_layernorm.weight"), config.hidden)?;
            let (mut query_norm, mut key_norm) = (None, None);
            if config.query_key_norm {
                query_norm = Some(vector(&mut tensor, &format!("{prefix}.self_attn.q_norm.weight"), config.head_dim)?);
                key_norm = Some(vector(&mut tensor, &format!("{prefix}.self_attn.k_norm.weight"), config.head_dim)?);
            }
            let mut projections = Vec::with_capacity(7);
            for projection in Projection::ALL {
                let shape = projection.shape(&config);
                let path = projection.path(index);
                let weight = tensor(&format!("{path}.weight"), shape)?;
                let bias = if projection.has_bias(&config) {
                    Some(vector(&mut tensor, &format!("{path}.bias"), shape[0])?)
                } else {
                    None
                };
                projections.push(Linear { weight, bias });
            }
            let projections = projections.try_into().expect("a block has seven projections");
            layers.push(Layer { input_norm, post_attention_norm, query_norm, key_norm, projections });
        }
        let norm = vector(&mut tensor, "model.norm.weight", config.hidden)?;
        let head =
            if config.tied_head { None } else { Some(tensor("lm_head.weight", [config.vocabulary, config.hidden])?) };
        Ok(Self { config, embedding, layers, norm, head })
    }

    /// A model of zeros, for gradients.
    pub fn zeros(config: ModelConfig) -> Self {
        let built = Self::from_tensors(config, |_, [rows, columns]| {
            Ok::<_, std::convert::Infallible>(Matrix::zeros(rows, columns))
        });
        match built {
            Ok(model) => model,
            Err(never) => match never {},
        }
    }

    /// The matrix that maps hidden states to logits, `[vocabulary, hidden]`.
    pub fn head_matrix(&self) -> &Matrix<R> {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// All tensors by name.
    pub fn tensors(&self) -> Vec<(String, TensorRef<'_, R>)> {
        let mut tensors = vec![TensorRef::Matrix(&self.embedding)];
        for layer in &self.layers {
            tensors.push(TensorRef::Vector(&layer.input_norm));
            tensors.push(TensorRef::Vector(&layer.post_attention_norm));
            tensors.extend(layer.query_norm.as_deref().map(TensorRef::Vector));
            tensors.extend(layer.key_norm.as_deref().map(TensorRef::Vector));
            for linear in &layer.projections {
                tensors.push(TensorRef::Matrix(&linear.weight));
                tensors.extend(linear.bias.as_deref().map(TensorRef::Vector));
            }
        }
        tensors.push(TensorRef::Vector(&self.norm));
        tensors.extend(self.head.as_ref().map(TensorRef::Matrix));
        self.config.tensors().into_iter().map(|(name, _)| name).zip(tensors).collect()
    }

    /// The formats that the matrices are kept in (`NF4`, `bf16`), that of the most elements first.
    pub fn formats(&self) -> Vec<&'static str> {
        let mut formats: Vec<(&str, usize)> = Vec::new();
        for (_, tensor) in self.tensors() {
            let TensorRef::Matrix(matrix) = tensor else { continue };
            let (format, elements) = (matrix.kept_as(), matrix.rows() * matrix.columns());
            match formats.iter_mut().find(|(name, _)| *name == format) {
                Some((_, count)) => *count += elements,
                None => formats.push((format, elements)),
            }
        }
        formats.sort_by_key(|&(_, elements)| std::cmp::Reverse(elements));
        formats.into_iter().map(|(format, _)| format).collect()
    }

    /// The elements of all parameters, in the order of [`ModelConfig::tensors`].
    ///
    /// # Panics
    /// If a matrix does not own its elements; see [`Model::make_trainable`].
    pub fn parameters_mut(&mut self) -> Vec<&mut [R]> {
        fn owned<R: Real>(matrix: &mut Matrix<R>) -> &mut [R] {
            matrix.as_owned_mut().expect("a trainable matrix owns its elements")
        }
        let mut parameters = vec![owned(&mut self.embedding)];
        for layer in &mut self.layers {
            parameters.push(&mut layer.input_norm);
            parameters.push(&mut layer.post_attention_norm);
            parameters.extend(layer.query_norm.as_deref_mut());
            parameters.extend(layer.key_norm.as_deref_mut());
            for linear in &mut layer.projections {
                parameters.push(owned(&mut linear.weight));
                parameters.extend(linear.bias.as_deref_mut());
            }
        }
        parameters.push(&mut self.norm);
        parameters.extend(self.head.as_mut().map(owned));
        parameters
    }

    /// All matrices: the embedding, the projections, and the head unless it is tied.
    pub(crate) fn matrices_mut(&mut self) -> impl Iterator<Item = &mut Matrix<R>> {
        let projections = self.layers.iter_mut().flat_map(|layer| &mut layer.projections);
        std::iter::once(&mut self.embedding).chain(projections.map(|linear| &mut linear.weight)).chain(&mut self.head)
    }

    /// Widens every stored or packed matrix, so that all parameters can be trained.
    pub fn make_trainable(&mut self) {
        for matrix in self.matrices_mut() {
            matrix.make_owned();
        }
    }
}

/// Takes a vector as a matrix of one row.
fn vector<R: Real, E>(
    tensor: &mut impl FnMut(&str, [usize; 2]) -> Result<Matrix<R>, E>,
    name: &str,
    length: usize,
) -> Result<Vec<R>, E> {
    tensor(name, [1, length]).map(|mut matrix| matrix.make_owned().to_vec())
}
