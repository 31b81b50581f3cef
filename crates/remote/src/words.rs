//! What errors mean by their words, for endpoints whose status and codes do not say.
//!
//! The phrases are those of vLLM, SGLang, TGI, llama.cpp, Ollama, LM Studio and TensorRT-LLM, of OpenAI,
//! Azure, Anthropic, Google, Mistral, Cohere, xAI, Moonshot, Alibaba and Bedrock, and of gateways.

use crate::api_error::ApiError;

/// The prompt exceeds the model's context.
pub(crate) fn too_long(error: &ApiError) -> bool {
    if error.says(&OTHER_LIMITS) {
        return false;
    }
    let context = error.says(&CONTEXT) && error.says(&EXCESS);
    let prompt = error.says(&SUBJECT) && error.says(&MORE) && error.says(&MEASURE) && !error.says(&ANSWER_LIMITS);
    error.says(&WHOLE_PHRASES) || context || prompt || nothing_left(error)
}

/// The server computed a negative number of tokens for the answer: the prompt alone exceeds the context.
fn nothing_left(error: &ApiError) -> bool {
    error.says(&["max_tokens", "max_completion_tokens", "max_new_tokens"])
        && error.says(&["got -", "got: -", "given: -", "received -", "received: -", "but is -"])
}

/// Phrases with no other meaning.
const WHOLE_PHRASES: [&str; 22] = [
    "context_length_exceeded",
    "maximum context",
    "max context length",
    "context size has been exceeded",
    "exceeds the available context",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "input too long",
    "too many input tokens",
    "maximum prompt length",
    "maximum input length",
    "max_model_len",
    "maximum model length",
    "exceeded model token limit",
    "range of input length",
    "`inputs` must have less than",
    "`max_new_tokens` must be <=",
    "number of tokens to keep from the initial prompt",
    "sum of prompt length",
    "max_num_tokens",
    "max_input_len",
];
const CONTEXT: [&str; 10] = [
    "context_length",
    "context length",
    "context-length",
    "context window",
    "context size",
    "context limit",
    "context_window",
    "n_ctx",
    "max_seq_len",
    "sequence length",
];
const EXCESS: [&str; 16] = [
    "exceed",
    "too long",
    "too large",
    "too many",
    "too small",
    "longer",
    "larger",
    "greater",
    "maximum",
    "more than",
    "reduce",
    "shorten",
    "increas",
    "not enough",
    "fit",
    "overflow",
];
/// What is too long, ...
const SUBJECT: [&str; 11] = [
    "prompt",
    "input",
    "context",
    "message",
    "request",
    "text",
    "document",
    "conversation",
    "content",
    "tokens",
    "sequence",
];
/// ... that it is too long, ...
const MORE: [&str; 19] = [
    "too long",
    "exceed",
    "longer than",
    "too large",
    "too big",
    "too many tokens",
    "greater than",
    "more than",
    "larger than",
    "not fit",
    "n't fit",
    "overflow",
    "reduce the length",
    "reduce your",
    "reduce the input",
    "supports up to",
    "shorten",
    "over the limit",
    "beyond the",
];
/// ... and by which measure.
const MEASURE: [&str; 6] = ["token", "context", "length", "too long", "too large", "window"];
/// Limits on other things than the length of one request.
const OTHER_LIMITS: [&str; 27] = [
    "rate limit",
    "rate_limit",
    "ratelimit",
    "too many requests",
    "per minute",
    "per second",
    "per hour",
    "per day",
    "requests per",
    "tokens per min",
    "quota",
    "credit",
    "balance",
    "budget",
    "time out",
    "timeout",
    "timed out",
    "deadline",
    "concurren",
    "retries",
    "queue",
    "out of memory",
    "api key",
    "schema",
    "image",
    "stop sequence",
    "nesting",
];
/// Limits on the answer alone.
const ANSWER_LIMITS: [&str; 8] = [
    "output tokens",
    "completion tokens",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "maxoutputtokens",
    "temperature",
    "top_p",
];

/// One request exceeds what the endpoint allows in a minute, so waiting never helps.
pub(crate) fn larger_than_a_minute(error: &ApiError) -> bool {
    error.says(&["request too large", "request is too large", "reduce your message size"])
}

/// The provider's filter blocked the prompt.
pub(crate) fn filtered(error: &ApiError) -> bool {
    error.says(&[
        "content_filter",
        "content filter",
        "content_policy",
        "content policy",
        "content management policy",
        "data_inspection_failed",
        "inappropriate content",
        "input was flagged",
        "prompt was flagged",
        "flagged as potentially violating",
        "blocked by our safety",
        "requires moderation",
    ])
}

/// The account has no credit left.
pub(crate) fn out_of_credit(error: &ApiError) -> bool {
    error.says(&[
        "insufficient_quota",
        "insufficient quota",
        "insufficient balance",
        "insufficient credit",
        "insufficient funds",
        "credit balance is too low",
        "exceeded your current quota",
        "out of credits",
        "not enough credits",
        "requires more credits",
        "billing hard limit",
        "account is not active",
    ])
}

/// A daily limit is used up, and nothing says when it resets.
pub(crate) fn used_up_for_today(error: &ApiError) -> bool {
    let day = error.says(&["per day", "per-day", "per_day", "daily", "(rpd)", "(tpd)"]);
    let minute = error.says(&["per minute", "per-min", "per_min", "per min"]);
    // The names of Google's limits are listed once they are used up.
    error.says(&["perday"]) || day && !minute && !error.says(&["try again in", "retry in", "retry after"])
}

/// The key is missing, wrong or out of date.
pub(crate) fn unauthorised(error: &ApiError) -> bool {
    error.says(&[
        "api key not valid",
        "api key is not valid",
        "api key is invalid",
        "invalid api key",
        "incorrect api key",
        "no api key",
        "api key not found",
        "api key expired",
        "api key has expired",
        "api key is expired",
        "expired api key",
    ])
}

/// The model does not exist.
pub(crate) fn unknown_model(error: &ApiError) -> bool {
    let missing =
        ["does not exist", "not found", "not a valid model", "unknown model", "invalid model", "no such model"];
    error.says(&["model"]) && error.says(&missing)
}

/// The structured output is of no kind that the server knows, as its own check of the request says.
pub(crate) fn invalid_structure(error: &ApiError) -> bool {
    error.says(&["validation error"]) && error.says(&["'response_format'"])
}

/// The structured output is not supported.
pub(crate) fn about_structure(error: &ApiError) -> bool {
    let fields = ["response_format", "json_schema", "json_object", "structured", "grammar"];
    error.says(&fields) || error.param.as_deref().is_some_and(|param| fields.iter().any(|field| param.contains(field)))
}
