//! Errors as servers write them, and what they mean.

use serde_json::{Value, json};

use super::*;

/// The meaning in a word.
fn meaning(attempt: &Attempt) -> String {
    match attempt {
        Attempt::Done(completion) => completion.outcome.name().to_owned(),
        Attempt::Again { after: Some(after), .. } => format!("again after {}", after.as_secs_f64()),
        Attempt::Again { unsettled: true, .. } => "again, unsettled".to_owned(),
        Attempt::Again { .. } => "again".to_owned(),
        Attempt::Fatal(RemoteError::Refused { fix, .. }) => fix.option(),
        Attempt::Fatal(RemoteError::Quota { .. }) => "quota".to_owned(),
        Attempt::Fatal(RemoteError::Unauthorised { .. }) => "key".to_owned(),
        Attempt::Fatal(RemoteError::UnknownModel { .. }) => "model".to_owned(),
        Attempt::Fatal(RemoteError::UnsupportedStructure { .. }) => "structure".to_owned(),
        Attempt::Fatal(RemoteError::LongWait { .. }) => "long wait".to_owned(),
        Attempt::Fatal(RemoteError::Rejected { .. }) => "rejected".to_owned(),
        Attempt::Fatal(other) => other.to_string(),
    }
}

fn with_headers(status: u16, headers: &[(&'static str, &str)], body: &Value) -> String {
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        all.insert(*name, value.parse().unwrap());
    }
    let mut settings = Settings::default();
    settings.extra.insert("top_k".into(), 1.into());
    let asked = Asked { model: "m", settings: &settings, structure: StructureKind::JsonSchema };
    let error = body.as_str().map_or_else(|| ApiError::of(body), ApiError::of_text);
    meaning(&classify(asked, status, &all, &error))
}

fn of(status: u16, body: &Value) -> String {
    with_headers(status, &[], body)
}

fn openai(code: &str, kind: &str, message: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "code": code, "param": null}})
}

