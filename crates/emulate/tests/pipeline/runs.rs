//! The runs.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::Path,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tabpo_cuda::driver::{Driver, Element, Profile};
use tabpo_emulate::{Emulator, Order};
use tabpo_pipeline::{
    Configuration, Error, ErrorKind, Observer, Overrides, Pipeline, Until,
    device::Computer,
    observer::{Progress, StageState},
};

/// A run that has every way of asking a model: answers to documents, free and constrained, its own answers (greedy and
/// sampled) as examples, references, a guide, and two scorers.
const TINY: &str = r#"
[run]
name = "tiny"
[data.synthetic]
sft = 6
curated = 2
validation = 2
test = 2
[model]
vocabulary = 320
hidden = 64
layers = 1
heads = 1
kv_heads = 1
intermediate = 64
compute = "f32"
device = "cpu"
[sft]
steps = 3
batch_size = 2
max_tokens = 256
checkpoint_every = 1
[pairs]
samples = 2
[preference]
objectives = ["dpo", "tgdpo", "tis-dpo", "item-credit", "dynamic-oracle"]
[preference.train]
steps = 1
batch_size = 2
max_tokens = 512
[predict]
max_new_tokens = 6
batch_size = 4
[evaluate]
resamples = 20
"#;

/// What a run says, and when it is to stop.
#[derive(Default)]
struct Recorder {
    said: RefCell<Vec<String>>,
    stages: RefCell<Vec<(String, bool)>>,
    /// After so many steps of SFT.
    stop_after: Option<u64>,
    stop: Rc<AtomicBool>,
}

struct Steps(u64, Rc<AtomicBool>);

impl Progress for Steps {
    fn update(&mut self, done: u64, _note: &str) {
        if done >= self.0 {
            self.1.store(true, Ordering::SeqCst);
        }
    }
}

impl Observer for Recorder {
    fn say(&self, text: &str) {
        self.said.borrow_mut().push(text.to_owned());
    }

    fn stage(&self, name: &str, state: StageState) {
        match state {
            StageState::Started => {}
            StageState::UpToDate => self.stages.borrow_mut().push((name.to_owned(), false)),
            StageState::Finished { .. } => self.stages.borrow_mut().push((name.to_owned(), true)),
        }
    }

    fn progress(&self, label: &str, _total: u64) -> Box<dyn Progress> {
        match self.stop_after {
            Some(steps) if label == "sft" => Box::new(Steps(steps, Rc::clone(&self.stop))),
            _ => Box::new(()),
        }
    }

    fn stop_flag(&self) -> &AtomicBool {
        &self.stop
    }
}

/// A run in a folder, on a device or on the CPU.
fn pipeline(folder: &Path, device: Option<&Arc<Profile>>, observer: &dyn Observer) -> Result<Pipeline, Error> {
    let file = folder.join("tiny.toml");
    fs::write(&file, TINY).expect("writable");
    let set = vec![format!("run.directory={}", folder.join("run").display())];
    let config = Configuration::read(&file, &Overrides { set, ..Overrides::default() }).expect("it is sound");
    let pipeline = Pipeline::new(config, observer)?;
    Ok(match device {
        Some(device) => {
            let driver: Arc<dyn Driver> = Arc::<Profile>::clone(device);
            pipeline.on(Computer::Card(driver, Element::F32))
        }
        None => pipeline,
    })
}

fn run(folder: &Path, device: Option<&Arc<Profile>>, until: Until, observer: &Recorder) -> Result<(), Error> {
    pipeline(folder, device, observer)?.run(until, observer).map(drop)
}

/// How often kernels whose names begin like this were launched.
fn launches(device: &Profile, name: &str) -> u64 {
    device.spent().iter().filter(|(kernel, _)| kernel.starts_with(name)).map(|(_, spent)| spent.calls).sum()
}

