//! The requests of a job, and their answers in the cache.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::body::{Digest, body, digest};
use crate::completion::Completion;
use crate::estimate::most_usage;
use crate::{
    Channel, Endpoint, Job, ModelPrice, Prompt, RemoteError, ResponseCache, Settings, Statistics, StoredAnswer, Usage,
};

/// The prompts of a job with the digests of their requests.
pub(crate) struct Requests<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) prompts: &'a [Prompt],
    pub(crate) settings: &'a Settings,
    pub(crate) price: Option<ModelPrice>,
    /// One for each prompt.
    pub(crate) digests: Vec<Digest>,
    /// The first prompt of each distinct request.
    pub(crate) unique: Vec<usize>,
}

impl<'a> Requests<'a> {
    pub(crate) fn new(job: &Job<'a>) -> Self {
        let &Job { endpoint, prompts, settings, price } = job;
        let digests: Vec<Digest> =
            prompts.iter().map(|prompt| digest(endpoint, &body(endpoint, prompt, settings))).collect();
        let mut seen = HashSet::new();
        let unique = (0..prompts.len()).filter(|&index| seen.insert(digests[index])).collect();
        Self { endpoint, prompts, settings, price, digests, unique }
    }

    /// The request body of a prompt.
    pub(crate) fn body(&self, index: usize) -> serde_json::Value {
        body(self.endpoint, &self.prompts[index], self.settings)
    }

    /// How many of the requests the cache can answer.
    pub(crate) fn answered(&self, cache: &ResponseCache) -> usize {
        self.unique.iter().filter(|&&index| cache.contains(&self.digests[index])).count()
    }

    /// What the answers in the cache cost, plus the most that requests without a reply can have cost.
    pub(crate) fn spent(&self, channel: Channel, cache: &mut ResponseCache) -> Result<f64, RemoteError> {
        let Some(price) = self.price else { return Ok(0.0) };
        let mut spent = 0.0;
        for &index in &self.unique {
            let digest = &self.digests[index];
            if let Some(answer) = cache.get(digest)? {
                spent += price.cost(answer.charged(), answer.channel);
            }
            let unsettled = cache.unsettled(digest);
            if unsettled > 0 {
                spent += f64::from(unsettled) * price.cost(most_usage(&self.body(index), self.settings), channel);
            }
        }
        Ok(spent)
    }

    /// The answers in the cache, with the key redacted: older versions missed it where an endpoint had
    /// written it with escapes.
    pub(crate) fn collect(&self, cache: &mut ResponseCache) -> Result<Vec<Option<StoredAnswer>>, RemoteError> {
        let mut known: HashMap<Digest, Option<StoredAnswer>> = HashMap::new();
        for &index in &self.unique {
            let answer = cache.get(&self.digests[index])?.map(|answer| StoredAnswer {
                text: self.endpoint.redact(answer.text),
                refusal: answer.refusal.map(|refusal| self.endpoint.redact(refusal)),
                ..answer
            });
            known.insert(self.digests[index], answer);
        }
        Ok(self.digests.iter().map(|digest| known[digest].clone()).collect())
    }

    /// Tokens, cost and outcomes.
    pub(crate) fn statistics(&self, answers: &[Option<StoredAnswer>], cache: &ResponseCache) -> Statistics {
        let mut statistics = Statistics::of(answers.iter().flatten(), self.price);
        let unsettled = self.unique.iter().map(|&index| u64::from(cache.unsettled(&self.digests[index])));
        statistics.unsettled = unsettled.sum();
        statistics
    }
}

/// An answer as it is stored, to a request that can have used at most `most`.
pub(crate) fn stored(
    endpoint: &Endpoint,
    digest: &Digest,
    completion: Completion,
    most: Usage,
    channel: Channel,
    latency: Duration,
    attempts: u32,
) -> StoredAnswer {
    let unix_time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    StoredAnswer {
        digest: digest.to_hex().to_string(),
        model: endpoint.model.clone(),
        served_model: completion.served_model,
        outcome: completion.outcome,
        text: completion.text,
        place: completion.place,
        refusal: completion.refusal,
        usage: completion.usage.unwrap_or_default(),
        usage_at_most: completion.usage.is_none().then_some(most),
        channel,
        latency_ms: latency.as_millis() as u64,
        attempts,
        unix_time,
    }
}
