//! A checkpoint of an earlier session with some bytes changed: the input is a list of positions and changes.

#![no_main]

use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tabpo_engine::{AdamWConfig, HostWorker, Lora, Model, Policy, Recompute, TrainingSetup, Worker};
use tabpo_fuzz::{Scratch, fixture};
use tabpo_model::LoraConfig;
use tabpo_train::fuzzing::{read_checkpoint, write_checkpoint};

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);
static MODEL: LazyLock<Arc<Model<f32>>> =
    LazyLock::new(|| Model::open(&fixture("llama")).expect("the fixture is a model").into());
static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let path = SCRATCH.path().join("sound.safetensors");
    write_checkpoint(&path, &worker()).expect("the folder can be written");
    std::fs::read(path).expect("it was written")
});

#[derive(Arbitrary, Debug)]
struct Damage<'a> {
    changes: Vec<(u16, Change<'a>)>,
}

#[derive(Arbitrary, Debug)]
enum Change<'a> {
    /// Other bytes instead of as many.
    Replace(&'a [u8]),
    /// More bytes.
    Insert(&'a [u8]),
    /// Bytes less.
    Remove(u8),
    /// The end.
    Cut,
}

fn worker() -> HostWorker<f32> {
    let adapter = Lora::initialise(&MODEL.config, LoraConfig::new(1, 1.0), 1);
    let mut worker = HostWorker::new(Policy::adapter(Arc::clone(&MODEL), adapter));
    let setup = TrainingSetup {
        optimiser: AdamWConfig::default(),
        recompute: Recompute::default(),
        logit_bytes: 1 << 20,
        divergences: false,
    };
    worker.begin(&setup).expect("an adapter can be trained");
    worker
}

fuzz_target!(|damage: Damage| {
    let mut bytes = SOUND.clone();
    for (at, change) in damage.changes {
        let at = usize::from(at).min(bytes.len());
        match change {
            Change::Replace(by) => {
                let end = (at + by.len()).min(bytes.len());
                bytes[at..end].copy_from_slice(&by[..end - at]);
            }
            Change::Insert(more) => drop(bytes.splice(at..at, more.iter().copied())),
            Change::Remove(count) => drop(bytes.drain(at..(at + usize::from(count)).min(bytes.len()))),
            Change::Cut => bytes.truncate(at),
        }
    }
    let path = SCRATCH.write("checkpoint.safetensors", &bytes);
    let mut worker = worker();
    let shapes = worker.policy().shapes();
    let _ = read_checkpoint(&path, &mut worker).expect("the file can be read");
    assert_eq!(worker.policy().shapes(), shapes);
});
