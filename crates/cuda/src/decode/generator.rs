//! [`Generator`] on a device.

use std::collections::HashMap;
use std::sync::Arc;

use tabpo_engine::{Generator, GeneratorSize, Pick, Picked, Prefix, Prompt, WorkerError};

use super::pages::{Pages, Stored};
use super::{Fed, PASS_ROWS, first_pages};
use crate::buffers::{Buffers, Sizes};
use crate::driver::{Address, DriverError};
use crate::listed::{Growing, Parcel, Rotation};
use crate::ops::{Draw, Head, Norm, PAGE, Picks, Rows};
use crate::pass::{Over, Pass};
use crate::worker::CudaWorker;

/// No token was allowed.
const NONE: u32 = u32::MAX;

/// Live sequences on a device.
pub(crate) struct CudaGenerator<'a> {
    worker: &'a CudaWorker,
    pages: Pages,
    shared: HashMap<Prefix, Stored>,
    live: Vec<Stored>,
    buffers: Buffers,
    /// The token lists of a pass, the results of single pages, hidden states, logits, and what picks need.
    lists: Growing,
    parts: Growing,
    states: Growing,
    logits: Growing,
    picks: Growing,
    rotation: Rotation,
    /// For a prompt whose rotations depend on its length.
    prompt_rotation: Rotation,
    /// Rows of logits of the last pass.
    rows: usize,
}

/// New tokens of one sequence, with the place of the state after the last if it is wanted.
struct Feed<'t> {
    sequence: usize,
    tokens: &'t [u32],
    state: Option<usize>,
}

impl<'a> CudaGenerator<'a> {
    pub(crate) fn new(worker: &'a CudaWorker, size: GeneratorSize) -> Result<Self, WorkerError> {
        let driver = &worker.driver;
        let sizes = worker.sizes(PASS_ROWS, 0);
        let pages = Pages::new(driver, sizes.config, sizes.element, first_pages(size))?;
        Ok(Self {
            worker,
            pages,
            shared: HashMap::new(),
            live: Vec::new(),
            buffers: Buffers::new(driver, &sizes, None)?,
            lists: Growing::default(),
            parts: Growing::default(),
            states: Growing::default(),
            logits: Growing::default(),
            picks: Growing::default(),
            rotation: Rotation::default(),
            prompt_rotation: Rotation::default(),
            rows: 0,
        })
    }

