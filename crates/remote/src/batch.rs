//! The batch API: upload, create, poll, download.
//!
//! A batch is noted in the cache directory as soon as it exists. A job that was stopped while waiting
//! resumes waiting for the same batch and never pays for a second one.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::multipart::{Form, Part};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::body::Digest;
use crate::call::{Caller, Reply};
use crate::classify::Attempt;
use crate::estimate::most_usage;
use crate::extract::{Asked, runtime};
use crate::records::RecordFile;
use crate::requests::{Requests, stored};
use crate::{Channel, Progress, RemoteError, ResponseCache, StructureKind};

/// Most requests that providers accept in one batch.
const MOST_REQUESTS: usize = 50_000;
/// Most bytes that they accept.
const MOST_BYTES: usize = 90 << 20;

/// Collects the batches under way and creates new ones for the other requests.
pub(crate) fn run(
    requests: &Requests,
    reused: usize,
    cache: &mut ResponseCache,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Asked, RemoteError> {
    let caller = Caller::new(requests.endpoint, requests.settings, stop)?;
    let notes = RecordFile::open(&cache.directory().join("batches.jsonl"))?;
    let mut batches =
        Batches { requests, caller: &caller, cache, notes, stop, progress, reused, last_failure: String::new() };
    let within_budget = match runtime()?.block_on(batches.run()) {
        Err(RemoteError::Stopped) => true,
        other => other?,
    };
    Ok(Asked { retries: 0, budget_reached: !within_budget, last_failure: batches.last_failure })
}

/// A record of the file of batches.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    base: String,
    id: String,
    /// The requests in it; empty once its results have been collected.
    digests: Vec<String>,
}

/// The beginning of every note.
const NOTE_START: &[u8] = b"{\"base\":";

struct Batches<'a> {
    requests: &'a Requests<'a>,
    caller: &'a Caller<'a>,
    cache: &'a mut ResponseCache,
    notes: RecordFile,
    stop: &'a AtomicBool,
    progress: &'a mut dyn FnMut(Progress),
    reused: usize,
    last_failure: String,
}

