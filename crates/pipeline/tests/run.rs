//! A whole run through the library, without the program: what is reported, what comes back, what is on the page.

use std::{
    cell::RefCell,
    fs,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use tabpo_answer::{form_of, read_canonical};
use tabpo_corpus::{Level, Unit};
use tabpo_ontology::AnswerForm;
use tabpo_pipeline::{
    Configuration, ErrorKind, Observer, Overrides, Pipeline, Program, RunResult, Until,
    observer::{Progress, StageState},
};
use tabpo_synthetic::SyntheticConfig;
use tempfile::TempDir;

/// The quick start in a few seconds.
const TINY: &str = r#"
[run]
name = "a tiny run"
[data.synthetic]
sft = 48
curated = 16
validation = 8
test = 8
[model]
vocabulary = 400
hidden = 32
layers = 1
heads = 2
kv_heads = 2
intermediate = 64
[sft]
steps = 6
checkpoint_every = 2
[preference]
objectives = ["dpo", "tab-po"]
[preference.train]
steps = 2
[predict]
max_new_tokens = 24
[evaluate]
resamples = 50
"#;

/// Remembers what it hears.
#[derive(Default)]
struct Recorder {
    stages: RefCell<Vec<(String, StageState)>>,
    said: RefCell<Vec<String>>,
    stop: AtomicBool,
    /// The stage at whose beginning the run is asked to stop.
    stop_at: Option<&'static str>,
}

impl Observer for Recorder {
    fn stage(&self, name: &str, state: StageState) {
        self.stages.borrow_mut().push((name.to_owned(), state));
        if self.stop_at == Some(name) {
            self.stop.store(true, Ordering::SeqCst);
        }
    }

    fn say(&self, text: &str) {
        self.said.borrow_mut().push(text.to_owned());
    }

    fn progress(&self, label: &str, total: u64) -> Box<dyn Progress> {
        assert!(total > 0, "{label}");
        Box::new(())
    }

    fn stop_flag(&self) -> &AtomicBool {
        &self.stop
    }
}

impl Recorder {
    /// The stages that were run.
    fn finished(&self) -> Vec<String> {
        let stages = self.stages.borrow();
        let finished = stages.iter().filter(|(_, state)| matches!(state, StageState::Finished { .. }));
        finished.map(|(name, _)| name.clone()).collect()
    }
}

fn configuration(folder: &Path) -> Configuration {
    let file = folder.join("tiny.toml");
    fs::write(&file, TINY).expect("writable");
    let directory = format!("run.directory={}", folder.join("run").display());
    Configuration::read(&file, &Overrides { set: vec![directory], ..Overrides::default() })
        .expect("a sound configuration")
}

/// A finished run, which all tests of its results share.
fn finished() -> &'static (TempDir, RunResult) {
    static RUN: OnceLock<(TempDir, RunResult)> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let pipeline = Pipeline::new(configuration(folder.path()), &()).expect("sound input");
        let result = pipeline.run(Until::Report, &()).expect("the run succeeds");
        (folder, result)
    })
}

fn page() -> String {
    fs::read_to_string(&finished().1.output).expect("the page was written")
}

#[test]
fn a_run_can_be_stopped_and_resumed_and_does_nothing_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = configuration(folder.path());

    let stopping = Recorder { stop_at: Some("pairs"), ..Recorder::default() };
    let pipeline = Pipeline::new(config.clone(), &stopping).expect("sound input");
    let error = pipeline.run(Until::Report, &stopping).expect_err("it was asked to stop");
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(error.hint().is_some_and(|hint| hint.contains("resume")), "an interrupted run says how to resume it");
    let before = stopping.finished();
    assert_eq!(before, ["base", "sft", "errors/validation", "errors", "pairs"]);

    let resuming = Recorder::default();
    let result = pipeline.run(Until::Report, &resuming).expect("the run succeeds");
    assert!(resuming.finished().iter().all(|name| !before.contains(name)), "{:?}", resuming.finished());
    assert!(resuming.finished().iter().any(|name| name == "comparison"));
    let text = fs::read(result.directory.join("comparison.json")).expect("the comparison was written");

    let again = Recorder::default();
    Pipeline::new(config, &again).expect("sound input").run(Until::Report, &again).expect("the run succeeds");
    assert_eq!(again.finished(), [""; 0], "everything is up to date");
    assert_eq!(fs::read(result.directory.join("comparison.json")).expect("it is still there"), text);

    // Stopping decides nothing.
    let whole = fs::read(finished().1.directory.join("comparison.json")).expect("the comparison was written");
    assert!(text == whole, "an interrupted run comes to the same scores");
}

