//! Thresholds on the probability at which a list goes on, with a small model that has been trained.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::Value;
use tabpo_answer::{Tier, align, parse};
use tabpo_corpus::{Document, Level, Unit};
use tabpo_engine::{Compute, Decoder, KvCache, Sampling};
use tabpo_metrics::{Evaluation, Predictions, count};
use tabpo_ontology::AnswerForm;
use tabpo_pipeline::{
    Configuration, ErrorKind, Observer, Overrides, Pipeline, RunResult, Until,
    config::PredictSection,
    device::LazyDevice,
    observer::StageState,
    run::{ListEnds, PolicyFolder, Prediction, Renderer, Thresholds, tune},
};
use tabpo_roles::List;
use tempfile::TempDir;

/// A model that has learnt the form of answers and is unsure of their content.
const CONFIGURATION: &str = r#"
[run]
name = "thresholds"
[data.synthetic]
sft = 200
curated = 16
validation = 24
test = 24
[model]
vocabulary = 500
hidden = 64
layers = 2
heads = 4
kv_heads = 4
intermediate = 128
[warmup]
sentences = 400
[warmup.train]
steps = 150
learning_rate = 3e-3
[sft]
steps = 80
learning_rate = 3e-3
[preference]
objectives = ["dpo"]
[preference.train]
steps = 1
[predict]
max_new_tokens = 400
threshold = "tuned"
[evaluate]
resamples = 20
"#;

struct Run {
    folder: TempDir,
    config: Configuration,
    result: RunResult,
    validation: Vec<Document>,
    test: Vec<Document>,
}

/// A finished run, which all tests share.
fn run() -> &'static Run {
    static RUN: OnceLock<Run> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("thresholds.toml");
        fs::write(&file, CONFIGURATION).expect("writable");
        let directory = format!("run.directory={}", folder.path().join("run").display());
        let overrides = Overrides { set: vec![directory], ..Overrides::default() };
        let config = Configuration::read(&file, &overrides).expect("a sound configuration");
        let pipeline = Pipeline::new(config.clone(), &()).expect("sound input");
        let result = pipeline.run(Until::Report, &()).expect("the run succeeds");
        let sizes = config.data.synthetic.as_ref().expect("the built-in corpus");
        let corpus = tabpo_synthetic::generate(&sizes.corpus(config.run.seed));
        Run { folder, config, result, validation: corpus.validation, test: corpus.test }
    })
}

/// The SFT model of the run.
struct Model {
    policy: PolicyFolder,
    renderer: Renderer,
    device: LazyDevice,
}

impl Model {
    fn new() -> Self {
        let policy = PolicyFolder::model(run().result.directory.join("sft/policy"), Compute::F32);
        let renderer =
            Renderer::open(&policy, tabpo_synthetic::ontology(), AnswerForm::List, None, &()).expect("a prompt");
        Self { policy, renderer, device: LazyDevice::cpu() }
    }

    fn prediction<'a>(&'a self, settings: &'a PredictSection, list_ends: ListEnds) -> Prediction<'a> {
        Prediction {
            name: "test",
            policy: &self.policy,
            device: &self.device,
            renderer: &self.renderer,
            ontology: tabpo_synthetic::ontology(),
            form: AnswerForm::List,
            level: Level::Sentence,
            settings,
            samples: 1,
            sampling: Sampling::GREEDY,
            list_ends,
            strict: true,
        }
    }

