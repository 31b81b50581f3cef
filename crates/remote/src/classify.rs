//! What a reply without an answer means: judged by status, codes and headers first, and by words last.

use std::time::{Duration, SystemTime};

use reqwest::header::HeaderMap;

use crate::api_error::ApiError;
use crate::completion::Completion;
use crate::retry::{LONGEST_WAIT, retry_after, should_retry};
use crate::{RemoteError, ReplyOutcome, SettingFix, Settings, StructureKind, words};

/// The result of one attempt.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// An answer, or an outcome that another attempt would not change.
    Done(Completion),
    /// Ask again.
    Again {
        /// Why there is no answer.
        why: String,
        /// How long the endpoint asks to wait.
        after: Option<Duration>,
        /// Whether the request may have been charged.
        unsettled: bool,
    },
    /// No request of this job can succeed, at least not for a long time.
    Fatal(RemoteError),
}

/// What was requested.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) model: &'a str,
    pub(crate) settings: &'a Settings,
    pub(crate) structure: StructureKind,
}

const CONTEXT_CODES: [&str; 10] = [
    "context_length_exceeded",
    "exceed_context_size_error",
    "context_size_exceeded",
    "context_window_exceeded",
    "model_context_window_exceeded",
    "string_above_max_length",
    "request_too_large",
    "tokens_limit_reached",
    "model_max_prompt_tokens_exceeded",
    "contextwindowexceedederror",
];
const FILTER_CODES: [&str; 8] = [
    "content_filter",
    "content_filtered",
    "content_policy_violation",
    "contentpolicyviolationerror",
    "responsibleaipolicyviolation",
    "data_inspection_failed",
    "datainspectionfailed",
    "prompt_blocked",
];
/// The model's answer does not have the requested form.
const FORM_CODES: [&str; 2] = ["json_validate_failed", "tool_use_failed"];
const QUOTA_CODES: [&str; 13] = [
    "insufficient_quota",
    "insufficient_balance",
    "insufficient_credits",
    "insufficient_funds",
    "insufficient_user_quota",
    "exceeded_current_quota_error",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",
    "credit_balance_too_low",
    "payment_required",
    "arrearage",
    "account_deactivated",
];
const RATE_CODES: [&str; 11] = [
    "rate_limit_exceeded",
    "rate_limit_error",
    "rate_limit_reached",
    "rate_limit_reached_error",
    "rate_limited",
    "ratelimiterror",
    "ratelimitreached",
    "too_many_requests",
    "toomanyrequests",
    "throttlingexception",
    "resource_exhausted",
];
const KEY_CODES: [&str; 8] = [
    "invalid_api_key",
    "api_key_invalid",
    "invalid_authentication_error",
    "authentication_error",
    "authenticationerror",
    "unauthenticated",
    "unauthorized",
    "permission_denied",
];
const MODEL_CODES: [&str; 5] =
    ["model_not_found", "model_not_exist", "notfounderror", "not_found_error", "deploymentnotfound"];
const SERVER_CODES: [&str; 9] = [
    "server_error",
    "internal_server_error",
    "internalservererror",
    "internal_error",
    "overloaded_error",
    "unavailable",
    "unavailable_error",
    "service_unavailable",
    "serviceunavailableerror",
];