#[test]
fn the_result_has_every_system_with_its_scores() {
    let (_, result) = finished();
    let scores = result.scores.as_ref().expect("a run to the report has scores");
    let names: Vec<&str> = scores.comparison.systems.iter().map(|system| system.name.as_str()).collect();
    let expected = ["sft", "continued-sft", "gated-sft", "dpo", "tab-po", "continued-sft-equal-flops"];
    assert_eq!(names, expected);
    assert_eq!(scores.evaluations.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), expected);
    // One evaluation in two forms: the table of the comparison and all scores of a system.
    let ner = scores.comparison.metrics.iter().position(|metric| metric.key == "ner_f1").expect("NER is compared");
    for (system, (name, evaluation)) in scores.comparison.systems.iter().zip(&scores.evaluations) {
        assert_eq!(system.scores[ner].value, evaluation.set.ner.micro.f1, "{name}");
    }
    assert!(result.directory.join("systems/dpo").is_dir());
}

#[test]
fn the_page_has_every_section_and_links_to_it() {
    let page = page();
    for (anchor, heading) in [
        ("comparison", "Comparison"),
        ("texts", "Texts"),
        ("labels", "Scores by label"),
        ("errors", "Error modes"),
        ("curves", "Training curves"),
        ("gradient", "Gradient by token role"),
        ("erosion", "Likelihood by token role"),
        ("pairs", "Preference pairs"),
        ("run", "How it was made"),
    ] {
        assert!(page.contains(&format!("<section id=\"{anchor}\"><h2>{heading}</h2>")), "{heading}");
        assert!(page.contains(&format!("<a href=\"#{anchor}\">{heading}</a>")), "{heading}");
    }
    assert!(!page.contains("id=\"remote\""), "there is no hosted model");
}

#[test]
fn the_page_shows_the_numbers_of_the_comparison() {
    let page = page();
    let scores = finished().1.scores.as_ref().expect("a run to the report has scores");
    let start = page.find("<section id=\"comparison\">").expect("the section is there");
    let section = &page[start..start + page[start..].find("</section>").expect("it ends")];
    // The table, row by row.
    let mut shown_values = 0;
    for system in &scores.comparison.systems {
        let row = section
            .split("<tr")
            .find(|row| row.contains(&format!(">{}<", system.name)))
            .unwrap_or_else(|| panic!("{} has a row", system.name));
        for (metric, score) in scores.comparison.metrics.iter().zip(&system.scores) {
            if let Some(value) = score.value {
                let shown = format!("{:.1}", 100.0 * value);
                assert!(row.contains(&shown), "{}, {}: {shown} in {row}", system.name, metric.title);
                shown_values += 1;
            }
        }
    }
    assert!(shown_values >= 6, "there are scores to compare with");
    let counted = scores.evaluations[0].1.set.ner.per_label.values().map(|label| label.gold).max().unwrap_or(0);
    let start = page.find("<section id=\"labels\">").expect("the section is there");
    assert!(page[start..].contains(&format!(">{counted}<")), "the support of the commonest label");
}

#[test]
fn the_page_says_when_where_and_by_what_it_was_made_and_stays_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = configuration(folder.path());
    let program = Program { version: "1.2.3".into(), commit: Some("0123456789ab".into()) };
    let pipeline = Pipeline::new(config.clone(), &()).expect("sound input").made_by(program);
    let first = fs::read(pipeline.run(Until::Report, &()).expect("the run succeeds").output).expect("a page");
    let text = String::from_utf8(first.clone()).expect("a page is UTF-8");
    assert!(text.contains(" by tabpo 1.2.3 (commit 0123456789ab) on "), "it names its maker");
    let verdict = text.split("<p class=\"verdict\">").nth(1).expect("there is a verdict");
    assert!(verdict.starts_with("On NER F1, "), "{}", &verdict[..80]);
    assert!(text.contains("<strong>Few documents. </strong>"), "eight sentences are in a few documents");
    // Another program that finds everything done changes nothing.
    let again = Pipeline::new(config, &()).expect("sound input").run(Until::Report, &()).expect("the run succeeds");
    assert!(fs::read(again.output).expect("a page") == first, "the page stays the same bytes");
}

#[test]
fn the_page_shows_every_test_sentence() {
    let page = page();
    let data = page.split("id=\"texts-data\">").nth(1).and_then(|rest| rest.split("</script>").next());
    let data: serde_json::Value = serde_json::from_str(data.expect("there are texts")).expect("they are JSON");
    assert_eq!(data["cases"].as_array().expect("a list").len(), 8);
    assert_eq!(data["systems"].as_array().expect("a list").len(), 6);
    let scores = finished().1.scores.as_ref().expect("a run to the report has scores");
    // Every error that the tables count is one of the texts'.
    for (system, (name, modes)) in scores.modes.iter().enumerate() {
        let counted: u64 = modes.modes.iter().map(|mode| mode.count).sum();
        let cases = data["cases"].as_array().expect("a list").iter();
        let shown = cases.map(|case| {
            let answer = case[4][system].as_u64().expect("a position") as usize;
            case[3][answer][1].as_array().expect("a list of errors").len() as u64
        });
        assert_eq!(shown.sum::<u64>(), counted, "{name}");
    }
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let page = page();
    for reference in ["http://", "https://", "src=", "<link", "<script src", "@import", "url("] {
        // The namespace of drawings is a name, not an address that is asked for.
        let found = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!found.contains(reference), "{reference}");
    }
}

