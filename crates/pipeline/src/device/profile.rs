//! The time of every kernel.

#[cfg(feature = "cuda")]
use std::sync::Arc;

use serde::Serialize;

/// The time of a kernel in what was computed on a device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelTime {
    /// Its name; products, copies and transfers are no kernels of ours and have the names of what they are.
    pub kernel: String,
    /// How often it was started.
    pub calls: u64,
    /// How long it took in all, in seconds.
    pub seconds: f64,
}

/// The times of the kernels on a device that is timed.
pub struct Profile(#[cfg(feature = "cuda")] pub(super) Arc<tabpo_cuda::driver::Profile>);

impl Profile {
    /// The times so far, the longest first.
    pub fn times(&self) -> Vec<KernelTime> {
        #[cfg(feature = "cuda")]
        let spent = self.0.spent().into_iter();
        #[cfg(feature = "cuda")]
        let mut times: Vec<KernelTime> =
            spent.map(|(kernel, spent)| KernelTime { kernel, calls: spent.calls, seconds: spent.seconds }).collect();
        #[cfg(not(feature = "cuda"))]
        let mut times: Vec<KernelTime> = Vec::new();
        times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        times
    }
}
