//! Tokenisation: training, offsets, and agreement with the Python library on the same file.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use tabpo_model::{BpeOptions, Tokenizer};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer")
}

const SOURCES: [&str; 4] = [
    "We present a method for estimating optical flow , based on state-of-the-art convolutional networks .",
    "The optical flow method is evaluated on the KITTI dataset ( 2012 and 2015 ) .",
    "A baseline for optical flow uses convolutional features , and a \"second\" baseline uses none .",
    "Estimating optical flow with convolutional networks : a method , a dataset , and a baseline .",
];

const ANSWERS: [&str; 4] = [
    r#"{"entities":[{"id":"e1","text":"optical flow","type":"Task"},{"id":"e2","text":"convolutional networks","type":"Method"}],"relations":[{"head":"e2","type":"Used-for","tail":"e1"}]}"#,
    r#"{"entities":[{"id":"e1","text":"optical flow method","type":"Method"},{"id":"e2","text":"KITTI dataset","type":"Material"}],"relations":[{"head":"e2","type":"Evaluate-for","tail":"e1"}]}"#,
    r#"{"entities":[{"id":"e1","text":"baseline","type":"Method"},{"id":"e2","text":"optical flow","type":"Task"},{"id":"e3","text":"baseline","type":"Method","occ":2}],"relations":[{"head":"e1","type":"Used-for","tail":"e2"},{"head":"e3","type":"Compare","tail":"e1"}]}"#,
    r#"{"entities":[],"relations":[]}"#,
];

