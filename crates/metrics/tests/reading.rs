//! Large files are read in chunks, by several threads, in whatever order the predictions have. Nothing that
//! comes of them may depend on that, and faults must be found wherever they are.

mod common;

use std::path::{Path, PathBuf};

use tabpo_corpus::{Format, stream};
use tabpo_metrics::{Counts, EvaluationError, Predictions, count};
use tabpo_ontology::Ontology;
use tempfile::TempDir;

/// So many that the files have several chunks.
const COPIES: usize = 200;

struct Files {
    folder: TempDir,
    gold: PathBuf,
    ontology: Ontology,
}

/// The lines of a fixture several times over, the documents of each copy with names of their own.
fn repeated(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(common::fixture(name)).expect("the fixture is part of the repository");
    let documents = ["reef", "kiln", "loom", "bees", "frost", "ink"];
    let copy = |copy: usize| {
        let lines = text.lines().map(move |line| {
            let named = documents.iter().fold(line.to_owned(), |line, name| {
                line.replace(&format!("\"doc_key\": \"{name}\""), &format!("\"doc_key\": \"{name}-{copy}\""))
            });
            assert_ne!(named, line, "the document of each line is known");
            named
        });
        lines.collect::<Vec<_>>()
    };
    (0..COPIES).flat_map(copy).collect()
}

impl Files {
    fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let gold = folder.path().join("gold.jsonl");
        std::fs::write(&gold, repeated("gold.jsonl").join("\n")).expect("a write");
        Self { folder, gold, ontology: common::scierc_ontology() }
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join("predictions.jsonl");
        std::fs::write(&path, bytes).expect("a write");
        path
    }

    fn count(&self, path: &Path, threads: usize) -> Result<Counts, EvaluationError> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool");
        pool.install(|| {
            let mut gold = stream(&self.gold, Some(Format::Dygie), &self.ontology).expect("a file").expect("a stream");
            count(&mut gold, &mut Predictions::open(path)?, &self.ontology)
        })
    }
}

#[track_caller]
fn assert_same(found: &Counts, expected: &Counts) {
    assert_eq!(found.kind, expected.kind);
    assert_eq!(found.table, expected.table);
    assert_eq!((&found.confusion, &found.faults), (&expected.confusion, &expected.faults));
    assert_eq!(found.notes, expected.notes);
}

#[test]
fn the_way_of_reading_changes_nothing() {
    let files = Files::new();
    let documents = common::read_gold(&files.gold, &files.ontology);
    for name in ["offsets_a", "offsets_b", "raw_sentences_ids", "raw_sentences_texts", "raw_documents_ids"] {
        let lines = repeated(&format!("{name}.jsonl"));
        let path = files.write(lines.join("\n").as_bytes());
        let mut predictions = Predictions::open(&path).expect("valid predictions");
        let expected = common::count_documents(&documents, &mut predictions, &files.ontology).expect("they fit");
        assert_eq!(expected.table.documents(), documents.len());
        for threads in [1, 2, 5] {
            assert_same(&files.count(&path, threads).expect("they fit"), &expected);
        }
        // Blank lines are nothing, wherever they are and however many.
        let blank = " \r\n".repeat(300);
        let path = files.write(format!("{blank}{}\n{blank} ", lines.join(&format!("\r\n{blank}"))).as_bytes());
        assert_same(&files.count(&path, 2).expect("they fit"), &expected);
    }
}

#[test]
fn predictions_can_be_gone_through_again() {
    let files = Files::new();
    let path = files.write(repeated("raw_sentences_ids.jsonl").join("\n").as_bytes());
    let documents = common::read_gold(&files.gold, &files.ontology);
    let mut predictions = Predictions::open(&path).expect("valid predictions");
    let mut again = || common::count_documents(&documents, &mut predictions, &files.ontology).expect("they fit");
    assert_same(&again(), &again());
}

#[cfg(unix)]
#[test]
fn a_pipe_is_read_once() {
    let files = Files::new();
    let text = repeated("raw_sentences_ids.jsonl").join("\n");
    let expected = files.count(&files.write(text.as_bytes()), 2).expect("they fit");
    let pipe = files.folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("a Unix tool").success());
    let found = std::thread::scope(|scope| {
        scope.spawn(|| std::fs::write(&pipe, &text).expect("a write"));
        files.count(&pipe, 2)
    });
    assert_same(&found.expect("they fit"), &expected);
}

#[test]
fn the_order_of_predictions_does_not_matter() {
    let files = Files::new();
    let lines = repeated("raw_sentences_ids.jsonl");
    let expected = files.count(&files.write(lines.join("\n").as_bytes()), 2).expect("they fit");
    let (first, last) = (lines[0].clone(), lines[lines.len() - 1].clone());
    let mut orders: Vec<Vec<String>> = vec![lines.clone(); 4];
    orders[0].reverse();
    // One line far from the others of its document, and back.
    orders[1].remove(0);
    orders[1].push(first.clone());
    orders[2].pop();
    orders[2].insert(0, last);
    orders[3].swap(0, lines.len() / 2);
    for order in orders {
        let path = files.write(order.join("\n").as_bytes());
        assert_same(&files.count(&path, 2).expect("they fit"), &expected);
    }
    // Fields may come in any order, others between them.
    let unusual = first.replacen("\"doc_key\": \"reef-0\", \"sent\": 0", "\"sent\": 0, \"doc_key\": \"reef-0\"", 1);
    assert_ne!(unusual, first);
    let mut order = lines.clone();
    order[0] = unusual.replacen('{', "{\"note\": {}, ", 1);
    let path = files.write(order.join("\n").as_bytes());
    assert_same(&files.count(&path, 2).expect("they fit"), &expected);
}

