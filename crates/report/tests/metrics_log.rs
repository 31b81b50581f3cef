//! The training log over kills and restarts.

use std::fs;
use std::io::Write;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use tabpo_report::{MetricsLog, ReportError, read_metrics};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Step {
    step: u64,
    loss: f64,
}

#[test]
fn records_come_back_as_they_were_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metrics.jsonl");
    let mut log = MetricsLog::open(&path).unwrap();
    log.append("sft-step", &Step { step: 1, loss: 0.1 + 0.2 }).unwrap();
    log.append("evaluation", &serde_json::json!({"split": "test", "ner": 0.5})).unwrap();
    log.sync().unwrap();
    let records = read_metrics(&path).unwrap();
    assert_eq!(records[0].get::<Step>(), Some(Step { step: 1, loss: 0.1 + 0.2 }));
    assert_eq!((records[0].step(), records[1].step()), (Some(1), None));
    assert_eq!(records[1].number("ner"), Some(0.5));
    assert_eq!(
        fs::read_to_string(&path).unwrap().lines().next(),
        Some(r#"{"kind":"sft-step","step":1,"loss":0.30000000000000004}"#)
    );
}

#[test]
fn resuming_drops_what_was_logged_after_the_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metrics.jsonl");
    let mut log = MetricsLog::open(&path).unwrap();
    for step in 0..10 {
        log.append("step", &Step { step, loss: 1.0 }).unwrap();
    }
    drop(log);
    let mut log = MetricsLog::resume(&path, |record| record.step().is_none_or(|step| step < 4)).unwrap();
    log.append("step", &Step { step: 4, loss: 2.0 }).unwrap();
    let steps: Vec<Option<u64>> = read_metrics(&path).unwrap().iter().map(tabpo_report::Record::step).collect();
    assert_eq!(steps, [0, 1, 2, 3, 4].map(Some));
}

#[test]
fn a_broken_line_in_the_middle_is_an_error_with_its_number() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metrics.jsonl");
    fs::write(&path, "{\"kind\":\"a\"}\n{\"kind\":\n{\"kind\":\"b\"}\n").unwrap();
    let error = read_metrics(&path).unwrap_err();
    assert!(matches!(error, ReportError::Record { line: 2, .. }), "{error}");
    assert!(MetricsLog::open(&path).is_err());
}

#[test]
fn only_objects_are_records() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = MetricsLog::open(&directory.path().join("metrics.jsonl")).unwrap();
    assert!(matches!(log.append("step", &[1, 2]), Err(ReportError::NotAnObject { .. })));
    assert!(matches!(log.append("step", &serde_json::json!({"kind": "x"})), Err(ReportError::NotAnObject { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Wherever a kill cuts the file, the whole lines before the cut survive and writing goes on.
    #[test]
    fn a_torn_tail_is_tolerated(lines in 1usize..6, cut in 0.0f64..1.0) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        let mut log = MetricsLog::open(&path).unwrap();
        for step in 0..lines as u64 {
            log.append("step", &Step { step, loss: 1.5 }).unwrap();
        }
        drop(log);
        let bytes = fs::read(&path).unwrap();
        let kept = &bytes[..(bytes.len() as f64 * cut) as usize];
        let whole = kept.split(|&byte| byte == b'\n').count() - 1;
        fs::File::create(&path).unwrap().write_all(kept).unwrap();
        prop_assert_eq!(read_metrics(&path).unwrap().len(), whole);
        MetricsLog::open(&path).unwrap().append("step", &Step { step: 99, loss: 0.0 }).unwrap();
        let records = read_metrics(&path).unwrap();
        prop_assert_eq!(records.len(), whole + 1);
        prop_assert_eq!(records[whole].step(), Some(99));
    }
}
