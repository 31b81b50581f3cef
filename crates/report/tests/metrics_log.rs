//! The training log across kills and restarts.

use std::fs;
use std::io::Write;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use tabpo_report::{MetricsLog, ReportError, damaged_path, read_metrics};

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
    let records = read_metrics(&path).unwrap().records;
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
    let steps: Vec<Option<u64>> = read_metrics(&path).unwrap().records.iter().map(tabpo_report::Record::step).collect();
    assert_eq!(steps, [0, 1, 2, 3, 4].map(Some));
}

#[test]
fn only_a_damaged_line_is_lost_and_it_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metrics.jsonl");
    let mut bytes = Vec::new();
    for line in [&b"{\"kind\":\"a\"}"[..], b"x\"kind\":\"b\"}", b"{\"kind\":\"\xff\"}", b"[]", b"{\"kind\":\"c\"}"] {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    fs::write(&path, &bytes).unwrap();
    let kinds = || {
        let log = read_metrics(&path).unwrap();
        (log.records.into_iter().map(|record| record.kind).collect::<Vec<_>>(), log.damaged)
    };
    assert_eq!(kinds(), (vec!["a".to_owned(), "c".to_owned()], vec![2, 3, 4]));
    assert_eq!(MetricsLog::open(&path).unwrap().damaged(), [2, 3, 4]);
    assert_eq!(kinds(), (vec!["a".to_owned(), "c".to_owned()], Vec::new()));
    assert_eq!(fs::read(damaged_path(&path)).unwrap(), b"x\"kind\":\"b\"}\n{\"kind\":\"\xff\"}\n[]\n");
    assert!(MetricsLog::open(&path).unwrap().damaged().is_empty());
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

    /// Wherever a kill cuts the file, the complete lines before the cut survive and writing continues.
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
        prop_assert_eq!(read_metrics(&path).unwrap().records.len(), whole);
        MetricsLog::open(&path).unwrap().append("step", &Step { step: 99, loss: 0.0 }).unwrap();
        let records = read_metrics(&path).unwrap().records;
        prop_assert_eq!(records.len(), whole + 1);
        prop_assert_eq!(records[whole].step(), Some(99));
    }
}