fn trained() -> Tokenizer {
    let texts = SOURCES.into_iter().chain(ANSWERS);
    Tokenizer::train(texts, &BpeOptions { vocabulary_size: 512, ..BpeOptions::default() }).expect("training")
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

/// The fixture was written by this test with `WRITE_FIXTURES=1`; training must keep producing it.
#[test]
fn training_is_reproducible() {
    let tokenizer = trained();
    if std::env::var_os("WRITE_FIXTURES").is_some() {
        tokenizer.save(&fixtures()).expect("writing the fixture");
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    tokenizer.save(folder.path()).expect("saving");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let read = |folder: &Path| std::fs::read_to_string(folder.join(name)).expect("reading");
        assert!(read(folder.path()) == read(&fixtures()), "{name} differs from the fixture");
    }
}

#[test]
fn python_reads_the_same_tokens_from_the_same_file() {
    let tokenizer = Tokenizer::open(&fixtures()).expect("opening");
    let cases = std::fs::read(fixtures().join("cases.json")).expect("cases");
    let cases: Vec<Case> = serde_json::from_slice(&cases).expect("cases");
    assert!(cases.len() >= 7);
    for case in cases {
        assert_eq!(tokenizer.encode(&case.text).expect("encoding"), case.ids, "{}", case.text);
        assert_eq!(tokenizer.decode(&case.ids, false).expect("decoding"), case.decoded);
        assert_eq!(case.decoded, case.text, "byte-level tokens lose nothing");
    }
}

#[test]
fn ranges_cover_the_text_in_order() {
    let tokenizer = trained();
    for text in SOURCES.into_iter().chain(ANSWERS).chain(["naïve – 日本語\n\n two  blanks\t<|end|>tail"]) {
        let encoding = tokenizer.encode_with_offsets(text).expect("encoding");
        assert_eq!(encoding.ids.len(), encoding.ranges.len());
        let mut end = 0;
        for range in &encoding.ranges {
            assert!(range.start <= end && range.end >= end, "{range:?} after {end} in {text}");
            end = range.end;
        }
        assert_eq!(end, text.len());
    }
}

/// Every token of an answer is either inside one value or made of structure only, whatever the
/// values are.
#[test]
fn tokens_never_mix_structure_and_values() {
    let tokenizer = trained();
    let values =
        ["optical flow", "[CLS] {x},", "a:b", "}", "]}", "\\\"baseline\\\"", "e1", "–", "],", "C++ (\\\\n)", "two  "];
    for text in values {
        for label in ["Task", "Used-for", "A/B (c)"] {
            let parts = [
                (r#"{"entities":[{"id":"e1","text":""#, false),
                (text, true),
                (r#"","type":""#, false),
                (label, true),
                (r#"","occ":"#, false),
                ("2", true),
                (r#"},{"id":"e2","text":""#, false),
                (text, true),
                (r#"","type":""#, false),
                (label, true),
                (r#""}],"relations":[{"head":""#, false),
                ("e1", true),
                (r#"","type":""#, false),
                (label, true),
                (r#"","tail":""#, false),
                ("e2", true),
                (r#""}]}"#, false),
            ];
            let answer: String = parts.iter().map(|(part, _)| *part).collect();
            let encoding = tokenizer.encode_with_offsets(&answer).expect("encoding");
            let mut start = 0;
            for (part, is_value) in parts {
                let border = start + part.len();
                let crossing = encoding.ranges.iter().find(|range| range.start < border && range.end > border);
                assert_eq!(crossing, None, "across the end of `{part}` (value: {is_value}) in {answer}");
                start = border;
            }
        }
    }
}

#[test]
fn a_span_has_the_same_tokens_in_source_and_answer() {
    let tokenizer = trained();
    for (source, answer, span) in
        [(SOURCES[0], ANSWERS[0], "convolutional networks"), (SOURCES[1], ANSWERS[1], "KITTI dataset")]
    {
        let tokens_of = |text: &str| -> Vec<u32> {
            let encoding = tokenizer.encode_with_offsets(text).expect("encoding");
            let start = text.find(span).expect("the span is there");
            let inside = |range: &std::ops::Range<usize>| start <= range.start && range.end <= start + span.len();
            let found: Vec<usize> = (0..encoding.ids.len()).filter(|&index| inside(&encoding.ranges[index])).collect();
            let covered: usize = found.iter().map(|&index| encoding.ranges[index].len()).sum();
            assert_eq!(covered, span.len(), "tokens end where the span ends in {text}");
            found.into_iter().map(|index| encoding.ids[index]).collect()
        };
        assert_eq!(tokens_of(source), tokens_of(answer), "{span}");
    }
}

#[test]
fn frequent_structure_is_one_token() {
    let tokenizer = trained();
    for piece in
        [r#"","type":""#, r#""},{"id":""#, r#""}],"relations":[{"head":""#, r#"","tail":""#, r#"{"entities":[{"id":""#]
    {
        assert_eq!(tokenizer.encode(piece).expect("encoding").len(), 1, "{piece}");
    }
}

#[test]
fn special_tokens_are_single_and_stop_ids_are_found() {
    let tokenizer = trained();
    let ids = tokenizer.encode("<|user|>hi<|end|>").expect("encoding");
    assert_eq!(ids.first(), tokenizer.token_id("<|user|>").as_ref());
    assert_eq!(tokenizer.stop_ids(), [tokenizer.token_id("<|end|>").expect("in the vocabulary")]);
    assert_eq!(tokenizer.decode(&ids, true).expect("decoding"), "hi");
}

#[test]
fn a_missing_or_broken_file_is_named() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let error = Tokenizer::open(folder.path()).expect_err("there is no tokenizer").to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
    std::fs::copy(fixtures().join("tokenizer.json"), folder.path().join("tokenizer.json")).expect("copying");
    std::fs::write(folder.path().join("tokenizer_config.json"), r#"{"eos_token": "<|stop|>"}"#).expect("writing");
    let error = Tokenizer::open(folder.path()).expect_err("the token is unknown").to_string();
    assert!(error.contains("<|stop|>"), "{error}");
}

/// A copy of the fixture with more files.
fn with_files(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::copy(fixtures().join("tokenizer.json"), folder.path().join("tokenizer.json")).expect("copying");
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).expect("writing");
    }
    folder
}

/// Tokens that a folder lists outside `tokenizer.json` are tokens, and special ones stop generation.
#[test]
fn tokens_named_elsewhere_are_whole() {
    let next = Tokenizer::open(&fixtures()).expect("opening").vocabulary_size() as u32;
    let decoder = format!(
        r#"{{"eos_token": "<turn-end>", "added_tokens_decoder": {{
            "{}": {{"content": "<turn-end>", "special": true}}, "{next}": {{"content": "<note>", "special": false}}}}}}"#,
        next + 1
    );
    let listed = format!(r#"{{"<turn-end>": {}, "<note>": {next}}}"#, next + 1);
    let plain = r#"{"eos_token": "<turn-end>"}"#;
    for files in [
        &[("tokenizer_config.json", decoder.as_str())][..],
        &[("tokenizer_config.json", plain), ("added_tokens.json", listed.as_str())],
        &[("special_tokens_map.json", plain), ("added_tokens.json", listed.as_str())],
    ] {
        let folder = with_files(files);
        let tokenizer = Tokenizer::open(folder.path()).expect("opening");
        let ids = tokenizer.encode("a <note> b<turn-end>").expect("encoding");
        assert!(ids.contains(&next) && ids.last() == Some(&(next + 1)), "{ids:?}");
        assert_eq!(tokenizer.stop_ids(), [next + 1]);
        assert_eq!(tokenizer.decode(&ids, false).expect("decoding"), "a <note> b<turn-end>");
        // As plain text, they are not control tokens.
        let ids = tokenizer.encode_text("a <note> b<turn-end>").expect("encoding");
        assert!(!ids.iter().any(|&id| id >= next), "{ids:?}");
        assert_eq!(tokenizer.decode(&ids, false).expect("decoding"), "a <note> b<turn-end>");
    }
    // Ids that leave a gap belong to another tokenizer.json.
    let folder = with_files(&[("added_tokens.json", r#"{"<far>": 9999}"#)]);
    let error = Tokenizer::open(folder.path()).expect_err("a gap").to_string();
    assert!(error.contains("added_tokens.json") && error.contains("<far>") && error.contains("9999"), "{error}");
    for wrong in [
        r#"{"added_tokens_decoder": {"x": {"content": "a"}}}"#,
        r#"{"added_tokens_decoder": {"900": {}}}"#,
        r#"{"added_tokens_decoder": 3}"#,
    ] {
        let folder = with_files(&[("tokenizer_config.json", wrong)]);
        let error = Tokenizer::open(folder.path()).expect_err("no token").to_string();
        assert!(error.contains("added_tokens_decoder"), "{error}");
    }
}

/// Whatever the file contains, the result is an error that names it, not a panic.
#[test]
fn damaged_files_are_errors() {
    let text = std::fs::read_to_string(fixtures().join("tokenizer.json")).expect("reading");
    let decoder = text.rfind("\"type\": \"ByteLevel\"").expect("the decoder");
    let key_after = format!("{}\u{1f600}{}", &text[..decoder], &text[decoder..]);
    let cases = [
        ("", "empty"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("<!DOCTYPE html><html></html>", "web page"),
        (&text[..text.len() / 2], "tokenizer.json:"),
        (&key_after, "tokenizer.json:"),
        ("{}", "tokenizer.json"),
        ("[1, 2]", "tokenizer.json"),
        (r#"{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}"#, "tokenizer.json"),
        (r#"{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}"#, "tokenizer.json"),
    ];
    for (content, part) in cases {
        let folder = tempfile::tempdir().expect("temporary folder");
        std::fs::write(folder.path().join("tokenizer.json"), content).expect("writing");
        let error = Tokenizer::open(folder.path()).expect_err("damaged").to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::write(folder.path().join("tokenizer.model"), "").expect("writing");
    let error = Tokenizer::open(folder.path()).expect_err("an older kind").to_string();
    assert!(error.contains("save_pretrained"), "{error}");
    // Every prefix of the file, as left by an interrupted download.
    for end in (0..text.len()).step_by(text.len() / 40 + 1) {
        let folder = tempfile::tempdir().expect("temporary folder");
        std::fs::write(folder.path().join("tokenizer.json"), &text.as_bytes()[..end]).expect("writing");
        assert!(Tokenizer::open(folder.path()).is_err(), "the first {end} bytes");
    }
}

/// Normalizers are checked before the library allocates what they claim.
#[test]
fn normalizers_that_take_all_memory_are_refused() {
    let charsmap = json!({"type": "Precompiled", "precompiled_charsmap": "//////////8="});
    let replace = json!({"type": "Replace", "pattern": {"String": "e"}, "content": "e".repeat(1000)});
    let prepend = json!({"type": "Prepend", "prepend": "x".repeat(2000)});
    for (normalizer, part) in [
        (charsmap.clone(), "precompiled_charsmap"),
        (json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, charsmap]}), "precompiled_charsmap"),
        (json!({"type": "Sequence", "normalizers": vec![replace; 5]}), "grow"),
        (prepend, "grow"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let text = std::fs::read(fixtures().join("tokenizer.json")).expect("the fixture");
        let mut file: Value = serde_json::from_slice(&text).expect("JSON");
        file["normalizer"] = normalizer;
        std::fs::write(folder.path().join("tokenizer.json"), file.to_string()).expect("writing");
        let message = Tokenizer::open(folder.path()).map(|_| ()).expect_err(part).to_string();
        assert!(message.contains(part) && message.contains("tokenizer.json"), "{message}");
    }
}
