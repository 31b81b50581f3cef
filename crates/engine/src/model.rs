//! The parameters of a decoder, under their Hugging Face names.

use crate::config::ModelConfig;
use crate::real::Real;
use crate::weights::Matrix;

/// The seven linear projections of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Projection {
    /// `self_attn.q_proj`
    Query,
    /// `self_attn.k_proj`
    Key,
    /// `self_attn.v_proj`
    Value,
    /// `self_attn.o_proj`
    Output,
    /// `mlp.gate_proj`
    Gate,
    /// `mlp.up_proj`
    Up,
    /// `mlp.down_proj`
    Down,
}

impl Projection {
    /// All projections, in the order of a block.
    pub const ALL: [Projection; 7] = [
        Projection::Query,
        Projection::Key,
        Projection::Value,
        Projection::Output,
        Projection::Gate,
        Projection::Up,
        Projection::Down,
    ];

    /// The module's own name, as in PEFT's `target_modules`: `q_proj`.
    pub fn module(self) -> &'static str {
        match self {
            Projection::Query => "q_proj",
            Projection::Key => "k_proj",
            Projection::Value => "v_proj",
            Projection::Output => "o_proj",
            Projection::Gate => "gate_proj",
            Projection::Up => "up_proj",
            Projection::Down => "down_proj",
        }
    }

    /// The module's path in the model: `model.layers.3.self_attn.q_proj`.
    pub fn path(self, layer: usize) -> String {
        let parent = match self {
            Projection::Query | Projection::Key | Projection::Value | Projection::Output => "self_attn",
            Projection::Gate | Projection::Up | Projection::Down => "mlp",
        };
        format!("model.layers.{layer}.{parent}.{}", self.module())
    }

    /// `[outputs, inputs]` of the projection.
    pub fn shape(self, config: &ModelConfig) -> [usize; 2] {
        match self {
            Projection::Query => [config.query_width(), config.hidden],
            Projection::Key | Projection::Value => [config.key_width(), config.hidden],
            Projection::Output => [config.hidden, config.query_width()],
            Projection::Gate | Projection::Up => [config.intermediate, config.hidden],
            Projection::Down => [config.hidden, config.intermediate],
        }
    }

    fn has_bias(self, config: &ModelConfig) -> bool {
        match self {
            Projection::Query | Projection::Key | Projection::Value => config.query_key_value_bias,
            Projection::Output => config.output_bias,
            Projection::Gate | Projection::Up | Projection::Down => config.mlp_bias,
        }
    }
}

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
    /// Token embeddings, `[vocabulary, hidden]`; the head too where it is tied.
    pub embedding: Matrix<R>,
    /// The blocks.
    pub layers: Vec<Layer<R>>,
    /// Scale of the final normalisation, `[hidden]`.
    pub norm: Vec<R>,
    /// The head, `[vocabulary, hidden]`, where it is not tied.
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
    /// The names and shapes of all tensors, in the order of [`Model::tensors`].
    pub fn shapes(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
        let mut shapes = vec![("model.embed_tokens.weight".to_owned(), vec![config.vocabulary, config.hidden])];
        for layer in 0..config.layers {
            let prefix = format!("model.layers.{layer}");
            shapes.push((format!("{prefix}.input_layernorm.weight"), vec![config.hidden]));
            shapes.push((format!("{prefix}.post_attention_layernorm.weight"), vec![config.hidden]));
            if config.query_key_norm {
                shapes.push((format!("{prefix}.self_attn.q_norm.weight"), vec![config.head_dim]));
                shapes.push((format!("{prefix}.self_attn.k_norm.weight"), vec![config.head_dim]));
            }
            for projection in Projection::ALL {
                let shape = projection.shape(config);
                let path = projection.path(layer);
                shapes.push((format!("{path}.weight"), shape.to_vec()));
                if projection.has_bias(config) {
                    shapes.push((format!("{path}.bias"), vec![shape[0]]));
                }
            }
        }
        shapes.push(("model.norm.weight".to_owned(), vec![config.hidden]));
        if !config.tied_head {
            shapes.push(("lm_head.weight".to_owned(), vec![config.vocabulary, config.hidden]));
        }
        shapes
    }

    /// Builds a model from its tensors. `tensor` is asked for every name of [`Model::shapes`], in
    /// that order, with `[rows, columns]`; a vector is asked for with one row and must be owned.
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

    /// A model of zeros: the shape of a gradient.
    pub fn zeros(config: ModelConfig) -> Self {
        let built = Self::from_tensors(config, |_, [rows, columns]| {
            Ok::<_, std::convert::Infallible>(Matrix::zeros(rows, columns))
        });
        match built {
            Ok(model) => model,
            Err(never) => match never {},
        }
    }

    /// The matrix that turns hidden states into logits, `[vocabulary, hidden]`.
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
        Self::shapes(&self.config).into_iter().map(|(name, _)| name).zip(tensors).collect()
    }

    /// The elements of all parameters, in the order of [`Model::shapes`].
    ///
    /// # Panics
    /// If a matrix is kept in its stored type; see [`Model::make_trainable`].
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

    /// All matrices: the embedding, the projections, the head where it is not tied.
    pub(crate) fn matrices_mut(&mut self) -> impl Iterator<Item = &mut Matrix<R>> {
        let projections = self.layers.iter_mut().flat_map(|layer| &mut layer.projections);
        std::iter::once(&mut self.embedding).chain(projections.map(|linear| &mut linear.weight)).chain(&mut self.head)
    }

    /// Widens every matrix that is kept in its stored type or packed, so that all parameters can be trained.
    pub fn make_trainable(&mut self) {
        for matrix in self.matrices_mut() {
            matrix.make_owned();
        }
    }
}

/// Asks for a vector as a matrix of one row.
fn vector<R: Real, E>(
    tensor: &mut impl FnMut(&str, [usize; 2]) -> Result<Matrix<R>, E>,
    name: &str,
    length: usize,
) -> Result<Vec<R>, E> {
    tensor(name, [1, length]).map(|mut matrix| matrix.make_owned().to_vec())
}
