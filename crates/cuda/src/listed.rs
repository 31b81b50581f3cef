//! A job's numbers on a device: tokens, mask, targets, and room for what comes back.

use std::sync::Arc;

use tabpo_engine::{Batch, RopeTable, Target};
use tabpo_model::ModelConfig;

use crate::arena::{ALIGNMENT, Arena};
use crate::driver::{Address, Driver, DriverError};
use crate::ops::TileLists;
use crate::plan::{ByToken, Plan, PlanError, TILE, Targets, Tiles};

/// Memory that grows with the largest job and is kept.
#[derive(Default)]
pub(crate) struct Growing(Option<Arena>);

impl Growing {
    /// The first of at least `bytes` bytes. What was there before is lost if the memory has to grow.
    pub(crate) fn take(&mut self, driver: &Arc<dyn Driver>, bytes: u64) -> Result<Address, DriverError> {
        match &self.0 {
            Some(arena) if arena.bytes() >= bytes => Ok(arena.start()),
            _ => {
                // Given back first, so that the old and the new memory never exist together.
                self.0 = None;
                let arena = Arena::new(driver, bytes.next_power_of_two())?;
                let start = arena.start();
                self.0 = Some(arena);
                Ok(start)
            }
        }
    }
}

/// Bytes that are put together on the host and copied at once.
#[derive(Default)]
pub(crate) struct Parcel {
    bytes: Vec<u8>,
}

/// A part of a parcel, in bytes from its beginning.
#[derive(Clone, Copy)]
pub(crate) struct Part(usize);

impl Part {
    pub(crate) fn at(self, start: Address) -> Address {
        start.offset(self.0 as u64)
    }
}

impl Parcel {
    pub(crate) fn put<const N: usize>(&mut self, values: impl Iterator<Item = [u8; N]>) -> Part {
        let start = self.bytes.len().next_multiple_of(ALIGNMENT as usize);
        self.bytes.resize(start, 0);
        self.bytes.extend(values.flatten());
        Part(start)
    }

