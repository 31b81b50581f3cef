//! The linear projections of a block, under their Hugging Face names.

use crate::ModelConfig;

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

/// The projections that read the same input.
pub const INPUT_GROUPS: [&[Projection]; 4] = [
    &[Projection::Query, Projection::Key, Projection::Value],
    &[Projection::Output],
    &[Projection::Gate, Projection::Up],
    &[Projection::Down],
];

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

    /// The position in [`INPUT_GROUPS`] of the projections that read the same input.
    pub fn input_group(self) -> usize {
        match self {
            Projection::Query | Projection::Key | Projection::Value => 0,
            Projection::Output => 1,
            Projection::Gate | Projection::Up => 2,
            Projection::Down => 3,
        }
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

    /// Whether the projection has a bias.
    pub fn has_bias(self, config: &ModelConfig) -> bool {
        match self {
            Projection::Query | Projection::Key | Projection::Value => config.query_key_value_bias,
            Projection::Output => config.output_bias,
            Projection::Gate | Projection::Up | Projection::Down => config.mlp_bias,
        }
    }
}