#[test]
fn too_long_prompts_are_recognised_from_the_messages_of_every_server() {
    for (status, body) in [
        (
            400,
            json!({"object": "error", "type": "BadRequestError", "code": 400, "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4744 in the messages, 256 in the completion). Please reduce the length of the messages or completion."}),
        ),
        (
            400,
            json!({"error": {"type": "BadRequestError", "param": "max_tokens", "code": 400, "message": "'max_tokens' or 'max_completion_tokens' is too large: 1024. This model's maximum context length is 512 tokens and your request has 100 input tokens (1024 > 512 - 100)."}}),
        ),
        (
            400,
            json!({"object": "error", "code": 400, "message": "The decoder prompt (length 5001) is longer than the maximum model length of 4096. Make sure that `max_model_len` is no smaller than the number of text tokens."}),
        ),
        (
            400,
            json!({"object": "error", "code": 400, "message": "The input (5000 tokens) is longer than the model's context length (4096 tokens)."}),
        ),
        (
            400,
            json!({"error": {"code": 400, "type": "exceed_context_size_error", "message": "request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it"}}),
        ),
        (
            500,
            json!({"error": {"code": 500, "type": "server_error", "message": "the request exceeds the available context size. try increasing the context size or enable context shift"}}),
        ),
        (500, json!({"error": {"code": 500, "type": "server_error", "message": "Context size has been exceeded."}})),
        (
            422,
            json!({"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1233", "error_type": "validation"}),
        ),
        (
            422,
            json!({"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3000 `inputs` tokens and 20 `max_new_tokens`", "error_type": "validation"}),
        ),
        (400, json!({"error": {"message": "input length exceeds context length", "type": "invalid_request_error"}})),
        (
            400,
            json!({"error": "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough."}),
        ),
        (
            400,
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}}),
        ),
        (
            400,
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length or `max_tokens` and try again"}}),
        ),
        (
            413,
            json!({"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}),
        ),
        (
            400,
            json!([{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."}}]),
        ),
        (400, openai("context_length_exceeded", "invalid_request_error", "Your input exceeds the limit.")),
        (
            400,
            json!({"object": "error", "type": "invalid_request_prompt", "code": "3051", "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length"}),
        ),
        (
            400,
            json!({"error": {"code": 400, "message": "Provider returned error", "metadata": {"raw": "{\"message\":\"This endpoint's maximum context length is 8192 tokens.\"}"}}}),
        ),
        (400, json!({"error": "This model's maximum prompt length is 131072 but the request contains 200000 tokens."})),
        (
            400,
            json!({"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000."}),
        ),
        (
            400,
            json!({"error": {"type": "invalid_request_error", "message": "Invalid request: Your request exceeded model token limit: 8192"}}),
        ),
        (400, json!({"error": {"code": "InvalidParameter", "message": "Range of input length should be [1, 30720]"}})),
        (400, json!({"message": "Input is too long for requested model."})),
        (
            429,
            openai(
                "rate_limit_exceeded",
                "tokens",
                "Request too large for gpt in organization o on tokens per min (TPM): Limit 30000, Requested 40000. The input or output tokens must be reduced.",
            ),
        ),
        (
            413,
            openai(
                "rate_limit_exceeded",
                "tokens",
                "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 7500",
            ),
        ),
        (413, json!("<html><title>413 Request Entity Too Large</title></html>")),
        (200, json!({"error": {"message": "prompt is too long", "code": 400}})),
        (
            400,
            json!([{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "Unable to submit request because the input token count is 1200000 but model only supports up to 1048576. Reduce the input token count and try again."}}]),
        ),
        (
            400,
            json!({"object": "error", "code": 400, "message": "The sum of prompt length (5000), query length (0) and max_tokens (1024) should not exceed max_num_tokens (4096)"}),
        ),
        (500, json!({"message": "Encountered an error: prompt length 5000 is above max_input_len 4096"})),
        (
            400,
            json!({"error": {"code": 400, "param": "max_tokens", "message": "max_tokens must be at least 1, got -904."}}),
        ),
        (400, json!({"message": "`max_new_tokens` is invalid, received -12"})),
        (424, json!({"error": {"message": "the prompt is too long for the model behind"}})),
        (400, json!({"err": "the document does not fit: 9000 tokens, longer than 8192"})),
    ] {
        assert_eq!(of(status, &body), "too-long", "{status} {body}");
    }
}

#[test]
fn other_limits_do_not_mean_that_a_prompt_is_too_long() {
    for (status, body, expected) in [
        (500, json!({"error": "Maximum number of concurrent requests exceeded the limit"}), "again"),
        (503, json!({"error": {"message": "The request queue length is exceeded", "code": 503}}), "again"),
        (504, json!("upstream request timeout: content exceeded the time"), "again"),
        (500, json!({"error": "CUDA out of memory: tried to allocate more than the context"}), "again"),
        (
            429,
            openai(
                "rate_limit_exceeded",
                "tokens",
                "Rate limit reached on tokens per min (TPM): Limit 30000, Used 29000, Requested 4000.",
            ),
            "again",
        ),
        (
            400,
            json!({"error": {"param": "max_tokens", "message": "max_tokens is too large: 5000. This model supports at most 4096 completion tokens."}}),
            "another --max-tokens",
        ),
        (
            400,
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens: 10000 > 8192, which is the maximum allowed number of output tokens"}}),
            "another --max-tokens",
        ),
        (400, json!({"error": {"message": "max_tokens must be at least 1, got 0."}}), "another --max-tokens"),
        (400, json!({"error": {"message": "too many stop sequences: exceeds 4"}}), "rejected"),
    ] {
        assert_eq!(of(status, &body), expected, "{status} {body}");
    }
}

#[test]
fn per_minute_limits_are_waited_out_and_quota_ends_the_job() {
    let gemini = json!([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED",
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]}}]);
    for (status, body, expected) in [
        (
            429,
            openai(
                "rate_limit_exceeded",
                "requests",
                "Rate limit reached (RPM). Add a payment method at /account/billing.",
            ),
            "again",
        ),
        (429, gemini, "again after 34"),
        (
            429,
            json!({"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day"}}),
            "quota",
        ),
        (429, json!({"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-min."}}), "again"),
        (
            429,
            json!([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "You exceeded your current quota.",
                "details": [{"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}]}}]),
            "quota",
        ),
        (429, json!({"error": {"code": "rate_limit_exceeded", "message": "Your daily limit is reached."}}), "quota"),
        (
            429,
            json!({"error": {"code": "rate_limit_exceeded", "message": "Rate limit reached on requests per day (RPD): Limit 200, Used 200. Please try again in 7m12s."}}),
            "again",
        ),
        (424, json!({"error": "Request failed during generation: x", "error_type": "generation"}), "again"),
        (
            429,
            json!({"error": {"code": "429", "message": "exceeded token rate limit of your current pricing tier. See /quotaincrease"}}),
            "again",
        ),
        (
            429,
            json!({"type": "error", "error": {"type": "rate_limit_error", "message": "exceed your organization's rate limit; billing"}}),
            "again",
        ),
        (
            400,
            json!({"__type": "com.amazon#ThrottlingException", "message": "Too many requests, please wait"}),
            "again",
        ),
        (529, json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}), "again"),
        (200, json!({"error": {"message": "Rate limit exceeded: free models per minute.", "code": 429}}), "again"),
        (200, json!({"error": {"message": "something broke"}}), "again, unsettled"),
        (200, json!({"error": {"type": "overloaded_error", "message": "later"}}), "again, unsettled"),
        (429, openai("insufficient_quota", "insufficient_quota", "You exceeded your current quota."), "quota"),
        (429, json!({"error": {"type": "exceeded_current_quota_error", "message": "suspended"}}), "quota"),
        (429, json!({"error": "Insufficient balance. Please recharge."}), "quota"),
        (
            402,
            json!({"error": {"message": "This request requires more credits, or fewer max_tokens.", "code": 402}}),
            "quota",
        ),
        (200, json!({"error": {"message": "Insufficient credits", "code": 402}}), "quota"),
        (
            400,
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}}),
            "quota",
        ),
    ] {
        assert_eq!(of(status, &body), expected, "{status} {body}");
    }
    let slow = json!({"error": {"message": "slow down"}});
    for (status, headers, expected) in [
        (429, [("retry-after", "7")], "again after 7"),
        (503, [("retry-after-ms", "1500")], "again after 1.5"),
        (403, [("retry-after", "60")], "again after 60"),
        (429, [("retry-after", "1e9")], "long wait"),
        (503, [("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")], "long wait"),
        (429, [("retry-after", "-5")], "again"),
        (429, [("x-should-retry", "false")], "quota"),
        (400, [("x-should-retry", "true")], "again"),
    ] {
        assert_eq!(with_headers(status, &headers, &slow), expected, "{status} {headers:?}");
    }
}

