//! Built-in chat formats for models without a template: base models, which are what most people fine-tune.

use super::{ChatError, ChatTemplate};
use crate::tokenizer::Tokenizer;

/// Turns under plain headings; the tokenizer's end of sequence closes the answer.
const PLAIN: &str = "{%- for message in messages %}\
    {%- if message.role == 'system' %}{{- message.content + '\\n\\n' }}\
    {%- elif message.role == 'user' %}{{- '### Text\\n' + message.content + '\\n\\n' }}\
    {%- else %}{{- '### Answer\\n' + message.content + (eos_token or '') }}{%- endif %}\
    {%- endfor %}\
    {%- if add_generation_prompt %}{{- '### Answer\\n' }}{%- endif %}";

/// The format of Stanford Alpaca.
const ALPACA: &str = "{%- for message in messages %}\
    {%- if message.role == 'system' %}{{- '### Instruction:\\n' + message.content + '\\n\\n' }}\
    {%- elif message.role == 'user' %}{{- '### Input:\\n' + message.content + '\\n\\n' }}\
    {%- else %}{{- '### Response:\\n' + message.content + (eos_token or '') }}{%- endif %}\
    {%- endfor %}\
    {%- if add_generation_prompt %}{{- '### Response:\\n' }}{%- endif %}";

/// The format of Qwen and many others, for tokenizers with its two special tokens.
const CHATML: &str = "{%- for message in messages %}\
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\
    {%- endfor %}\
    {%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}";

impl ChatTemplate {
    /// The names of the built-in formats; the first is the default for a folder without a template.
    pub const BUILT_IN: [&'static str; 3] = ["plain", "alpaca", "chatml"];

    /// A built-in format by its name; `None` for any other name. If the tokenizer begins texts with a token,
    /// so does the format.
    pub fn built_in(name: &str, tokenizer: &Tokenizer) -> Option<Result<Self, ChatError>> {
        let body = match name {
            "plain" => PLAIN,
            "alpaca" => ALPACA,
            "chatml" => CHATML,
            _ => return None,
        };
        let begin = tokenizer.special().bos.as_deref().and_then(|bos| tokenizer.token_id(bos));
        let begins =
            begin.is_some() && tokenizer.encode_bare("a").ok().and_then(|tokens| tokens.first().copied()) == begin;
        let source = format!("{}{body}", if begins { "{{- bos_token }}" } else { "" });
        let path = format!("built-in format `{name}`");
        Some(Self::new(source, tokenizer.special(), path.as_ref()))
    }
}