    fn sizes(&self) -> Sizes<'a> {
        self.worker.sizes(PASS_ROWS, 0)
    }

    /// The streams of the rows whose states are wanted, `count` of them, and what the head makes of them: the streams,
    /// normalised ones, and inverse root mean squares.
    fn state_places(&mut self, count: usize) -> Result<[Address; 3], DriverError> {
        let sizes = self.sizes();
        let matrix = (count * sizes.config.hidden * sizes.element.bytes()).next_multiple_of(256) as u64;
        let start = self.states.take(&self.worker.driver, 2 * matrix + count as u64 * 4)?;
        Ok([start, start.offset(matrix), start.offset(2 * matrix)])
    }

    /// Computes new tokens of sequences, at most [`PASS_ROWS`], and copies the streams whose states are wanted.
    fn pass(
        &mut self,
        sequences: &mut [Stored],
        feeds: &[Feed<'_>],
        length: Option<usize>,
        states: Address,
    ) -> Result<(), DriverError> {
        if feeds.is_empty() {
            return Ok(());
        }
        let sizes = self.sizes();
        let (driver, config) = (Arc::clone(&self.worker.driver), sizes.config);
        let (mut tokens, mut positions, mut slots, mut lengths) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut of_row, mut wanted) = (Vec::new(), Vec::new());
        for feed in feeds {
            let stored = &mut sequences[feed.sequence];
            for &token in feed.tokens {
                positions.push(stored.length as u32);
                slots.push(self.pages.next(stored)?);
                lengths.push(stored.length as u32);
                tokens.push(token);
                of_row.push(feed.sequence);
            }
            wanted.extend(feed.state.map(|place| (place, tokens.len() as u32 - 1)));
        }
        let most = lengths.iter().max().map_or(1, |&length| length as usize);
        let most_pages = most.div_ceil(PAGE as usize);
        let mut table = vec![0; of_row.len() * most_pages];
        for (row, &sequence) in table.chunks_exact_mut(most_pages).zip(&of_row) {
            let pages = &sequences[sequence].pages;
            // A row sees no page after that of its own position.
            let count = pages.len().min(most_pages);
            row[..count].copy_from_slice(&pages[..count]);
        }
        let mut parcel = Parcel::default();
        let parts = [&tokens, &positions, &slots, &lengths, &table].map(|values| parcel.indices(values));
        let rows_wanted: Vec<u32> = wanted.iter().map(|&(_, row)| row).collect();
        let rows_wanted = parcel.indices(&rows_wanted);
        let start = self.lists.take(&driver, parcel.bytes().len() as u64)?;
        driver.upload(start, parcel.bytes())?;
        let [tokens_at, positions, slots, lengths, table] = parts.map(|part| part.at(start));
        let mut fed = Fed {
            rows: tokens.len() as u32,
            tokens: tokens_at,
            positions,
            slots,
            table,
            lengths,
            most_pages: most_pages as u32,
            caches: (0..config.layers).map(|layer| self.pages.cache(layer)).collect(),
            room: [start; 2],
        };
        let (of_parts, of_stats) = fed.attention(config, 0).room();
        let of_parts = of_parts.next_multiple_of(256);
        let room = self.parts.take(&driver, of_parts + of_stats)?;
        fed.room = [room, room.offset(of_parts)];
        let rotation = match length {
            Some(length) => self.prompt_rotation.cover(&driver, config, length, false)?,
            None => self.rotation.cover(&driver, config, most, true)?,
        };
        let pass = Pass {
            kernels: self.worker.kernels(),
            config,
            sizes,
            weights: self.worker.weights(),
            adapter: self.worker.adapter(),
            buffers: &self.buffers,
            over: Over::Cache(&fed),
            rotation,
            dropout_seed: None,
        };
        pass.forward()?;
        // Places of one pass follow each other.
        let Some(&(first, _)) = wanted.first() else { return Ok(()) };
        let target = states.offset((first * config.hidden * sizes.element.bytes()) as u64);
        let head =
            Head { rows: wanted.len() as u32, vocabulary: config.vocabulary as u32, bounds: start, tokens: start };
        head.gather(pass.kernels, pass.stream(config.layers), rows_wanted.at(start), config.hidden as u32, target)
    }

    /// The logits of the streams that passes left.
    fn compute_logits(&mut self, count: usize, [stream, normed, inverse]: [Address; 3]) -> Result<(), DriverError> {
        let sizes = self.sizes();
        let (kernels, weights) = (self.worker.kernels(), self.worker.weights());
        let norm = Norm {
            rows: count as u32,
            width: sizes.config.hidden as u32,
            epsilon: sizes.config.rms_epsilon as f32,
            scale: weights.vector(weights.layout.vectors.norm),
        };
        let normed = Rows { address: normed, stride: norm.width };
        norm.forward(kernels, stream, inverse, normed)?;
        let stride = sizes.logit_stride();
        let logits = self.logits.take(&self.worker.driver, (count * stride * 4) as u64)?;
        self.rows = count;
        weights.head().logits(kernels, normed, norm.rows, Rows { address: logits, stride: stride as u32 })
    }

    /// Appends the tokens of sequences, each sequence's in order, in passes.
    fn feed(&mut self, sequences: &mut [Stored], tokens: &[&[u32]]) -> Result<(), DriverError> {
        let places = self.state_places(tokens.len())?;
        let mut feeds: Vec<Feed<'_>> = Vec::new();
        let mut space = PASS_ROWS;
        for (index, tokens) in tokens.iter().enumerate() {
            let length = sequences[index].length + tokens.len();
            // If rotations depend on the length of the prompt, it has a table of its own.
            let own_table = (tokens.len() > 1 && self.sizes().config.rope_depends_on(length)).then_some(length);
            if own_table.is_some() {
                self.pass(sequences, &feeds, None, places[0])?;
                (feeds, space) = (Vec::new(), PASS_ROWS);
            }
            let mut rest = *tokens;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(space));
                feeds.push(Feed { sequence: index, tokens: now, state: later.is_empty().then_some(index) });
                (rest, space) = (later, space - now.len());
                if space == 0 || own_table.is_some() {
                    self.pass(sequences, &feeds, own_table, places[0])?;
                    (feeds, space) = (Vec::new(), PASS_ROWS);
                }
            }
        }
        self.pass(sequences, &feeds, None, places[0])?;
        self.compute_logits(tokens.len(), places)
    }

    /// Chooses the tokens of some picks, which have the same sampling.
    fn choose_alike(&mut self, picks: &[&Pick<'_>]) -> Result<Vec<Picked>, WorkerError> {
        let sizes = self.sizes();
        let vocabulary = sizes.config.vocabulary;
        let words = vocabulary.div_ceil(32);
        let sampling = picks[0].sampling;
        let mut parcel = Parcel::default();
        let rows = parcel.put(picks.iter().map(|pick| (pick.row as u32).to_le_bytes()));
        let masks = picks.iter().any(|pick| pick.allowed.is_some()).then(|| {
            let word = |pick: &Pick<'_>, index: usize| {
                pick.allowed.map_or(u32::MAX, |words| words.get(index).copied().unwrap_or(0)).to_le_bytes()
            };
            parcel.put(picks.iter().flat_map(|pick| (0..words).map(move |index| word(pick, index))))
        });
        let drawn = sampling.temperature > 0.0;
        let draw = |pick: &&Pick<'_>| if drawn { sampling.draw(pick.request, pick.step) } else { 0.0 };
        let draws = parcel.put(picks.iter().map(|pick| draw(pick).to_le_bytes()));
        let log_probs = parcel.put(std::iter::repeat_n([0; 8], picks.len()));
        let tokens = parcel.put(std::iter::repeat_n([0; 4], picks.len()));
        let driver = &self.worker.driver;
        let start = self.picks.take(driver, parcel.bytes().len() as u64)?;
        driver.upload(start, parcel.bytes())?;
        let stride = sizes.logit_stride();
        let logits = self.logits.take(driver, (self.rows * stride * 4) as u64)?;
        let of_picks = Picks {
            count: picks.len() as u32,
            logits: Rows { address: logits, stride: stride as u32 },
            vocabulary: vocabulary as u32,
            rows: rows.at(start),
            masks: masks.map(|part| part.at(start)),
        };
        let draw = drawn.then(|| Draw {
            temperature: sampling.temperature as f32,
            top_p: sampling.top_p as f32,
            draws: draws.at(start),
        });
        let (tokens, log_probs) = (tokens.at(start), log_probs.at(start));
        of_picks.choose(self.worker.kernels(), draw, tokens, log_probs)?;
        let (mut of_tokens, mut of_log_probs) = (vec![0; picks.len() * 4], vec![0; picks.len() * 8]);
        driver.download(tokens, &mut of_tokens)?;
        driver.download(log_probs, &mut of_log_probs)?;
        let chosen = of_tokens.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes));
        let log_probs = of_log_probs.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes));
        let picked = |(pick, (token, log_prob)): (&&Pick<'_>, (u32, f64))| match token {
            NONE => Ok(Picked { token: None, log_prob: 0.0 }),
            _ if !log_prob.is_finite() => Err(WorkerError::NotFinite { row: pick.row }),
            _ => Ok(Picked { token: Some(token), log_prob: if pick.log_prob { log_prob } else { 0.0 } }),
        };
        picks.iter().zip(chosen.zip(log_probs)).map(picked).collect()
    }
}

