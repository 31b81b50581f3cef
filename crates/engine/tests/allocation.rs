//! After its largest batch a workspace allocates nothing for activations or gradients. The only temporary memory
//! is the GEMM library's packing and vectors of a few numbers per target.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

mod small;

use small::{Random, plain, random_lora, random_model};
use tabpo_engine::{
    AdamW, AdamWConfig, Batch, Compute, ForwardOptions, Gradients, OutputGradient, Target, Workspace, backward, forward,
};
use tabpo_model::{LoraConfig, ModelConfig};

/// The system's allocator with counters.
struct Watched;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is forwarded to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Relaxed);
        LARGEST.fetch_max(layout.size(), Relaxed);
        // SAFETY: the caller fulfils the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller fulfils the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

fn batch(sequences: usize, length: usize) -> (Batch, Vec<Target>) {
    let mut random = Random::new(1);
    let sequences: Vec<Vec<u32>> =
        (0..sequences).map(|_| (0..length).map(|_| random.below(200) as u32).collect()).collect();
    let batch = plain(&sequences);
    let targets = (0..batch.tokens.len() as u32).map(|row| Target { row, token: row % 200 }).collect();
    (batch, targets)
}

#[test]
fn steady_steps_allocate_no_buffers() {
    // With one thread, the library's buffers per thread certainly exist after the first steps.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread pool");
    pool.install(|| {
        let config = ModelConfig { kv_heads: 2, query_key_norm: true, ..ModelConfig::small(200, 96, 2, 4) };
        let mut model = random_model::<f32>(config, 1);
        let lora = random_lora(&model.config, LoraConfig { dropout: 0.1, ..LoraConfig::new(8, 8.0) }, 2);
        let batches = [batch(24, 100), batch(7, 30)];
        let smallest_buffer = 2400 * model.config.hidden * size_of::<f32>();
        let mut packed = model.clone();
        let in_bf16 = packed.freeze(Compute::Bf16) == Compute::Bf16;
        for (lora, frozen) in [(None, None), (Some(&lora), None), (Some(&lora), in_bf16.then_some(&packed))] {
            let mut workspace = Workspace::new();
            let mut gradients = match lora {
                Some(lora) => Gradients::lora(&model, lora),
                None => Gradients::full(&model),
            };
            let mut optimiser = AdamW::for_model(&model, AdamWConfig::default());
            let mut step = |seed: u64| {
                for (batch, targets) in &batches {
                    let options = ForwardOptions { dropout_seed: Some(seed), ..ForwardOptions::default() };
                    let model = frozen.unwrap_or(&model);
                    let values = forward(model, lora, batch, targets, &options, &mut workspace);
                    let output = OutputGradient { log_probabilities: &values, divergences: None };
                    backward(model, lora, batch, &output, &mut workspace, &mut gradients);
                }
                gradients.clip(1.0);
                if lora.is_none() {
                    optimiser.step_model(&mut model, &mut gradients, 1e-4);
                }
                gradients.clear();
            };
            step(1);
            step(2);
            let live = LIVE.load(Relaxed);
            LARGEST.store(0, Relaxed);
            for seed in 3..5 {
                step(seed);
                assert_eq!(LIVE.load(Relaxed), live, "bytes held after step {seed}");
            }
            let largest = LARGEST.load(Relaxed);
            assert!(largest < smallest_buffer, "an allocation of {largest} bytes, buffers have {smallest_buffer}");
        }
    });
}
