//! A checkpoint of an earlier session with bytes of it changed: the input is a list of places and what
//! stands there instead.

#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tabpo_engine::{Lora, Model};
use tabpo_model::LoraConfig;
use tabpo_fuzz::{Scratch, fixture};
use tabpo_train::Policy;
use tabpo_train::fuzzing::{read_checkpoint, write_checkpoint};

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);
static MODEL: LazyLock<Model<f32>> = LazyLock::new(|| Model::open(&fixture("llama")).expect("the fixture is a model"));
static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let path = SCRATCH.path().join("sound.safetensors");
    write_checkpoint(&path, &policy()).expect("the folder can be written");
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

fn policy() -> Policy<'static, f32> {
    let base: &'static Model<f32> = &MODEL;
    let adapter = Lora::initialise(&base.config, LoraConfig::new(1, 1.0), 1);
    Policy::Adapter { base, adapter }
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
    let mut policy = policy();
    let shapes = policy.shapes();
    let _ = read_checkpoint(&path, &mut policy).expect("the file can be read");
    assert_eq!(policy.shapes(), shapes);
});