#[test]
fn refusals_that_a_setting_fixes_name_the_setting() {
    let system = "--no-system-role, which puts the instructions into the first user message";
    for (status, body, expected) in [
        (
            400,
            json!({"error": {"code": "unsupported_parameter", "param": "max_tokens", "message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."}}),
            "--max-tokens-name max_completion_tokens",
        ),
        (
            422,
            json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "max_tokens"], "msg": "Extra inputs are not permitted"}]}),
            "--max-tokens-name max_completion_tokens",
        ),
        (
            400,
            json!({"error": {"message": "Unknown name \"max_tokens\": use max_output_tokens"}}),
            "--max-tokens-name max_output_tokens",
        ),
        (
            400,
            json!({"error": {"code": "unsupported_value", "param": "temperature", "message": "'temperature' does not support 0 with this model. Only the default (1) value is supported."}}),
            "--temperature none",
        ),
        (
            422,
            json!({"error": "Input validation error: `temperature` must be strictly positive", "error_type": "validation"}),
            "--temperature none",
        ),
        (400, json!({"message": "temperature is deprecated for this model"}), "--temperature none"),
        (
            400,
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": "`temperature` may only be set to 1 when thinking is enabled."}}),
            "--temperature none",
        ),
        (400, json!({"error": {"message": "temperature can only be 1 for this model"}}), "--temperature none"),
        (400, json!({"error": {"message": "top_k must only be given with beams"}}), "--extra without `top_k`"),
        (400, json!({"object": "error", "message": "System role not supported", "code": 400}), system),
        (
            500,
            json!({"error": {"code": 500, "type": "server_error", "message": "Value is not callable: ... raise_exception('System role not supported')"}}),
            system,
        ),
        (
            422,
            json!({"error": "Template error: syntax error: Conversation roles must alternate user/assistant/user/assistant/...", "error_type": "template_error"}),
            system,
        ),
        (
            400,
            json!([{"error": {"code": 400, "message": "Developer instruction is not enabled for models/gemma-3-27b-it", "status": "INVALID_ARGUMENT"}}]),
            system,
        ),
        (
            400,
            json!({"error": {"param": "messages[0].role", "code": "unsupported_value", "message": "Unsupported value: 'messages[0].role' does not support 'system' with this model."}}),
            system,
        ),
        (400, json!({"error": {"message": "Only user and assistant roles are supported!"}}), system),
        (
            400,
            json!({"error": {"message": "Unrecognized request argument supplied: top_k"}}),
            "--extra without `top_k`",
        ),
        (400, json!({"error": {"message": "response_format json_schema is not supported"}}), "structure"),
        (400, json!({"error": {"message": "vague"}}), "rejected"),
    ] {
        assert_eq!(of(status, &body), expected, "{status} {body}");
    }
}