    fn answers(&self, settings: &PredictSection, list_ends: ListEnds) -> Vec<Value> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("answers.jsonl");
        self.prediction(settings, list_ends).write(&run().validation, &path, "id", &()).expect("answers");
        lines(&path)
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("a file");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn settings(constrained: bool) -> PredictSection {
    PredictSection { max_new_tokens: 400, constrained, ..PredictSection::default() }
}

fn outputs(answers: &[Value]) -> Vec<&str> {
    answers.iter().map(|answer| answer["output"].as_str().expect("an answer")).collect()
}

fn at(entities: f64, relations: f64) -> ListEnds {
    ListEnds::at(Thresholds { entities, relations })
}

fn recorded(entities: f64, relations: f64) -> ListEnds {
    ListEnds { recorded: true, ..at(entities, relations) }
}

fn items(answers: &[Value]) -> [usize; 2] {
    let parsed: Vec<_> = outputs(answers).into_iter().map(|text| parse(text, tabpo_synthetic::ontology())).collect();
    [parsed.iter().map(|one| one.entities.len()).sum(), parsed.iter().map(|one| one.relations.len()).sum()]
}

fn decisions(answers: &[Value]) -> usize {
    answers.iter().filter_map(|answer| answer["decisions"].as_array()).map(Vec::len).sum()
}

#[test]
fn at_one_half_the_rule_writes_the_bytes_of_greedy_decoding() {
    let model = Model::new();
    for constrained in [false, true] {
        let settings = settings(constrained);
        let greedy = model.answers(&settings, ListEnds::GREEDY);
        assert_eq!(decisions(&greedy), 0);
        // The rule decides at every fork, and writes down that it does.
        let decided = model.answers(&settings, recorded(0.5, 0.5));
        assert!(decisions(&decided) > 3 * greedy.len(), "{} decisions", decisions(&decided));
        assert_eq!(outputs(&decided), outputs(&greedy));
    }
}

#[test]
fn a_curve_has_the_scores_of_decoding_at_each_threshold() {
    let model = Model::new();
    let ontology = tabpo_synthetic::ontology();
    let scores = |list_ends: ListEnds, settings: &PredictSection| -> Evaluation {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("answers.jsonl");
        model.prediction(settings, list_ends).write(&run().validation, &path, "id", &()).expect("answers");
        let mut predictions = Predictions::open(&path).expect("predictions");
        Evaluation::of(&count(run().validation.iter().map(Ok), &mut predictions, ontology).expect("counts"))
    };
    for constrained in [false, true] {
        let settings = settings(constrained);
        let folder = tempfile::tempdir().expect("a folder");
        let prediction = model.prediction(&settings, ListEnds::GREEDY);
        let curves = tune(&prediction, &run().validation, folder.path(), &()).expect("curves");
        assert_eq!(curves.iter().map(|curve| curve.list).collect::<Vec<_>>(), List::ALL);
        let mut different = 0;
        for number in [0, 3, 6, 9, 13, 18] {
            let [entities, relations] = [0, 1].map(|list| curves[list].points[number]);
            let found = scores(at(entities.threshold, 0.5), &settings);
            assert_eq!(entities.scores, prf(&found.set.ner.micro), "entities at {}", entities.threshold);
            let found = scores(at(curves[0].chosen, relations.threshold), &settings);
            assert_eq!(relations.scores, prf(&found.set.rel_symmetric.micro), "relations at {}", relations.threshold);
            different += usize::from(entities.scores != curves[0].points[9].scores);
            different += usize::from(relations.scores != curves[1].points[9].scores);
        }
        assert!(different >= 3, "thresholds make a difference: {curves:?}");
        for curve in &curves {
            let best = curve.points.iter().filter_map(|point| point.scores.f1).fold(0.0, f64::max);
            let chosen = curve.points.iter().find(|point| point.threshold == curve.chosen).expect("on the grid");
            assert_eq!(chosen.scores.f1, Some(best));
            assert!(curve.written_tokens > 0);
        }
        // Nothing is decoded twice.
        let before = files(folder.path());
        assert_eq!(tune(&prediction, &run().validation, folder.path(), &()).expect("curves"), curves);
        assert_eq!(files(folder.path()), before);
    }
}

fn prf(scores: &tabpo_metrics::Scores) -> tabpo_metrics::Prf {
    tabpo_metrics::Prf { p: scores.p, r: scores.r, f1: scores.f1 }
}

fn files(folder: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| (entry.path(), entry.metadata().expect("facts").modified().expect("a time")))
        .collect();
    found.sort();
    found
}

