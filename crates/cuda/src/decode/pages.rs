//! The cache of keys and values: pages of 64 positions, which sequences with a common beginning share.

use std::sync::Arc;

use tabpo_model::ModelConfig;

use crate::arena::Arena;
use crate::driver::{Address, Driver, DriverError, Element};
use crate::ops::{Cache, PAGE};

/// A sequence, or a beginning of sequences: its pages in order, and how many positions have keys and values.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    pub(super) pages: Vec<u32>,
    pub(super) length: usize,
}

/// All pages of all layers.
pub(super) struct Pages {
    driver: Arc<dyn Driver>,
    memory: Arena,
    layers: usize,
    /// Bytes of the keys, and of the values, of a page in one layer.
    page_bytes: u64,
    /// How many sequences and beginnings have each page.
    users: Vec<u32>,
    free: Vec<u32>,
}

impl Pages {
    pub(super) fn new(
        driver: &Arc<dyn Driver>,
        config: &ModelConfig,
        element: Element,
        count: usize,
    ) -> Result<Self, DriverError> {
        let page_bytes = page_bytes(config, element);
        let memory = Arena::new(driver, page_bytes * count as u64 * 2 * config.layers as u64)?;
        Ok(Self {
            driver: Arc::clone(driver),
            memory,
            layers: config.layers,
            page_bytes,
            users: vec![0; count],
            free: (0..count as u32).rev().collect(),
        })
    }

    /// The pools of a layer.
    pub(super) fn cache(&self, layer: usize) -> Cache {
        let [keys, values] = pools(self.memory.start(), self.page_bytes, self.users.len(), layer);
        Cache { keys, values }
    }

    /// A page that nothing is stored in.
    fn take(&mut self) -> Result<u32, DriverError> {
        if self.free.is_empty() {
            self.grow()?;
        }
        let page = self.free.pop().expect("there are free pages now");
        self.users[page as usize] = 1;
        Ok(page)
    }

    /// Twice as many pages.
    fn grow(&mut self) -> Result<(), DriverError> {
        let (count, bytes) = (self.users.len(), self.page_bytes * self.users.len() as u64);
        let memory = Arena::new(&self.driver, self.memory.bytes() * 2)?;
        for layer in 0..self.layers {
            let from = pools(self.memory.start(), self.page_bytes, count, layer);
            let to = pools(memory.start(), self.page_bytes, 2 * count, layer);
            for (from, to) in from.into_iter().zip(to) {
                self.driver.copy(to, from, bytes as usize)?;
            }
        }
        self.memory = memory;
        self.users.resize(2 * count, 0);
        self.free.extend((count as u32..2 * count as u32).rev());
        Ok(())
    }

    /// A sequence that begins like another: full pages are shared, and one that is partly filled is copied.
    pub(super) fn continued(&mut self, above: Option<&Stored>) -> Result<Stored, DriverError> {
        let Some(above) = above else { return Ok(Stored::default()) };
        let full = above.length / PAGE as usize;
        let mut stored = Stored { pages: above.pages[..full].to_vec(), length: above.length };
        stored.pages.iter().for_each(|&page| self.users[page as usize] += 1);
        if !above.length.is_multiple_of(PAGE as usize) {
            let page = self.take()?;
            let from = above.pages[full];
            for layer in 0..self.layers {
                let Cache { keys, values } = self.cache(layer);
                for pool in [keys, values] {
                    let at = |page: u32| pool.offset(u64::from(page) * self.page_bytes);
                    self.driver.copy(at(page), at(from), self.page_bytes as usize)?;
                }
            }
            stored.pages.push(page);
        }
        Ok(stored)
    }

    /// The slot of the next position: page times 64 plus position within the page.
    pub(super) fn next(&mut self, stored: &mut Stored) -> Result<u32, DriverError> {
        let (page, within) = (stored.length / PAGE as usize, (stored.length % PAGE as usize) as u32);
        if page == stored.pages.len() {
            stored.pages.push(self.take()?);
        }
        stored.length += 1;
        Ok(stored.pages[page] * PAGE + within)
    }

    /// Gives up a sequence or a beginning.
    pub(super) fn release(&mut self, stored: &Stored) {
        for &page in &stored.pages {
            let users = &mut self.users[page as usize];
            *users -= 1;
            if *users == 0 {
                self.free.push(page);
            }
        }
    }
}

/// Bytes of the keys, and of the values, of a page in one layer.
pub(super) fn page_bytes(config: &ModelConfig, element: Element) -> u64 {
    (PAGE as usize * config.key_width() * element.bytes()) as u64
}

/// The pools of keys and values of a layer.
fn pools(start: Address, page_bytes: u64, count: usize, layer: usize) -> [Address; 2] {
    let pool = page_bytes * count as u64;
    [0, 1].map(|which| start.offset((2 * layer as u64 + which) * pool))
}
