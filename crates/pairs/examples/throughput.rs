use std::{convert::Infallible, path::Path, time::Instant};
use tabpo_corpus::{Document, Level, read};
use tabpo_metrics::{Predictions, modes::measure};
use tabpo_ontology::Ontology;
use tabpo_pairs::*;
fn tokenize(text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    let mut word = 0u32;
    for c in text.chars() {
        if c.is_alphanumeric() {
            word = word.max(7).wrapping_mul(31).wrapping_add(u32::from(c));
        } else {
            ids.extend((word != 0).then_some(word));
            word = 0;
            ids.push(u32::from(c));
        }
    }
    ids
}
fn rss() -> String {
    std::fs::read_to_string("/proc/self/status").unwrap().lines().find(|l| l.starts_with("VmHWM")).unwrap().to_owned()
}
fn main() {
    let o = Ontology::read(Path::new("examples/scierc/ontology.toml")).unwrap();
    let p = Patterns::read(Path::new("examples/scierc/patterns.toml"), &o).unwrap();
    let docs = |s: &str| read(&Path::new("../shared/data/scierc").join(s), None, &o).unwrap().documents;
    let mut pr = Predictions::open(Path::new("../shared/golden/metrics/d1_label_noise.dev.pred.jsonl.gz")).unwrap();
    let e = measure(docs("dev.json").into_iter().map(Ok::<Document, Infallible>), &mut pr, &o).unwrap();
    let train = docs("train.json");
    let r = ModeRates::new(&e, &o, 1.0).unwrap();
    for (level, times, tok) in [
        (Level::Sentence, 5, true),
        (Level::Sentence, 50, true),
        (Level::Sentence, 50, false),
        (Level::Document, 20, true),
    ] {
        let s = BuildSettings { level, ..BuildSettings::default() };
        let mut b = PairBuilder::new(&o, &p, &r, s, tok.then_some(&tokenize as Tokenize));
        let start = Instant::now();
        let mut n = 0u64;
        let mut bytes = Vec::new();
        let it = (0..times).flat_map(|_| train.iter().cloned().map(Ok::<Document, Infallible>));
        let Ok(()) = b.build(
            it,
            |_| vec![],
            |x| {
                n += 1;
                bytes.clear();
                x.write(&mut bytes).unwrap();
                Ok(())
            },
        );
        let t = start.elapsed().as_secs_f64();
        println!(
            "{level:?} x{times} tokens {tok}: {n} pairs {t:.2} s {:.2} M/min {}",
            n as f64 / t * 60.0 / 1e6,
            rss()
        );
    }
}