#[test]
fn the_page_shows_the_configuration_as_it_was_resolved() {
    let (_, result) = finished();
    let resolved = fs::read_to_string(result.directory.join("run.toml")).expect("the configuration was written");
    let line = resolved.lines().find(|line| line.starts_with("max_new_tokens")).expect("the key was given");
    assert!(page().contains(line), "{line}");
}

#[test]
fn wrong_input_is_found_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = configuration(folder.path());
    config.sft.batch_size = 0;
    let error = Pipeline::new(config.clone(), &()).err().expect("a batch of nothing");
    assert_eq!(error.kind(), ErrorKind::Input);
    assert_eq!(error.to_string(), "sft.batch_size is 0, but must be a whole number from 1 to 65536");
    config.sft.batch_size = 16;
    config.preference.objectives.push("tab-pro".to_owned());
    let error = Pipeline::new(config, &()).err().expect("there is no such objective");
    assert!(error.hint().is_some_and(|hint| hint.contains("`tab-po`")));
    assert!(!folder.path().join("run").exists());
}

/// The whole way in the marked form, from training to the page, constrained decoding included.
#[test]
fn a_run_in_the_marked_form_goes_all_the_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tiny.toml");
    let text = TINY.replace("max_new_tokens = 24", "max_new_tokens = 24\nconstrained = true");
    let text = text.replace("objectives = [\"dpo\", \"tab-po\"]", "objectives = [\"tab-po\", \"f-credit\"]");
    fs::write(&file, text).expect("writable");
    let directory = format!("run.directory={}", folder.path().join("run").display());
    let set = vec![directory, "answer.form=marked".to_owned()];
    let config = Configuration::read(&file, &Overrides { set, ..Overrides::default() }).expect("a sound configuration");
    let pipeline = Pipeline::new(config, &()).expect("sound input");
    let example = pipeline.check(false, &()).expect("it can be looked at").example.expect("there is an example");
    let shown: String = example.answer.iter().map(|piece| piece.text.as_str()).collect();
    assert!(shown.contains("|1]") && shown.contains("\n1 2|") && shown.contains("\n{\"entities\":["), "{shown}");
    let result = pipeline.run(Until::Report, &()).expect("the run succeeds");

    let lines = |path: &str| -> Vec<serde_json::Value> {
        let text = fs::read_to_string(result.directory.join(path)).expect("a file");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    for pair in lines("pairs/pairs.jsonl") {
        for side in ["chosen", "rejected"] {
            let answer = pair[side].as_str().expect("a text");
            assert!(read_canonical(answer, tabpo_synthetic::ontology()).is_some(), "{answer}");
            assert_eq!(form_of(answer), AnswerForm::Marked);
        }
    }
    let answers = lines("sft/test-constrained.jsonl");
    assert_eq!(answers.len(), 8);
    // The test documents of a corpus don't depend on its other splits.
    let sizes = SyntheticConfig { seed: 1, sft: 0, gold: 0, validation: 0, test: 8, bias: 0.0 };
    let corpus = tabpo_synthetic::generate(&sizes).test;
    let sentences: Vec<&str> =
        corpus.iter().flat_map(|document| Unit::all(document, Level::Sentence)).map(|unit| unit.text()).collect();
    for answer in &answers {
        assert_eq!(answer["form"], "marked", "a prediction says how it is to be read");
        // Cut off after a few tokens, a constrained answer is the beginning of its source with brackets.
        let text = answer["output"].as_str().expect("a text");
        let parts = text.split('[').map(|part| {
            let (before, rest) = part.split_once('|').unwrap_or((part, ""));
            format!("{before}{}", rest.split_once(']').map_or("", |(_, rest)| rest))
        });
        let copied: String = parts.collect();
        assert!(!copied.is_empty() && sentences.iter().any(|sentence| sentence.starts_with(&copied)), "{text}");
    }
    let names: Vec<&str> =
        result.scores.iter().flat_map(|scores| &scores.evaluations).map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"f-credit") && names.contains(&"sft (constrained)"), "{names:?}");
    let page = fs::read_to_string(&result.output).expect("the page was written");
    assert!(page.contains("form = &quot;marked&quot;") || page.contains("form = \"marked\""));
}