impl Batches<'_> {
    /// Collects batches under way and creates new ones; false if those could exceed the budget.
    async fn run(&mut self) -> Result<bool, RemoteError> {
        self.report();
        let mut pending = self.pending()?;
        let under_way: HashSet<String> = pending.iter().flat_map(|note| note.digests.clone()).collect();
        let open: Vec<usize> =
            self.requests.unique.iter().copied().filter(|&index| self.is_open(index, &under_way)).collect();
        let within = self.affordable(&open)?;
        if within {
            for chunk in self.chunks(&open) {
                if self.stop.load(Ordering::SeqCst) {
                    break;
                }
                pending.push(self.create(&chunk).await?);
            }
        }
        for note in pending {
            if !self.collect(&note).await? {
                break;
            }
            self.report();
        }
        Ok(within)
    }

    fn is_open(&self, index: usize, under_way: &HashSet<String>) -> bool {
        let digest = &self.requests.digests[index];
        !self.cache.contains(digest) && !under_way.contains(digest.to_hex().as_str())
    }

    fn affordable(&mut self, open: &[usize]) -> Result<bool, RemoteError> {
        let (Some(price), Some(limit)) = (self.requests.price, self.requests.settings.budget) else { return Ok(true) };
        let most =
            |&index: &usize| price.cost(most_usage(&self.requests.body(index), self.requests.settings), Channel::Batch);
        let most: f64 = open.iter().map(most).sum();
        Ok(open.is_empty() || self.requests.spent(Channel::Batch, self.cache)? + most <= limit)
    }

    /// The requests as files of a size that providers accept.
    fn chunks(&self, open: &[usize]) -> Vec<Chunk> {
        let mut chunks: Vec<Chunk> = Vec::new();
        for &index in open {
            let digest = self.requests.digests[index].to_hex().to_string();
            let request = json!({"custom_id": digest, "method": "POST", "url": "/v1/chat/completions", "body": self.requests.body(index)});
            let line = format!("{request}\n");
            match chunks.last_mut() {
                Some(chunk) if chunk.digests.len() < MOST_REQUESTS && chunk.lines.len() + line.len() <= MOST_BYTES => {
                    chunk.lines.push_str(&line);
                    chunk.digests.push(digest);
                }
                _ => chunks.push(Chunk { lines: line, digests: vec![digest] }),
            }
        }
        chunks
    }

    async fn create(&mut self, chunk: &Chunk) -> Result<Note, RemoteError> {
        let uploaded = self
            .caller
            .reliable("upload", || {
                let part = Part::text(chunk.lines.clone()).file_name("requests.jsonl");
                self.caller.post("files").multipart(Form::new().text("purpose", "batch").part("file", part))
            })
            .await?;
        let file = id_of(&uploaded, "the uploaded file")?;
        let key = blake3::hash(chunk.lines.as_bytes()).to_hex();
        let body = json!({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"});
        let created = self
            .caller
            .reliable("create", || self.caller.post("batches").header("idempotency-key", key.as_str()).json(&body))
            .await?;
        let note = Note {
            base: self.requests.endpoint.base().to_owned(),
            id: id_of(&created, "the batch")?,
            digests: chunk.digests.clone(),
        };
        self.write_note(&note)?;
        Ok(note)
    }

    /// Waits for a batch and stores its answers; false if the user asked to stop.
    async fn collect(&mut self, note: &Note) -> Result<bool, RemoteError> {
        let waiting_since = Instant::now();
        let batch = loop {
            let reply = self.caller.reliable("poll", || self.caller.get(&format!("batches/{}", note.id))).await?;
            let batch = reply.value().clone();
            match batch["status"].as_str().unwrap_or_default() {
                "completed" | "expired" | "cancelled" => break batch,
                "failed" => {
                    self.write_note(&Note { digests: Vec::new(), ..note.clone() })?;
                    let message =
                        batch.pointer("/errors/data/0/message").and_then(Value::as_str).unwrap_or("no message");
                    return Err(RemoteError::Batch {
                        id: note.id.clone(),
                        status: "failed".into(),
                        message: message.to_owned(),
                    });
                }
                _ => {}
            }
            if !self.sleep().await {
                return Ok(false);
            }
        };
        for name in ["output_file_id", "error_file_id"] {
            let Some(file) = batch[name].as_str() else { continue };
            let reply = self.caller.reliable("download", || self.caller.get(&format!("files/{file}/content"))).await?;
            self.keep(&reply, note, waiting_since.elapsed())?;
        }
        self.cache.sync()?;
        self.write_note(&Note { digests: Vec::new(), ..note.clone() })?;
        Ok(true)
    }

    /// Stores the results of a file; requests without an answer stay open.
    fn keep(&mut self, reply: &Reply, note: &Note, latency: Duration) -> Result<(), RemoteError> {
        let known: HashSet<&str> = note.digests.iter().map(String::as_str).collect();
        let requests = self.requests;
        let places: HashMap<Digest, usize> =
            requests.unique.iter().map(|&index| (requests.digests[index], index)).collect();
        for result in self.caller.json_lines(reply) {
            let Some(name) = result["custom_id"].as_str().filter(|name| known.contains(name)) else { continue };
            let Ok(digest) = Digest::from_hex(name) else { continue };
            let status = result.pointer("/response/status_code").and_then(Value::as_u64).unwrap_or(0) as u16;
            let body = result.pointer("/response/body").unwrap_or(&result["error"]);
            // A batch may also contain requests of another job, whose bodies are not known here.
            let most = places
                .get(&digest)
                .map(|&index| most_usage(&requests.body(index), requests.settings))
                .unwrap_or_default();
            let attempt = match self.caller.read(status, &HeaderMap::new(), body, StructureKind::None, most) {
                Ok(Attempt::Done(completion)) => Ok(completion),
                Ok(Attempt::Again { why, .. }) | Err(why) => Err(why),
                Ok(Attempt::Fatal(error)) => Err(error.to_string()),
            };
            match attempt {
                Ok(completion) => {
                    let answer = stored(requests.endpoint, &digest, completion, most, Channel::Batch, latency, 1);
                    self.cache.put(digest, &answer)?;
                }
                Err(why) => self.last_failure = why,
            }
        }
        Ok(())
    }

    async fn sleep(&self) -> bool {
        self.caller.sleep_until(Instant::now() + Duration::from_secs_f64(self.requests.settings.poll_seconds)).await
    }

    /// Batches of this endpoint with requests of this job that have not been collected. The requests of a
    /// damaged note are sent again.
    fn pending(&mut self) -> Result<Vec<Note>, RemoteError> {
        let mut notes: Vec<Note> = Vec::new();
        self.notes.read_all(NOTE_START, |note: Note, _| {
            notes.retain(|other| other.id != note.id);
            notes.push(note);
        })?;
        self.cache.note_damage(self.notes.damage().cloned());
        let own: HashSet<String> = self.requests.digests.iter().map(|digest| digest.to_hex().to_string()).collect();
        let base = self.requests.endpoint.base();
        notes.retain(|note| note.base == base && note.digests.iter().any(|digest| own.contains(digest)));
        Ok(notes)
    }

    fn write_note(&mut self, note: &Note) -> Result<(), RemoteError> {
        self.notes.append(note)?;
        self.notes.sync()
    }

    fn report(&mut self) {
        let done = self.requests.answered(self.cache);
        let total = self.requests.unique.len();
        (self.progress)(Progress { done, total, reused: self.reused, retries: 0, cost: None, pause: None });
    }
}

struct Chunk {
    lines: String,
    digests: Vec<String>,
}

fn id_of(reply: &Reply, of: &str) -> Result<String, RemoteError> {
    let message = || RemoteError::Rejected { status: 200, message: format!("the reply has no id for {of}") };
    reply.value()["id"].as_str().map(str::to_owned).ok_or_else(message)
}
