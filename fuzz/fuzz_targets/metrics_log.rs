//! `metrics.jsonl` of an earlier session.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tabpo_fuzz::Scratch;
use tabpo_report::{MetricsLog, damaged_path, read_metrics};
use tabpo_train::StepRecord;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|bytes: &[u8]| {
    let path = SCRATCH.write("metrics.jsonl", bytes);
    let before = read_metrics(&path).expect("damaged lines cost themselves alone");
    for record in &before.records {
        let _ = (record.get::<StepRecord>(), record.step(), record.number("loss"));
    }
    let mut log = MetricsLog::open(&path).expect("damaged lines cost themselves alone");
    log.append("evaluation", &json!({"step": 1})).expect("the file can be written");
    drop(log);
    let after = read_metrics(&path).expect("the file can be read");
    assert_eq!((&after.records[..before.records.len()], after.damaged.len()), (&before.records[..], 0));
    assert_eq!(after.records.len(), before.records.len() + 1);
    let _ = std::fs::remove_file(damaged_path(&path));
});