/// What an error means; the status may be 200 if the error is inside the reply.
pub(crate) fn classify(asked: Asked, http_status: u16, headers: &HeaderMap, error: &ApiError) -> Attempt {
    let status = if http_status >= 300 { http_status } else { error.status.unwrap_or_else(|| by_codes(error)) };
    let message = error.message.clone();
    let (status_shown, message_shown) = shown(http_status, status, error);
    let done = |outcome| Attempt::Done(Completion::without_text(outcome, message.clone()));
    let quota = || Attempt::Fatal(RemoteError::Quota { status: status_shown, message: message_shown.clone() });
    let key = || Attempt::Fatal(RemoteError::Unauthorised { status: status_shown, message: message_shown.clone() });
    let rejected = || Attempt::Fatal(RemoteError::Rejected { status: status_shown, message: message_shown.clone() });
    let wait = retry_after(headers, error.seconds, SystemTime::now());
    let again = || match wait {
        Some(asked) if asked > LONGEST_WAIT => Attempt::Fatal(RemoteError::LongWait { asked, status }),
        after => Attempt::Again {
            why: format!("the endpoint answered {status_shown}: {message_shown}"),
            after,
            // An error without a status of its own, inside a reply with status 200, may mean that an answer
            // was generated and lost.
            unsettled: http_status < 300 && error.status.is_none(),
        },
    };
    if status == 413 || error.has(&CONTEXT_CODES) || status == 429 && words::larger_than_a_minute(error) {
        return done(ReplyOutcome::TooLong);
    }
    if error.has(&FORM_CODES) || error.failed_generation.is_some() {
        return Attempt::Done(without_the_form(error));
    }
    if error.has(&FILTER_CODES) || status == 451 {
        return done(ReplyOutcome::Filtered);
    }
    if status == 402 || error.has(&QUOTA_CODES) {
        return quota();
    }
    match status {
        429 if should_retry(headers) == Some(false) => quota(),
        // Google's per-minute limits mention plan and billing, so words count only if nothing else is given.
        429 if !error.has_codes() && wait.is_none() && words::out_of_credit(error) => quota(),
        429 if wait.is_none() && should_retry(headers).is_none() && words::used_up_for_today(error) => quota(),
        408 | 409 | 425 | 429 => again(),
        _ if status != 401 && error.has(&RATE_CODES) || should_retry(headers) == Some(true) => again(),
        403 if words::filtered(error) => done(ReplyOutcome::Filtered),
        403 if wait.is_some() => again(),
        401 | 403 => key(),
        404 => unknown_model(asked, message),
        501 => rejected(),
        // Text Generation Inference answers 424 if its model server fails.
        424 | 500..=599 => match refused(asked, status, (status_shown, message_shown.clone()), error) {
            Some(attempt) => attempt,
            None if words::too_long(error) => done(ReplyOutcome::TooLong),
            // llama-cpp-python answers 500 to a field that it does not know.
            None if asked.structure != StructureKind::None && words::invalid_structure(error) => {
                let (asked, accepted) = (asked.structure, Vec::new());
                Attempt::Fatal(RemoteError::UnsupportedStructure { asked, message, accepted })
            }
            None => again(),
        },
        400 | 405 | 406 | 415 | 422 => {
            if words::filtered(error) {
                return done(ReplyOutcome::Filtered);
            }
            if words::too_long(error) {
                return done(ReplyOutcome::TooLong);
            }
            if error.has(&KEY_CODES) || words::unauthorised(error) {
                return key();
            }
            if words::out_of_credit(error) {
                return quota();
            }
            if let Some(attempt) = refused(asked, status, (status_shown, message_shown.clone()), error) {
                return attempt;
            }
            if asked.structure != StructureKind::None && words::about_structure(error) {
                let (asked, accepted) = (asked.structure, Vec::new());
                return Attempt::Fatal(RemoteError::UnsupportedStructure { asked, message, accepted });
            }
            if error.has(&MODEL_CODES) || words::unknown_model(error) {
                return unknown_model(asked, message);
            }
            rejected()
        }
        _ => rejected(),
    }
}

/// The status and message to show. A batch gives no status for a request without a reply; then the
/// status that the error means is shown.
fn shown(http_status: u16, meant: u16, error: &ApiError) -> (u16, String) {
    match (http_status, error.status) {
        (0, _) => (meant, error.message.clone()),
        (200..=299, Some(status)) => (http_status, format!("error {status} inside the reply: {}", error.message)),
        (200, None) => (http_status, format!("an error inside the reply: {}", error.message)),
        _ => (http_status, error.message.clone()),
    }
}

/// What the model wrote instead of the requested form: an answer like any other, and charged like it.
fn without_the_form(error: &ApiError) -> Completion {
    let text = error.failed_generation.clone().unwrap_or_default();
    let at_limit = ["max completion tokens", "max_completion_tokens", "max tokens", "max_tokens"];
    let outcome = match () {
        () if error.says(&at_limit) => ReplyOutcome::Truncated,
        () if text.trim().is_empty() => ReplyOutcome::Empty,
        () => ReplyOutcome::Answered,
    };
    Completion { text, usage: None, refusal: None, ..Completion::without_text(outcome, String::new()) }
}

/// The status that the codes of an error inside a reply with status 200 stand for.
fn by_codes(error: &ApiError) -> u16 {
    let known: [(&[&str], u16); 7] = [
        (&QUOTA_CODES, 402),
        (&RATE_CODES, 429),
        (&KEY_CODES, 401),
        (&MODEL_CODES, 404),
        (&CONTEXT_CODES, 413),
        (&SERVER_CODES, 500),
        (&["invalid_request_error", "invalid_argument", "badrequesterror", "validation"], 400),
    ];
    let by_code = known.iter().find(|(codes, _)| error.has(codes)).map(|(_, status)| *status);
    let by_word = || match () {
        () if words::unauthorised(error) => 401,
        () if words::out_of_credit(error) => 402,
        () => 502,
    };
    by_code.unwrap_or_else(by_word)
}

fn unknown_model(asked: Asked, message: String) -> Attempt {
    Attempt::Fatal(RemoteError::UnknownModel { model: asked.model.to_owned(), message, models: Vec::new() })
}

/// A refusal that a setting can change.
fn refused(asked: Asked, status: u16, shown: (u16, String), error: &ApiError) -> Option<Attempt> {
    let fix = SettingFix::of(asked.settings, error)?;
    // The messages of a failing server mention many things; only the chat template is a reliable cue.
    if (status == 424 || status >= 500) && fix != SettingFix::NoSystemRole {
        return None;
    }
    let (status, message) = shown;
    Some(Attempt::Fatal(RemoteError::Refused { status, message, fix }))
}

#[cfg(test)]
mod tests;
