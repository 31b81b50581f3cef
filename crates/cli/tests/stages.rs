//! Which stages run again when one thing changes: every key of the configuration, every input file, the
//! ontology; in a finished run, and in one that was killed in the middle of training.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use support::Place;

/// A model from scratch, every parameter trained.
const SCRATCH: &str = r#"
[run]
name = "stages"
directory = "run"
seed = 1

[ontology]
file = "corpus/ontology.toml"

[data]
dir = "corpus"
train = "sft.jsonl"
curated = "gold.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"

[model]
vocabulary = 400
hidden = 32
layers = 1
heads = 2
kv_heads = 2
intermediate = 64

[warmup]
sentences = 4
copies = 4

[warmup.train]
steps = 1

[sft]
steps = 2

[pairs]
patterns = "patterns.toml"

[preference]
objectives = ["dpo"]
learning_rates = [1e-4, 2e-4]

[preference.train]
steps = 1

[preference.system.dpo]
beta = 0.1

[predict]
max_new_tokens = 8

[evaluate]
resamples = 20
"#;

const PATTERNS: &str = r#"
[[pattern]]
id = "method-task"
kind = "label"
from = ["Method"]
to = ["Task"]
weight = 1.0
rationale = "A method named after what it is for."
"#;

/// Stages by what they do. `Systems` are the trainings of systems, `Answers` their predictions,
/// `Checkpoint` those of the SFT model on the test documents, `Thresholds` the search for any model's thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Base,
    Warmup,
    Sft,
    Validation,
    Errors,
    Pairs,
    Systems,
    Answers,
    Checkpoint,
    Thresholds,
    Comparison,
}

use Stage::{Answers, Base, Checkpoint, Comparison, Errors, Pairs, Sft, Systems, Thresholds, Validation, Warmup};

impl Stage {
    fn of(name: &str) -> Self {
        match name {
            "base" => Base,
            "warmup" => Warmup,
            "sft" => Sft,
            "errors/validation" => Validation,
            "errors" => Errors,
            "pairs" => Pairs,
            "sft/test" | "sft/test-constrained" | "sft/test-tuned" => Checkpoint,
            name if name.contains("/thresholds/") => Thresholds,
            "comparison" => Comparison,
            name if name.starts_with("systems/") && name.contains("/seed-") => {
                let predicts = ["/test", "/test-constrained", "/test-tuned", "/validation"];
                if predicts.iter().any(|end| name.ends_with(end)) { Answers } else { Systems }
            }
            other => panic!("an unknown stage {other}"),
        }
    }

    /// The stages that read what this one writes.
    fn read_by(self) -> &'static [Self] {
        match self {
            Base => &[Warmup, Sft, Validation, Pairs, Systems, Answers, Checkpoint],
            Warmup => &[Sft],
            Sft => &[Validation, Systems, Checkpoint],
            Validation => &[Errors],
            Errors => &[Pairs],
            Pairs => &[Systems],
            Systems => &[Answers],
            Thresholds => &[Answers, Checkpoint, Comparison],
            Answers | Checkpoint => &[Comparison],
            Comparison => &[],
        }
    }

    /// The stages that may run again after these: what they write may be the same as before.
    fn after(direct: &[Self]) -> BTreeSet<Self> {
        let mut all = BTreeSet::new();
        let mut open = direct.to_vec();
        while let Some(stage) = open.pop() {
            if all.insert(stage) {
                open.extend(stage.read_by());
            }
        }
        all
    }
}

/// One change, and the stages that read what is changed.
struct Change {
    /// The key, or the file.
    what: &'static str,
    /// The new value of the key as in `--set`, or how the file's text changes.
    how: How,
    direct: &'static [Stage],
}