impl Generator for CudaGenerator<'_> {
    fn share(&mut self, name: Prefix, above: Option<Prefix>, tokens: &[u32]) -> Result<(), WorkerError> {
        let mut stored = [self.pages.continued(above.map(|name| &self.shared[&name]))?];
        for tokens in tokens.chunks(PASS_ROWS) {
            let feed = Feed { sequence: 0, tokens, state: None };
            // No state is wanted.
            self.pass(&mut stored, &[feed], None, Address(0))?;
        }
        let [stored] = stored;
        self.shared.insert(name, stored);
        Ok(())
    }

    fn release(&mut self, name: Prefix) {
        if let Some(stored) = self.shared.remove(&name) {
            self.pages.release(&stored);
        }
    }

    fn prefill(&mut self, prompts: &[Prompt<'_>]) -> Result<(), WorkerError> {
        let mut sequences = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            sequences.push(self.pages.continued(prompt.after.map(|name| &self.shared[&name]))?);
        }
        let tokens: Vec<&[u32]> = prompts.iter().map(|prompt| prompt.tokens).collect();
        self.feed(&mut sequences, &tokens)?;
        self.live.extend(sequences);
        Ok(())
    }

    fn step(&mut self, tokens: &[u32]) -> Result<(), WorkerError> {
        assert_eq!(tokens.len(), self.live.len(), "one token per live sequence");
        let mut sequences = std::mem::take(&mut self.live);
        let tokens: Vec<&[u32]> = tokens.chunks(1).collect();
        let result = self.feed(&mut sequences, &tokens);
        self.live = sequences;
        Ok(result?)
    }

    fn choose(&mut self, picks: &[Pick<'_>]) -> Result<Vec<Picked>, WorkerError> {
        let mut all: Vec<Option<Picked>> = vec![None; picks.len()];
        while let Some(first) = all.iter().position(Option::is_none) {
            let alike: Vec<usize> = (first..picks.len())
                .filter(|&at| all[at].is_none() && picks[at].sampling == picks[first].sampling)
                .collect();
            let of_alike: Vec<&Pick<'_>> = alike.iter().map(|&at| &picks[at]).collect();
            for (at, picked) in alike.into_iter().zip(self.choose_alike(&of_alike)?) {
                all[at] = Some(picked);
            }
        }
        Ok(all.into_iter().map(|picked| picked.expect("every pick was made")).collect())
    }

    fn logits(&mut self, places: &[(usize, u32)]) -> Result<Vec<f64>, WorkerError> {
        let stride = self.sizes().logit_stride();
        let driver = &self.worker.driver;
        let logits = self.logits.take(driver, (self.rows * stride * 4) as u64)?;
        let logit = |&(row, token): &(usize, u32)| {
            let mut bytes = [0; 4];
            driver.download(logits.offset(((row * stride + token as usize) * 4) as u64), &mut bytes)?;
            Ok(f64::from(f32::from_le_bytes(bytes)))
        };
        places.iter().map(logit).collect()
    }

    fn retain(&mut self, keep: &[bool]) {
        assert_eq!(keep.len(), self.live.len(), "one decision per live sequence");
        let mut keep = keep.iter();
        let pages = &mut self.pages;
        self.live.retain(|stored| {
            let kept = *keep.next().expect("one decision per live sequence");
            if !kept {
                pages.release(stored);
            }
            kept
        });
    }
}