/// The log-odds of every decision, computed again from whole sequences and from what tokens spell.
#[test]
fn decisions_are_about_the_tokens_that_go_on_and_end() {
    let model = Model::new();
    let tokenizer = &model.renderer.tokenizer;
    let format = model.renderer.format().expect("a format");
    let (weights, adapter) = model.policy.open().expect("a model");
    let mut decoder = Decoder::new(&weights, adapter.as_ref());
    let answers = model.answers(&settings(false), recorded(0.2, 0.2));
    let units: Vec<Unit> = run().validation.iter().flat_map(|one| Unit::all(one, Level::Sentence)).collect();
    let mut checked = [0, 0];
    for (unit, answer) in units.iter().zip(&answers) {
        let text = answer["output"].as_str().expect("an answer");
        let prompt = format.prompt(unit.text()).expect("a prompt");
        let encoded = tokenizer.encode_continuation("", text).expect("tokens");
        for decision in answer["decisions"].as_array().into_iter().flatten() {
            let place = decision["at"].as_u64().expect("a place") as usize;
            let log_odds = decision["log_odds"].as_f64().expect("a number");
            let went_on = !text[place..].starts_with(']');
            let sign = if went_on { 1.0 } else { -1.0 };
            // The token that reaches beyond the place, or the one before, after which there is only one way.
            let reaches = encoded.ranges.iter().position(|range| range.end > place).expect("a token");
            let near = [reaches, reaches.saturating_sub(1)].into_iter().any(|index| {
                let written = encoded.ids[index];
                let mut cache = KvCache::new(&weights.config, 1, 600);
                let sequence = [prompt.as_slice(), &encoded.ids[..index]].concat();
                let logits = decoder.prefill(&[&sequence], &mut cache).to_vec();
                // A token as likely as it should be, which decides otherwise, or which ends before the place.
                (0..tokenizer.vocabulary_size() as u32).filter(|&token| token != written).any(|other| {
                    let difference = sign * f64::from(logits[written as usize] - logits[other as usize]);
                    if (difference - log_odds).abs() >= 1e-3 {
                        return false;
                    }
                    let with = tokenizer.decode(&[&encoded.ids[..index], &[other]].concat(), false).expect("text");
                    match with.strip_prefix(&text[..place]) {
                        Some(rest) if went_on => rest.starts_with(']') || rest.is_empty(),
                        Some(rest) => rest.starts_with([',', '{']) || rest.is_empty(),
                        None => text[..place].starts_with(&with),
                    }
                })
            });
            assert!(near || log_odds == f64::MIN, "{log_odds}, {text} at {place}");
            let threshold = (0.2_f64 / 0.8).ln();
            assert_eq!(went_on, log_odds > threshold, "{text} at {place}");
            checked[usize::from(decision["list"] == "relations")] += 1;
        }
    }
    assert!(checked.iter().all(|&count| count > 20), "{checked:?}");
}

#[test]
fn lower_thresholds_write_more_and_constrained_answers_stay_valid() {
    let model = Model::new();
    let mut before = [usize::MAX; 2];
    for threshold in [0.02, 0.5, 0.98] {
        let answers = model.answers(&settings(true), at(threshold, threshold));
        let now = items(&answers);
        assert!(now[0] <= before[0] && now[1] <= before[1], "{now:?} after {before:?}");
        assert!(threshold != 0.98 || now < before, "{now:?} after {before:?}");
        before = now;
        let units = run().validation.iter().flat_map(|one| Unit::all(one, Level::Sentence));
        for (unit, text) in units.zip(outputs(&answers)) {
            let ontology = tabpo_synthetic::ontology();
            let aligned = align(&parse(text, ontology), &unit, ontology);
            assert!(aligned.valid_at(Tier::Grounding), "{text}: {:?}", aligned.faults);
        }
    }
}

/// Asks to stop once the flag has been read so often.
struct Stopping {
    left: Cell<usize>,
    stop: AtomicBool,
}