#[test]
fn keys_models_and_filters_are_distinguished() {
    for (status, body, expected) in [
        (401, json!({"error": {"message": "no"}}), "key"),
        (403, json!({"error": {"message": "no"}}), "key"),
        (200, json!({"error": {"message": "No credentials found.", "code": 401}}), "key"),
        (200, json!({"error": {"type": "authentication_error", "message": "wrong"}}), "key"),
        (
            400,
            json!([{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "details": [{"reason": "API_KEY_INVALID"}]}}]),
            "key",
        ),
        (400, json!([{"error": {"code": 400, "message": "API key expired. Please renew the API key."}}]), "key"),
        (400, json!({"error": {"message": "The API key is invalid"}}), "key"),
        (200, json!({"error": {"message": "Your API key has expired"}}), "key"),
        (404, json!({"error": {"message": "no such model"}}), "model"),
        (400, json!({"error": {"message": "x/y is not a valid model ID", "code": 400}}), "model"),
        (
            400,
            json!({"error": {"code": "content_filter", "message": "m", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
            "filtered",
        ),
        (
            403,
            json!({"error": {"code": 403, "message": "m requires moderation. Your input was flagged for \"violence\"", "metadata": {"reasons": ["violence"]}}}),
            "filtered",
        ),
        (
            400,
            json!({"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."}),
            "filtered",
        ),
        (
            501,
            json!({"error": {"code": 501, "type": "not_supported_error", "message": "not by this server"}}),
            "rejected",
        ),
    ] {
        assert_eq!(of(status, &body), expected, "{status} {body}");
    }
}

#[test]
fn a_field_that_a_server_does_not_know_is_no_failure_to_be_waited_for() {
    // llama-cpp-python 0.3.36.
    let message = "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), \
                   'msg': \"Input should be 'text' or 'json_object'\", 'input': 'json_schema'}";
    let body = json!({"error": {"message": message, "type": "internal_server_error", "param": null, "code": null}});
    assert_eq!(of(500, &body), "structure");
    let other = json!({"error": {"message": "the worker died on response_format", "type": "server_error"}});
    assert_eq!(of(500, &other), "again");
}