enum How {
    Set(&'static str),
    Edit(fn(&str) -> String),
}

const fn set(what: &'static str, value: &'static str, direct: &'static [Stage]) -> Change {
    Change { what, how: How::Set(value), direct }
}

const fn edit(what: &'static str, edit: fn(&str) -> String, direct: &'static [Stage]) -> Change {
    Change { what, how: How::Edit(edit), direct }
}

/// The first sentence's first word in other letters: as many bytes, as many documents.
fn other_letters(text: &str) -> String {
    let at = text.find("\"tokens\":[\"").or_else(|| text.find("\"sentences\":[[\"")).expect("a document has words");
    let word = at + text[at..].find('[').expect("a list");
    let place = word + text[word..].find(|c: char| c.is_ascii_alphabetic()).expect("a word");
    let letter = if text[place..].starts_with('x') { "y" } else { "x" };
    let mut changed = text.to_owned();
    changed.replace_range(place..=place, letter);
    assert!(changed.len() == text.len() && changed != text);
    changed
}

const ALL_PREDICTIONS: &[Stage] = &[Validation, Answers, Checkpoint];

fn changes() -> Vec<Change> {
    let replace_description: fn(&str) -> String = |text| {
        let at = text.find("description = \"").expect("labels are described") + "description = \"".len();
        format!("{}Z{}", &text[..at], &text[at + 1..])
    };
    vec![
        edit("corpus/ontology.toml", replace_description, &[Base, Warmup, Sft, Errors, Pairs, Systems, Comparison]),
        edit("corpus/sft.jsonl", other_letters, &[Base, Warmup, Sft]),
        edit("corpus/gold.jsonl", other_letters, &[Pairs]),
        edit("corpus/validation.jsonl", other_letters, &[Validation, Errors]),
        edit("corpus/test.jsonl", other_letters, &[Answers, Checkpoint, Comparison]),
        edit("patterns.toml", |text| text.replace("weight = 1.0", "weight = 0.5"), &[Pairs]),
        set("run.name", "other", &[]),
        set("run.seed", "2", &[Base, Warmup, Sft, Pairs, Comparison]),
        set("ontology.file", "corpus/../corpus/ontology.toml", &[]),
        set("data.dir", "./corpus", &[]),
        set("data.train", "../corpus/sft.jsonl", &[]),
        set("data.curated", "../corpus/gold.jsonl", &[]),
        set("data.validation", "../corpus/validation.jsonl", &[]),
        set("data.test", "../corpus/test.jsonl", &[]),
        set("data.hold_out", "3", &[]),
        set("data.strict", "true", &[]),
        // The answers of the models from scratch depend on what they were trained on.
        set("answer.form", "marked", &[Base, Warmup, Sft, Validation, Pairs, Answers, Checkpoint]),
        set("data.level", "document", &[Base, Warmup, Sft, Validation, Pairs, Answers, Checkpoint]),
        set("model.vocabulary", "390", &[Base]),
        set("model.hidden", "48", &[Base]),
        set("model.layers", "2", &[Base]),
        set("model.heads", "4", &[Base]),
        set("model.kv_heads", "1", &[Base]),
        set("model.intermediate", "72", &[Base]),
        set("model.compute", "f32", ALL_PREDICTIONS),
        set("model.device", "cpu", &[]),
        set("adapter.rank", "2", &[Warmup, Sft, Systems]),
        set("warmup.sentences", "5", &[Base, Warmup]),
        set("warmup.copies", "5", &[Warmup]),
        set("warmup.replaced", "0.5", &[Warmup]),
        set("warmup.own_words", "0.5", &[Base, Warmup]),
        set("warmup.train.steps", "2", &[Warmup]),
        set("warmup.train.checkpoint_every", "7", &[]),
        set("sft.steps", "3", &[Sft]),
        // Steps are given, so epochs decide nothing.
        set("sft.epochs", "9.0", &[]),
        set("sft.batch_size", "3", &[Sft]),
        set("sft.learning_rate", "3e-4", &[Sft]),
        set("sft.schedule", "linear", &[Sft]),
        set("sft.warmup", "0.5", &[Sft]),
        set("sft.weight_decay", "0.1", &[Sft]),
        set("sft.clip", "0.5", &[Sft]),
        set("sft.max_tokens", "300", &[Sft]),
        set("sft.max_length", "300", &[Sft]),
        set("sft.checkpoint_every", "1", &[]),
        set("sft.memory_gb", "2.0", &[]),
        set("pairs.per_example", "1", &[Pairs]),
        set("pairs.patterns", "./patterns.toml", &[]),
        set("pairs.sources", "[\"random\"]", &[Pairs]),
        set("pairs.mix", "{label = 1.0}", &[Pairs]),
        set("preference.objectives", "[\"dpo\", \"ipo\"]", &[Systems, Comparison]),
        set("preference.seeds", "[1, 2]", &[Systems, Comparison]),
        set("preference.learning_rates", "[1e-4, 4e-4]", &[Systems]),
        set("preference.train.steps", "2", &[Systems]),
        // Rates to choose from are given, so this one is not used.
        set("preference.train.learning_rate", "5e-4", &[]),
        set("preference.train.memory_gb", "2.0", &[]),
        set("preference.system.dpo.beta", "0.2", &[Systems]),
        set("preference.system.dpo.equal_flops", "true", &[Systems]),
        set("preference.system.dpo.threshold", "tuned", &[Thresholds, Answers, Comparison]),
        set("predict.max_new_tokens", "9", ALL_PREDICTIONS),
        set("predict.batch_size", "5", &[]),
        set("predict.memory_gb", "2.0", &[]),
        set("predict.constrained", "true", &[Answers, Checkpoint, Comparison]),
        set("predict.threshold", "tuned", &[Thresholds, Answers, Checkpoint, Comparison]),
        set("evaluate.resamples", "30", &[Comparison]),
    ]
}

/// Keys that are left out of the table above, with the reason.
const NOT_CHANGED: [(&str, &str); 7] = [
    ("pairs.folds", "needs the source `on-policy`, whose answers are inputs of their own"),
    ("data.set_aside", "is refused beside a file of curated documents"),
    ("pairs.samples", "needs an objective that learns from samples, which are inputs of its own"),
    ("run.directory", "another directory is another run"),
    ("warmup.train.", "the keys of every training section are those of [sft]"),
    ("preference.train.", "the keys of every training section are those of [sft]"),
    ("adapter.", "its keys are changed in a run that has an adapter"),
];

fn place() -> Place {
    let place = Place::new();
    let sizes = ["--sft", "12", "--gold", "6", "--validation", "6", "--test", "6"];
    place.run(&[&["corpus", "generate", "corpus", "--quiet"], &sizes[..]].concat(), 0);
    place.write("patterns.toml", PATTERNS);
    place.write("config.toml", SCRATCH);
    place
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}

impl Change {
    /// A copy of a place with this change, and the arguments that make it.
    fn apply(&self, place: &Place) -> (Place, Vec<String>) {
        let changed = Place::new();
        copy(&place.path(""), &changed.path(""));
        let mut arguments = Vec::new();
        match self.how {
            How::Set(value) => arguments.extend(["--set".to_owned(), format!("{}={value}", self.what)]),
            How::Edit(edit) => {
                let text = fs::read_to_string(changed.path(self.what)).expect("the file is there");
                let after = edit(&text);
                assert_ne!(text, after, "{}", self.what);
                fs::write(changed.path(self.what), after).expect("the file can be written");
            }
        }
        (changed, arguments)
    }
}

/// The stages that a run says it ran, and those that it says are up to date.
fn said(stderr: &str) -> BTreeMap<bool, BTreeSet<String>> {
    let mut stages: BTreeMap<bool, BTreeSet<String>> = BTreeMap::new();
    for line in stderr.lines() {
        // The name follows its place in the plan: `[3/14] sft: 1.2 s; about 8 s left of the run`.
        let Some((_, line)) = line.strip_prefix('[').and_then(|line| line.split_once("] ")) else { continue };
        let Some((name, rest)) = line.split_once(": ") else { continue };
        let time = rest.split_once("; about ").map_or(rest, |(time, _)| time);
        let ran = time.strip_suffix(" s").is_some_and(|seconds| seconds.parse::<f64>().is_ok());
        if ran || rest == "up to date" {
            stages.entry(ran).or_default().insert(name.to_owned());
        }
    }
    stages
}

/// Makes every change, on two threads, and reports all that went wrong.
fn each(changes: &[Change], attempt: impl Fn(&Change) -> Result<(), String> + Sync) {
    let attempt = &attempt;
    let part = |first: usize| -> Vec<String> {
        let each = changes.iter().skip(first).step_by(2);
        each.filter_map(|change| Some(format!("{}: {}", change.what, attempt(change).err()?))).collect()
    };
    let wrong: Vec<String> = thread::scope(|scope| {
        let threads = [0, 1].map(|first| scope.spawn(move || part(first)));
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check(place: &Place, change: &Change) -> Result<(), String> {
    let (changed, arguments) = change.apply(place);
    let output = changed.tabpo().args(["--threads", "1", "run", "config.toml"]).args(&arguments).output();
    let output = output.expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(stderr.into_owned());
    }
    let mut said = said(&stderr);
    let (ran, kept) = (said.remove(&true).unwrap_or_default(), said.remove(&false).unwrap_or_default());
    let kinds = |names: &BTreeSet<String>| names.iter().map(|name| Stage::of(name)).collect::<BTreeSet<_>>();
    let (ran, kept) = (kinds(&ran), kinds(&kept));
    let allowed = Stage::after(change.direct);
    if !ran.is_subset(&allowed) {
        return Err(format!("ran {ran:?}, of which only {allowed:?} depend on it"));
    }
    let direct: BTreeSet<Stage> = change.direct.iter().copied().collect();
    if !direct.is_subset(&ran) {
        return Err(format!("ran {ran:?} and kept {kept:?}, but {direct:?} read it"));
    }
    Ok(())
}

#[test]
fn a_change_runs_again_what_reads_it_and_nothing_else() {
    let place = place();
    place.run(&["--threads", "1", "run", "config.toml", "--quiet"], 0);
    let changes = changes();

    // Every key that a run resolves is in the table.
    let resolved: toml::Table = fs::read_to_string(place.path("run/run.toml")).expect("a file").parse().expect("TOML");
    let mut keys = Vec::new();
    leaves("", &resolved, &mut keys);
    for key in keys {
        let listed = changes.iter().any(|change| key == change.what || key.starts_with(&format!("{}.", change.what)));
        let excused = NOT_CHANGED.iter().any(|(prefix, _)| key.starts_with(prefix));
        assert!(listed || excused, "{key} is in no change");
    }
    each(&changes, |change| check(&place, change));
}

fn leaves(prefix: &str, table: &toml::Table, keys: &mut Vec<String>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            toml::Value::Table(table) => leaves(&format!("{key}."), table, keys),
            _ => keys.push(key),
        }
    }
}

/// As above for a model folder under an adapter.
#[test]
fn a_change_to_a_model_folder_or_its_adapter_runs_again_what_reads_it() {
    let place = place();
    place.run(&["--threads", "1", "sft", "config.toml", "--quiet"], 0);
    copy(&place.path("run/base"), &place.path("model"));
    fs::remove_dir_all(place.path("run")).expect("a folder");
    let (start, rest) = SCRATCH.split_once("[model]").expect("a section");
    let (_, rest) = rest.split_once("[sft]").expect("a section");
    let adapted = format!("{start}[model]\nfolder = \"model\"\n[adapter]\nrank = 2\ndropout = 0.1\n[sft]{rest}");
    place.write("config.toml", &adapted);
    place.run(&["--threads", "1", "run", "config.toml", "--quiet"], 0);
    let trained: &[Stage] = &[Sft, Systems];
    let changes = [
        edit(
            "model/generation_config.json",
            |text| text.replacen('{', "{ ", 1),
            &[Sft, Systems, Validation, Checkpoint],
        ),
        set("model.folder", "./model", &[]),
        // The whole key of what depends on frozen weights.
        set("model.compute", "f32", &[Sft, Systems, Validation, Checkpoint, Answers]),
        set("adapter.rank", "3", trained),
        set("adapter.alpha", "8.0", trained),
        set("adapter.dropout", "0.2", trained),
        set("adapter.rslora", "true", trained),
        set("adapter.targets", "[\"q_proj\"]", trained),
    ];
    each(&changes, |change| check(&place, change));
    // A note beside the weights decides nothing.
    place.write("model/README.md", "A note.");
    each(&[set("run.name", "other", &[])], |change| check(&place, change));
}

/// What `tabpo sft` says of the checkpoint of a killed run; the run is ended there.
fn says_of_checkpoint(place: &Place, arguments: &[String]) -> String {
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("tabpo"))
        .current_dir(place.path(""))
        .args(["--threads", "1", "sft", "config.toml"])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
    let mut seen = Vec::new();
    for line in lines {
        let line = line.expect("text");
        let found = line.starts_with("sft: goes on after step") || line.starts_with("sft: starts over");
        seen.push(line);
        if found {
            break;
        }
    }
    child.kill().expect("the child can be killed");
    child.wait().expect("the child ends");
    seen.pop().unwrap_or_default()
}

#[test]
fn a_killed_training_is_gone_on_with_exactly_where_nothing_changed_that_it_reads() {
    let place = place();
    // Far more steps than will be made.
    place.write("config.toml", &SCRATCH.replace("[sft]\nsteps = 2", "[sft]\nsteps = 100000\ncheckpoint_every = 2"));
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("tabpo"))
        .current_dir(place.path(""))
        .args(["--threads", "1", "sft", "config.toml", "--quiet"])
        .spawn()
        .expect("the program starts");
    while !place.path("run/sft/checkpoint").exists() {
        assert!(child.try_wait().expect("the child can be asked").is_none(), "it ended by itself");
        thread::yield_now();
    }
    child.kill().expect("the child can be killed");
    child.wait().expect("the child ends");

    each(&changes(), |change| {
        let (changed, arguments) = change.apply(&place);
        let line = says_of_checkpoint(&changed, &arguments);
        let goes_on = !change.direct.iter().any(|stage| matches!(stage, Base | Warmup | Sft));
        let expected = if goes_on { "sft: goes on after step" } else { "sft: starts over" };
        if line.starts_with(expected) { Ok(()) } else { Err(format!("{line:?}, not {expected:?}")) }
    });
}