#[test]
fn faults_of_predictions_are_found() {
    let files = Files::new();
    let lines = repeated("raw_sentences_ids.jsonl");
    let middle = lines.len() / 2;
    let with = |line: usize, bytes: &[u8]| {
        let mut text = Vec::new();
        for (index, old) in lines.iter().enumerate() {
            text.extend_from_slice(if index == line { bytes } else { old.as_bytes() });
            text.push(b'\n');
        }
        text
    };
    let key = lines[middle].split(',').next().expect("the document comes first").to_owned();
    let offsets = format!("{key}, \"predicted_ner\": [], \"predicted_relations\": []}}");
    let of_nothing = lines[middle].replacen("\"doc_key\": \"", "\"doc_key\": \"un", 1);
    let far_sentence = format!("{key}, \"sent\": 99, \"output\": \"\"}}");
    let twice = format!("{}\n{}", lines[middle], lines[middle]);
    let no_output = format!("{key}, \"sent\": 0, \"output\": null}}");
    let cut = &lines[middle].as_bytes()[..lines[middle].len() / 2];
    let faults: [&[u8]; 7] = [
        cut,
        b"\"\xff\"",
        offsets.as_bytes(),
        of_nothing.as_bytes(),
        far_sentence.as_bytes(),
        twice.as_bytes(),
        no_output.as_bytes(),
    ];
    for fault in faults {
        let path = files.write(&with(middle, fault));
        let shown = String::from_utf8_lossy(fault);
        let found = files.count(&path, 2).map(|counts| counts.notes);
        assert!(matches!(found, Err(EvaluationError::Invalid { .. })), "{shown}: {found:?}");
    }
    // Lines about nothing, where a document is expected to begin.
    let last = lines.iter().position(|line| line.contains("\"ink-100\"")).expect("the document is there");
    for fault in ["{}", "{\"sent\": 1}", "{\"doc_key\": \"ink-100\"}", "null"] {
        let path = files.write(&with(last, fault.as_bytes()));
        let found = files.count(&path, 2).map(|counts| counts.notes);
        assert!(matches!(found, Err(EvaluationError::Invalid { line, .. }) if line == last + 1), "{fault}");
    }
    // A document too few is no fault, but is said.
    let rest = lines.iter().filter(|line| !line.starts_with("{\"doc_key\": \"kiln-7\"")).cloned().collect::<Vec<_>>();
    let path = files.write(rest.join("\n").as_bytes());
    assert!(files.count(&path, 2).expect("they fit").notes[0].contains("kiln-7"));
}

#[test]
fn a_document_that_gold_lacks_is_an_error() {
    let files = Files::new();
    let lines = repeated("raw_sentences_ids.jsonl");
    let unknown = lines[0].replacen("reef-0", "unknown", 1);
    let path = files.write(format!("{}\n{unknown}", lines.join("\n")).as_bytes());
    // Lines of blanks that are not of ASCII are no documents either, though they look like some.
    for rest in ["", "\n\n", "\n\u{a0}\n", "\n\u{a0}\n\u{3000}\n"] {
        std::fs::write(&files.gold, format!("{}{rest}", repeated("gold.jsonl").join("\n"))).expect("a write");
        let Err(EvaluationError::Invalid { line, found, .. }) = files.count(&path, 2) else { panic!("{rest:?}") };
        assert_eq!(line, lines.len() + 1);
        assert!(found.contains("`unknown`"), "{found}");
    }
}

#[test]
fn faults_of_gold_are_found() {
    let files = Files::new();
    let lines = repeated("gold.jsonl");
    let predictions = repeated("raw_sentences_ids.jsonl").join("\n");
    // The same document in the first part of the file and in the last.
    let (first, last) = ("\"kiln-0\"", format!("\"kiln-{}\"", COPIES - 1));
    let repeats = lines.iter().position(|line| line.contains(&last)).expect("the last copy has it");
    let twice: Vec<String> = lines.iter().map(|line| line.replace(&last, first)).collect();
    let mut broken = lines.clone();
    broken[lines.len() / 2].truncate(40);
    // What comes first in the file is named first.
    let mut both = lines.clone();
    both[2].clone_from(&lines[1]);
    both[3].truncate(40);
    let cases = [
        (both, predictions.clone(), 2, "line 2"),
        (twice, predictions.replace(&last, first), repeats, "line 2"),
        (broken, predictions.clone(), lines.len() / 2, "the line ends in the middle"),
    ];
    for (lines, predictions, line, words) in cases {
        std::fs::write(&files.gold, lines.join("\n")).expect("a write");
        let path = files.write(predictions.as_bytes());
        for threads in [1, 2] {
            let failure = files.count(&path, threads).map(|counts| counts.notes);
            let Err(EvaluationError::Gold(failure)) = failure else { panic!("{failure:?}") };
            let text = failure.to_string();
            assert!(text.contains(&format!("gold.jsonl:{}", line + 1)) && text.contains(words), "{text}");
        }
    }
}
