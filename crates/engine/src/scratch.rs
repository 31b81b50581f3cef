//! Temporary buffers that grow and are reused.

use std::sync::Mutex;

use crate::real::Real;

/// The first `length` elements of a buffer, which grows if necessary. Their values are unspecified.
pub(crate) fn fit<R: Real>(buffer: &mut Vec<R>, length: usize) -> &mut [R] {
    if buffer.len() < length {
        // Freed first, so that the old and the new buffer never exist together.
        *buffer = Vec::new();
        *buffer = vec![R::ZERO; length];
    }
    &mut buffer[..length]
}

/// One growing buffer per thread, for temporary values of a task, and one for weights that all threads read.
#[derive(Debug)]
pub(crate) struct ThreadScratch<R> {
    threads: Vec<Mutex<Vec<R>>>,
    weights: Mutex<Vec<R>>,
}

impl<R: Real> ThreadScratch<R> {
    pub(crate) fn new() -> Self {
        let threads = (0..rayon::current_num_threads()).map(|_| Mutex::new(Vec::new())).collect();
        Self { threads, weights: Mutex::new(Vec::new()) }
    }

    /// Lends the buffer for weights to one product at a time.
    pub(crate) fn with_weights<T>(&self, work: impl FnOnce(&mut Vec<R>) -> T) -> T {
        work(&mut self.weights.lock().expect("no product panics while it holds the weights"))
    }

    /// Lends this thread's buffer. Tasks do not wait for other tasks, so that a thread never borrows it twice.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Vec<R>) -> T) -> T {
        let thread = rayon::current_thread_index().unwrap_or(0) % self.threads.len();
        let mut buffer = self.threads[thread].lock().expect("no task panics while it holds a scratch buffer");
        work(&mut buffer)
    }

    /// Lends parts of this thread's buffer with the given lengths and unspecified values.
    pub(crate) fn with_sizes<T, const N: usize>(
        &self,
        lengths: [usize; N],
        work: impl FnOnce([&mut [R]; N]) -> T,
    ) -> T {
        self.with(|buffer| {
            let mut rest = fit(buffer, lengths.iter().sum());
            work(lengths.map(|length| {
                let (part, tail) = std::mem::take(&mut rest).split_at_mut(length);
                rest = tail;
                part
            }))
        })
    }

    /// Bytes of all threads' buffers.
    pub(crate) fn bytes(&self) -> usize {
        let length = |buffer: &Mutex<Vec<R>>| buffer.lock().map_or(0, |buffer| buffer.len());
        self.threads.iter().chain([&self.weights]).map(length).sum::<usize>() * size_of::<R>()
    }
}
