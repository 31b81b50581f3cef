//! Tokens that an endpoint charges.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Tokens of one call or of many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens, including cached ones.
    pub prompt: u64,
    /// Prompt tokens that the provider had cached.
    pub cached: u64,
    /// Completion tokens, including hidden reasoning.
    pub completion: u64,
}

/// Endpoints add to prompts (their own instructions, search results), but a plausible number of tokens is
/// at most this, or in proportion to the request.
const PLAUSIBLE: u64 = 1_000_000;
/// The largest plausible proportion.
const MANY_TIMES: u64 = 100;

impl Usage {
    /// The usage stated in a reply; `None` if there is none or it is impossible: no prompt tokens, no
    /// tokens for a text, a negative number, or far more than the `most` that the request can use.
    pub(crate) fn of(reply: &Value, has_text: bool, most: Self) -> Option<Self> {
        let usage = reply.get("usage")?;
        let tokens = |names: &[&str]| names.iter().find_map(|name| usage.get(name)).and_then(whole);
        let prompt = tokens(&["prompt_tokens", "input_tokens"])?;
        let total = || tokens(&["total_tokens"]).and_then(|total| total.checked_sub(prompt));
        let completion = tokens(&["completion_tokens", "output_tokens"]).or_else(total)?;
        let details = ["prompt_tokens_details", "input_tokens_details"];
        let details = details.iter().find_map(|name| usage.get(name)).and_then(|details| details.get("cached_tokens"));
        let plausible = |tokens: u64, most: u64| tokens <= most.saturating_mul(MANY_TIMES).max(PLAUSIBLE);
        let possible = prompt > 0
            && (completion > 0 || !has_text)
            && plausible(prompt, most.prompt)
            && plausible(completion, most.completion);
        let cached = details.and_then(whole).unwrap_or(0).min(prompt);
        possible.then_some(Self { prompt, cached, completion })
    }
}

/// A number of tokens, which may be written as `12.0` or `"12"`.
fn whole(value: &Value) -> Option<u64> {
    let float = || value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..1e15).contains(number));
    let text = || value.as_str().and_then(|text| text.trim().parse().ok());
    value.as_u64().or_else(|| float().map(|number| number as u64)).or_else(text)
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.prompt = self.prompt.saturating_add(other.prompt);
        self.cached = self.cached.saturating_add(other.cached);
        self.completion = self.completion.saturating_add(other.completion);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MOST: Usage = Usage { prompt: 2000, cached: 0, completion: 512 };

    fn of(usage: &Value) -> Option<(u64, u64, u64)> {
        let usage = Usage::of(&json!({"usage": usage}), true, MOST)?;
        Some((usage.prompt, usage.cached, usage.completion))
    }

    #[test]
    fn every_notation_is_read() {
        assert_eq!(of(&json!({"prompt_tokens": 9, "completion_tokens": 2})), Some((9, 0, 2)));
        assert_eq!(of(&json!({"input_tokens": 9, "output_tokens": "2"})), Some((9, 0, 2)));
        assert_eq!(of(&json!({"prompt_tokens": 9.0, "total_tokens": 15})), Some((9, 0, 6)));
        let details =
            json!({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 99}});
        assert_eq!(of(&details), Some((9, 9, 2)));
        assert_eq!(of(&json!({"prompt_tokens": 60_000, "completion_tokens": 2000})), Some((60_000, 0, 2000)));
    }

    #[test]
    fn impossible_usage_is_ignored() {
        for usage in [
            json!(null),
            json!({}),
            json!({"prompt_tokens": 0, "completion_tokens": 0}),
            json!({"prompt_tokens": null, "completion_tokens": null}),
            json!({"prompt_tokens": 9}),
            json!({"prompt_tokens": 9, "completion_tokens": 0}),
            json!({"prompt_tokens": -9, "completion_tokens": 2}),
            json!({"prompt_tokens": 9, "completion_tokens": 1e18}),
            json!({"prompt_tokens": 1_000_000_000_000_u64, "completion_tokens": 2}),
            json!({"prompt_tokens": "many", "completion_tokens": 2}),
        ] {
            assert_eq!(of(&usage), None, "{usage}");
        }
        assert_eq!(Usage::of(&json!({"choices": []}), true, MOST), None);
        let empty = json!({"usage": {"prompt_tokens": 9, "completion_tokens": 0}});
        assert!(Usage::of(&empty, false, MOST).is_some());
    }
}