impl Observer for Stopping {
    fn stop_flag(&self) -> &AtomicBool {
        let left = self.left.get().saturating_sub(1);
        self.left.set(left);
        self.stop.store(left == 0, Ordering::SeqCst);
        &self.stop
    }
}

#[test]
fn answers_depend_on_no_batch_and_on_no_interruption() {
    let model = Model::new();
    let list_ends = recorded(0.1, 0.7);
    let whole = model.answers(&settings(false), list_ends);
    assert!(decisions(&whole) > 0);
    for batch_size in [1, 5] {
        let settings = PredictSection { batch_size, ..settings(false) };
        assert_eq!(model.answers(&settings, list_ends), whole, "batches of {batch_size}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("answers.jsonl");
    let settings = PredictSection { batch_size: 3, ..settings(false) };
    let prediction = model.prediction(&settings, list_ends);
    let stopping = Stopping { left: Cell::new(400), stop: AtomicBool::new(false) };
    let error = prediction.write(&run().validation, &path, "id", &stopping).expect_err("it was asked to stop");
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    let kept = fs::read_to_string(folder.path().join("answers.id.partial")).expect("answers are kept");
    assert!((1..whole.len()).contains(&kept.lines().count()), "{} answers", kept.lines().count());
    prediction.write(&run().validation, &path, "id", &()).expect("the rest");
    assert_eq!(lines(&path), whole);
}

#[derive(Default)]
struct Recorder(std::cell::RefCell<Vec<String>>);

impl Observer for Recorder {
    fn stage(&self, name: &str, state: StageState) {
        if matches!(state, StageState::Finished { .. }) {
            self.0.borrow_mut().push(name.to_owned());
        }
    }
}

#[test]
fn a_run_compares_every_system_with_and_without_thresholds() {
    let run = run();
    let scores = run.result.scores.as_ref().expect("scores");
    let names: Vec<&str> = scores.comparison.systems.iter().map(|system| system.name.as_str()).collect();
    let plain = ["sft", "continued-sft", "gated-sft", "dpo", "continued-sft-equal-flops"];
    let tuned: Vec<String> = plain.iter().map(|name| format!("{name} with tuned threshold")).collect();
    assert_eq!(names[..5], plain);
    assert_eq!(names[5..], tuned);
    assert_eq!(scores.thresholds.iter().map(|system| system.name.clone()).collect::<Vec<_>>(), tuned);
    let written: Value =
        serde_json::from_slice(&fs::read(run.result.directory.join("comparison.json")).expect("a file")).expect("JSON");
    assert_eq!(written["thresholds"].as_array().expect("a list").len(), 5);

    // The row is that of decoding the test documents at the thresholds.
    let model = Model::new();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("answers.jsonl");
    let settings = settings(false);
    let list_ends = ListEnds::at(scores.thresholds[0].runs[0]);
    model.prediction(&settings, list_ends).write(&run.test, &path, "id", &()).expect("answers");
    assert_eq!(lines(&path), lines(&run.result.directory.join("sft/test-tuned.jsonl")));

    let page = fs::read_to_string(&run.result.output).expect("a page");
    let thresholds = scores.thresholds[3].runs[0];
    assert!(page.contains("dpo with tuned threshold"));
    assert!(
        page.contains(&format!("{:.2} for entities, {:.2} for relations", thresholds.entities, thresholds.relations))
    );

    let again = Recorder::default();
    let pipeline = Pipeline::new(run.config.clone(), &again).expect("sound input");
    pipeline.run(Until::Report, &again).expect("the run succeeds");
    assert_eq!(again.0.take(), [""; 0], "everything is up to date");

    // A damaged curve is read off again, without another decoding.
    let copy = run.folder.path().join("copy");
    copy_folder(&run.result.directory, &copy);
    fs::write(copy.join("sft/thresholds/relations.json"), "{}").expect("writable");
    let mut config = run.config.clone();
    config.run.directory = Some(copy);
    Pipeline::new(config, &again).expect("sound input").run(Until::Report, &again).expect("the run succeeds");
    assert_eq!(again.0.take(), ["sft/thresholds/relations-curve"]);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}