    pub(crate) fn indices(&mut self, values: &[u32]) -> Part {
        self.put(values.iter().map(|value| value.to_le_bytes()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn tiles(&mut self, tiles: &Tiles) -> [Part; 2] {
        [self.indices(&tiles.bounds), self.indices(&tiles.list)]
    }
}

/// The tiles of attention for layers with one window.
#[derive(Clone, Copy)]
struct Window {
    size: Option<usize>,
    by_query: TileLists,
    by_key: TileLists,
}

/// A job on a device.
pub(crate) struct Listed {
    pub(crate) plan: Plan,
    pub(crate) targets: Targets,
    pub(crate) tokens: Address,
    pub(crate) positions: Address,
    pub(crate) ends: Address,
    /// The batch's row at every place.
    pub(crate) batch_rows: Address,
    windows: Vec<Window>,
    pub(crate) target_places: Address,
    pub(crate) target_slots: Address,
    pub(crate) target_bounds: Address,
    pub(crate) target_tokens: Address,
    /// Log-probabilities of the targets in double precision, and dL/d(log-probability) in single precision; both in the
    /// order of [`Targets`].
    pub(crate) log_probs: Address,
    pub(crate) seeds: Address,
    by_token: Option<(u32, [Address; 3])>,
}

impl Listed {
    /// Puts a job on a device; `full` says whether the gradient of the embeddings is wanted.
    pub(crate) fn new(
        driver: &Arc<dyn Driver>,
        memory: &mut Growing,
        config: &ModelConfig,
        batch: &Batch,
        targets: &[Target],
        full: bool,
    ) -> Result<Self, ListError> {
        let tokens = batch.tokens.iter().copied().chain(targets.iter().map(|target| target.token));
        if let Some(token) = tokens.into_iter().find(|&token| token as usize >= config.vocabulary) {
            return Err(ListError::Token { token, vocabulary: config.vocabulary });
        }
        let plan = Plan::new(batch)?;
        let targets = plan.targets(targets)?;
        let mut parcel = Parcel::default();
        let [tokens, positions, ends, batch_rows] =
            [&plan.tokens, &plan.positions, &plan.ends, &plan.rows].map(|values| parcel.indices(values));
        let mut lists: Vec<(Option<usize>, [[Part; 2]; 2])> = Vec::new();
        for window in (0..config.layers).map(|layer| config.window(layer)) {
            if lists.iter().all(|(known, _)| *known != window) {
                let (by_query, by_key) = plan.tiles(window.map(|window| window as u32));
                lists.push((window, [parcel.tiles(&by_query), parcel.tiles(&by_key)]));
            }
        }
        let of_targets =
            [&targets.places, &targets.slots, &targets.bounds, &targets.tokens].map(|values| parcel.indices(values));
        let by_token = full.then(|| {
            let ByToken { tokens, bounds, places } = plan.by_token();
            (tokens.len() as u32, [&tokens, &bounds, &places].map(|values| parcel.indices(values)))
        });
        let count = targets.tokens.len();
        let log_probs = parcel.put(std::iter::repeat_n([0; 8], count));
        let seeds = parcel.put(std::iter::repeat_n([0; 4], count));
        let start = memory.take(driver, parcel.bytes().len() as u64)?;
        driver.upload(start, parcel.bytes())?;
        let list = |[bounds, list]: [Part; 2]| TileLists { bounds: bounds.at(start), list: list.at(start) };
        let windows = lists.into_iter().map(|(size, [by_query, by_key])| Window {
            size,
            by_query: list(by_query),
            by_key: list(by_key),
        });
        let [target_places, target_slots, target_bounds, target_tokens] = of_targets.map(|part| part.at(start));
        Ok(Self {
            tokens: tokens.at(start),
            positions: positions.at(start),
            ends: ends.at(start),
            batch_rows: batch_rows.at(start),
            windows: windows.collect(),
            target_places,
            target_slots,
            target_bounds,
            target_tokens,
            log_probs: log_probs.at(start),
            seeds: seeds.at(start),
            by_token: by_token.map(|(count, parts)| (count, parts.map(|part| part.at(start)))),
            plan,
            targets,
        })
    }

    /// The most bytes that a job takes, if no row has more than two targets.
    pub(crate) fn most_bytes(config: &ModelConfig, rows: usize, target_rows: usize) -> u64 {
        let mut windows: Vec<Option<usize>> = (0..config.layers).map(|layer| config.window(layer)).collect();
        windows.sort_unstable();
        windows.dedup();
        let tiles = rows.div_ceil(TILE);
        let of_windows = windows.len() * 2 * (tiles * (tiles + 1) / 2 + tiles + 1);
        // Tokens, positions, ends, rows, slots and the places of every token; places and bounds; tokens, log-probabilities
        // and seeds of the targets.
        let numbers = 8 * rows + of_windows + 2 * target_rows + 2 * target_rows * 4;
        ((numbers * 4 + 20 * ALIGNMENT as usize) as u64).next_power_of_two()
    }

    pub(crate) fn rows(&self) -> u32 {
        self.plan.rows.len() as u32
    }

    pub(crate) fn target_rows(&self) -> u32 {
        self.targets.places.len() as u32
    }

    /// The tiles by query and by key for a window.
    pub(crate) fn tiles(&self, window: Option<usize>) -> [TileLists; 2] {
        let found = self.windows.iter().find(|known| known.size == window);
        let found = found.expect("every window of the model has its tiles");
        [found.by_query, found.by_key]
    }

    /// The number of distinct tokens, and the places of each.
    pub(crate) fn by_token(&self) -> (u32, [Address; 3]) {
        self.by_token.expect("full training lists the places of every token")
    }
}

/// Why a job can't be computed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    #[error("the model has no token {token}: its vocabulary has {vocabulary}")]
    Token { token: u32, vocabulary: usize },
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// Cosines and sines of rotary embeddings on a device.
#[derive(Default)]
pub(crate) struct Rotation {
    table: RopeTable<f32>,
    memory: Growing,
    places: Option<(usize, [Address; 2])>,
    /// The length of the sequence that the table on the device was made for.
    length: usize,
}

impl Rotation {
    /// More positions than are asked for, so that the table isn't made again for every longer sequence.
    fn rounded(positions: usize) -> usize {
        positions.next_power_of_two().max(256)
    }

    /// Bytes of the table for so many positions.
    pub(crate) fn bytes(config: &ModelConfig, positions: usize) -> u64 {
        ((Self::rounded(positions) * config.head_dim * 4) as u64 + ALIGNMENT).next_power_of_two()
    }

    /// Places of the table for sequences of at most `positions` positions.
    pub(crate) fn cover(
        &mut self,
        driver: &Arc<dyn Driver>,
        config: &ModelConfig,
        positions: usize,
        growing: bool,
    ) -> Result<[Address; 2], DriverError> {
        let rounded = Self::rounded(positions);
        let positions = if config.rope_depends_on(rounded) && !growing { positions } else { rounded };
        // With frequencies that depend on the length, the table of another length is another table.
        let length = if config.rope_depends_on(positions) && !growing { positions } else { 0 };
        if let Some((covered, places)) = self.places
            && covered >= positions
            && self.length == length
        {
            return Ok(places);
        }
        self.places = None;
        if growing {
            self.table.extend_growing(config, positions);
        } else {
            self.table.extend(config, positions);
        }
        let mut parcel = Parcel::default();
        let parts = [self.table.cosines(), self.table.sines()]
            .map(|values| parcel.put(values.iter().map(|value| value.to_le_bytes())));
        let start = self.memory.take(driver, parcel.bytes().len() as u64)?;
        driver.upload(start, parcel.bytes())?;
        let places = parts.map(|part| part.at(start));
        (self.places, self.length) = (Some((positions, places)), length);
        Ok(places)
    }
}