/// All files of a run with answers, pairs and scores, by their paths.
fn texts(folder: &Path) -> BTreeMap<String, String> {
    fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(root).expect("it is below").display().to_string();
            if path.is_dir() {
                collect(root, &path, found);
            } else if path.extension().is_some_and(|ending| ending == "jsonl") && name != "metrics.jsonl"
                || name == "comparison.json"
            {
                found.insert(name, fs::read_to_string(&path).expect("text"));
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(&folder.join("run"), &folder.join("run"), &mut found);
    found
}

/// Training, answers, pairs and scores of a run on the device are those of the CPU: every answer, every pair, every figure of
/// the comparison.
#[test]
fn a_whole_run_gives_the_answers_of_the_cpu() {
    let (host, card) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    run(host.path(), None, Until::Report, &Recorder::default()).expect("the run succeeds");
    let device = Arc::new(Profile::new(Arc::new(Emulator::new(Order::Forwards))));
    let heard = Recorder::default();
    run(card.path(), Some(&device), Until::Report, &heard).expect("the run succeeds");
    let (wanted, found) = (texts(host.path()), texts(card.path()));
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    assert!(wanted.len() > 12, "{:?}", wanted.keys());
    for (name, text) in &wanted {
        assert_eq!(&found[name], text, "{name}");
    }
    // Nothing of it was computed beside the device: greedy and drawn tokens, and the passes of every step.
    assert!(launches(&device, "choose_greedy") > 20, "answers were written on the device");
    assert!(launches(&device, "choose_") > launches(&device, "choose_greedy"), "and drawn there");
    assert!(launches(&device, "attention_plain_key_gradient") > 0 && launches(&device, "cache_store") > 0);
    let memory = device.memory().expect("it is known");
    assert_eq!(memory.free, memory.total, "all memory was given back");
    // What was computed there is still done when the run is looked at without the device.
    let again = Recorder::default();
    run(card.path(), None, Until::Report, &again).expect("there is nothing to do");
    assert!(again.stages.borrow().iter().all(|(_, ran)| !ran), "{:?}", again.stages);
}

/// A training that was begun on one kind of device goes on with the other's checkpoint, in both directions.
#[test]
fn a_checkpoint_is_taken_up_by_the_other_kind_of_device() {
    let whole = tempfile::tempdir().expect("a folder");
    run(whole.path(), None, Until::Sft, &Recorder::default()).expect("the run succeeds");
    let wanted = texts(whole.path());
    for from_card in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let device = Arc::new(Profile::new(Arc::new(Emulator::new(Order::Forwards))));
        let on = |card: bool| card.then_some(&device);
        let stopping = Recorder { stop_after: Some(2), ..Recorder::default() };
        let error = run(folder.path(), on(from_card), Until::Sft, &stopping).expect_err("it is stopped");
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        let trained = launches(&device, "attention_plain_key_gradient");
        assert_eq!(trained > 0, from_card);
        let resuming = Recorder::default();
        run(folder.path(), on(!from_card), Until::Sft, &resuming).expect("it goes on");
        let said = resuming.said.borrow().join("\n");
        assert!(said.contains("sft: takes up the checkpoint of another device"), "{said}");
        assert!(said.contains("sft: goes on after step 2"), "{said}");
        assert!(said.contains("this run was begun on"), "{said}");
        assert_eq!(launches(&device, "attention_plain_key_gradient") > trained, !from_card);
        let base = resuming.stages.borrow().iter().find(|(name, _)| name == "base").cloned();
        assert_eq!(base, Some(("base".to_owned(), false)), "what was finished stays");
        assert_eq!(texts(folder.path()), wanted, "from the card: {from_card}");
    }
}

/// A look ahead counts with what is free of the device's memory now, and times a step and answers there.
#[test]
fn a_look_ahead_is_one_at_the_device() {
    let folder = tempfile::tempdir().expect("a folder");
    let device = Arc::new(Profile::new(Arc::new(Emulator::new(Order::Forwards))));
    // What another program has taken.
    let taken = device.allocate(700 << 20).expect("it fits");
    let before = device.memory().expect("it is known");
    let found = pipeline(folder.path(), Some(&device), &()).expect("sound input").check(true, &()).expect("a look");
    assert_eq!((found.device.as_str(), found.free_memory), ("emulated device", Some(before.free as usize)));
    let rows: Vec<(usize, usize)> = found.memory.iter().map(|row| (row.least, row.most)).collect();
    assert!(rows.iter().all(|&(least, most)| least > 0 && least <= most && most < 700 << 20), "{rows:?}");
    assert!(launches(&device, "attention_plain_key_gradient") > 0 && launches(&device, "choose_greedy") > 0);
    assert!(found.speed.is_some_and(|speed| speed.trained > 0.0 && speed.written > 0.0));
    assert_eq!(device.memory().expect("it is known"), before, "what was measured is given back");
    device.free(taken).expect("it was taken");
}
