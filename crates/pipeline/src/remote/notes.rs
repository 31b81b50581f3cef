//! What users should know about the answers of an endpoint.

use tabpo_remote::{ReplyOutcome, Settings, Statistics, StoredAnswer};

/// Counts of answers that were not where they were expected, with names for tables, without those that are 0.
pub fn rows(statistics: &Statistics) -> impl Iterator<Item = (String, u64)> {
    [
        ("JSON inside other text", statistics.wrapped),
        ("taken out of other text", statistics.unwrapped),
        ("in a tool call", statistics.in_tool_call),
        ("in the reasoning", statistics.in_reasoning),
        ("reasoning alone", statistics.only_reasoning),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .map(|(name, count)| (name.to_owned(), count))
}

/// Warnings about the answers to a job. Each names the option that would help, or the key of `[predict.remote.NAME]` if
/// that is where the settings come from.
pub(crate) fn notes(
    statistics: &Statistics,
    answers: &[Option<StoredAnswer>],
    settings: &Settings,
    section: Option<&str>,
) -> Vec<String> {
    let of = |count: u64| format!("{count} of {}", statistics.prompts);
    let setting = |option: &str, key: &str| match section {
        Some(name) => format!("{key} in [predict.remote.{name}]"),
        None => option.to_owned(),
    };
    let mut notes = Vec::new();
    if statistics.wrapped > 0 {
        notes.push(format!(
            "{} answers hold one JSON object inside other text (a code fence, talk, thinking), and score as invalid; \
             {} takes it out, without asking again",
            of(statistics.wrapped),
            setting("--unwrap", "unwrap = true")
        ));
    }
    if statistics.unwrapped > 0 {
        notes.push(format!("{} answers were taken out of the text around them", of(statistics.unwrapped)));
    }
    if statistics.in_tool_call > 0 {
        notes.push(format!(
            "{} answers stood in the arguments of a tool call and were taken from there",
            of(statistics.in_tool_call)
        ));
    }
    if statistics.in_reasoning > 0 {
        notes.push(format!(
            "{} answers stood in the field for the model's reasoning (such as `reasoning_content`) and were taken \
             from there",
            of(statistics.in_reasoning)
        ));
    }
    if statistics.only_reasoning > 0 {
        notes.push(format!(
            "{} replies hold reasoning and no answer: leave room for it with a larger {}, or turn the reasoning \
             down with {}, for example {{\"reasoning_effort\": \"low\"}} or \
             {{\"chat_template_kwargs\": {{\"enable_thinking\": false}}}}",
            of(statistics.only_reasoning),
            setting("--max-tokens", "max_tokens"),
            setting("--extra", "extra")
        ));
    }
    if let Some(&count) = statistics.outcomes.get(&ReplyOutcome::TooLong) {
        let too_long = answers.iter().flatten().find(|answer| answer.outcome == ReplyOutcome::TooLong);
        let message = too_long.and_then(|answer| answer.refusal.as_deref()).unwrap_or("no message");
        notes.push(format!("{} prompts do not fit into the model's context; the endpoint says: {message}", of(count)));
    }
    if statistics.without_usage > 0 {
        let counts = if settings.prices.is_some() {
            "each counts with the most that it can have cost"
        } else {
            "their tokens are unknown"
        };
        notes.push(format!("{} replies do not say what they used: {counts}", statistics.without_usage));
    }
    notes
}
