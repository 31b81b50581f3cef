//! Formats that are recognised but not supported, and how to convert them.

use std::path::Path;

use serde_json::Value;

use super::Format;
use crate::CorpusError;

/// What a document in the plain format looks like.
pub(crate) const WANTED: &str = "a line of the plain format looks like {\"doc_key\": \"a\", \"text\": \"...\", \"entities\": \
                                 [{\"start\": 0, \"end\": 3, \"type\": \"LABEL\"}]}";

/// A recognised format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    Gliner,
    SpacyTraining,
    DocBin,
    ConllU,
    TaggedTokens,
    WebAnno,
    Cas,
    DocRed,
    BioC,
    JsonMin,
    Annotation,
    Xml,
    Csv,
    Parquet,
    Packed,
}

impl Other {
    fn name(self) -> &'static str {
        match self {
            Other::Gliner => "GLiNER2's training data",
            Other::SpacyTraining => "spaCy's training data of version 2",
            Other::DocBin => "spaCy's binary DocBin",
            Other::ConllU => "CoNLL-U",
            Other::TaggedTokens => "tokens with a tag each (CoNLL as JSON)",
            Other::WebAnno => "WebAnno or INCEpTION TSV",
            Other::Cas => "a UIMA CAS as JSON",
            Other::DocRed => "DocRED's JSON",
            Other::BioC => "BioC",
            Other::JsonMin => "Label Studio's JSON-MIN export",
            Other::Annotation => "a brat annotation",
            Other::Xml => "XML",
            Other::Csv => "a table (CSV)",
            Other::Parquet => "Parquet",
            Other::Packed => "a packed file",
        }
    }

    fn remedy(self) -> String {
        match self {
            Other::Gliner => {
                format!("its mentions are words without a place: find them in the text; {WANTED}")
            }
            Other::SpacyTraining | Other::DocBin => {
                format!(
                    "write each document from Python, with its `doc.ents` as `entities` (`start_char`, `end_char`); {WANTED}"
                )
            }
            Other::ConllU | Other::TaggedTokens => {
                "write each document as DyGIE: {\"doc_key\": \"a\", \"sentences\": [[\"The\", \"drill\"]], \"ner\": \
                 [[[1, 1, \"Tool\"]]]}, where a mention is its first and last token"
                    .to_owned()
            }
            Other::WebAnno | Other::Cas => {
                "export the documents from INCEpTION in brat's format (`.txt` and `.ann`)".to_owned()
            }
            Other::DocRed => {
                "write each document as DyGIE: `sents` as `sentences`, and mentions by tokens counted from \
                              the document's start"
                    .to_owned()
            }
            Other::BioC => format!("export it as PubTator, or turn it into lines; {WANTED}"),
            Other::JsonMin => "it has no relations and no ids; export the project as `JSON`".to_owned(),
            Other::Annotation => "name the folder that holds it and its `.txt`".to_owned(),
            Other::Xml | Other::Csv | Other::Parquet => format!("turn it into lines of JSON; {WANTED}"),
            Other::Packed => "unpack it".to_owned(),
        }
    }
}

/// The error of a file in another format.
pub(crate) fn error(path: &Path, other: Other) -> CorpusError {
    CorpusError::OtherFormat { path: path.to_path_buf(), name: other.name(), remedy: other.remedy() }
}

/// The format of a file by its name.
pub(crate) fn of_extension(path: &Path) -> Option<Other> {
    let extension = path.extension()?.to_str()?.to_lowercase();
    Some(match extension.as_str() {
        "ann" | "a1" | "a2" => Other::Annotation,
        "spacy" => Other::DocBin,
        "conllu" => Other::ConllU,
        "csv" | "tsv" => Other::Csv,
        "parquet" => Other::Parquet,
        "xml" | "xmi" => Other::Xml,
        "gz" | "zip" | "zst" | "xz" | "bz2" | "tgz" => Other::Packed,
        _ => return None,
    })
}

/// Whether files with this extension hold CoNLL columns.
pub(crate) fn is_conll(extension: &str) -> bool {
    ["conll", "iob", "iob2", "bio", "bioes", "conll2003"].contains(&extension.to_lowercase().as_str())
}

/// Whether a line is a word with a tag in the last column, or begins a document of CoNLL columns.
pub(crate) fn is_column_line(line: &str) -> bool {
    let is_tag =
        |tag: &str| tag == "O" || ["B-", "I-", "E-", "S-", "L-", "U-"].iter().any(|start| tag.starts_with(start));
    let last = line.split_whitespace().skip(1).last();
    line.starts_with("-DOCSTART-") || last.is_some_and(is_tag)
}

/// The format of a file by its first bytes.
pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Other> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    if starts(b"PAR1") {
        Some(Other::Parquet)
    } else if starts(b"PK\x03\x04") || starts(b"\x1f\x8b") || starts(b"\x28\xb5\x2f\xfd") || starts(b"BZh") {
        Some(Other::Packed)
    } else if starts(b"\x78\x9c") || starts(b"\x78\xda") {
        Some(Other::DocBin)
    } else {
        None
    }
}

/// The format of a file by a line that is not JSON.
pub(crate) fn of_line(line: &str) -> Option<Other> {
    let is_bound = |line: &str| line.starts_with('T') && line.split('\t').count() == 3;
    if line.starts_with("#FORMAT=WebAnno") {
        Some(Other::WebAnno)
    } else if line.starts_with("# sent_id") || line.starts_with("# newdoc") || line.starts_with("# text =") {
        Some(Other::ConllU)
    } else if is_bound(line) {
        Some(Other::Annotation)
    } else if line.starts_with("<?xml") || line.starts_with("<!DOCTYPE") {
        Some(Other::Xml)
    } else {
        None
    }
}

/// The format of a file by its first object, or by the first entry of its list.
pub(crate) fn of_value(value: &Value) -> Option<Other> {
    let object = value.as_object()?;
    let has = |field: &str| object.contains_key(field);
    let first_has = |list: &str, field: &str| value[list][0].get(field).is_some();
    let tagged = ["ner_tags", "tags", "labels", "ner"]
        .iter()
        .any(|tags| value[tags][0].is_string() || value[tags][0].is_number());
    if has("doc_key") && (has("text") || has("sentences")) {
        None
    } else if value["output"].get("entities").is_some() {
        Some(Other::Gliner)
    } else if has("paragraphs") {
        Some(Other::SpacyTraining)
    } else if has("%FEATURE_STRUCTURES") {
        Some(Other::Cas)
    } else if has("passages") || first_has("documents", "passages") {
        Some(Other::BioC)
    } else if has("vertexSet") {
        Some(Other::DocRed)
    } else if (has("tokens") || has("words")) && tagged && !has("text") {
        Some(Other::TaggedTokens)
    } else if object.values().any(is_regions) {
        Some(Other::JsonMin)
    } else {
        None
    }
}

/// Regions as JSON-MIN writes them.
fn is_regions(value: &Value) -> bool {
    let has = |field: &str| value[0].get(field).is_some();
    has("start")
        && has("end")
        && value[0].as_object().is_some_and(|region| region.keys().any(|key| key.ends_with("labels")))
}

/// The error message for a name that is not in [`Format::ALL`].
pub(crate) fn unknown_name(name: &str) -> String {
    let valid = Format::names().join(", ");
    let lower = name.to_lowercase();
    if ["iob", "bio"].contains(&lower.trim_end_matches(|letter: char| !letter.is_alphabetic() || letter == 's')) {
        return format!("unknown format `{name}`; the name is `conll`");
    }
    if ["csv", "tsv", "parquet", "bioc", "xml"].iter().any(|other| lower.starts_with(other)) {
        return format!("the format `{name}` is not supported; valid: {valid}");
    }
    match tabpo_ontology::nearest(name, Format::names()) {
        Some(near) => format!("unknown format `{name}`; did you mean `{near}`?"),
        None => format!("unknown format `{name}`; valid: {valid}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_are_recognised() {
        let values = [
            (json!({"input": "a", "output": {"entities": {"X": ["a"]}}}), Other::Gliner),
            (json!({"id": 0, "paragraphs": []}), Other::SpacyTraining),
            (json!({"tokens": ["a"], "ner_tags": [0]}), Other::TaggedTokens),
            (
                json!({"id": 1, "note": "a", "label": [{"start": 0, "end": 1, "text": "a", "labels": ["X"]}]}),
                Other::JsonMin,
            ),
        ];
        for (value, other) in values {
            assert_eq!(of_value(&value), Some(other), "{value}");
        }
        for value in
            [json!({"doc_key": "a", "text": "b", "spans": []}), json!({"id": 1, "text": "b", "label": [[0, 1, "X"]]})]
        {
            assert_eq!(of_value(&value), None, "{value}");
        }
        let lines = [
            ("# sent_id = 1", Other::ConllU),
            ("#FORMAT=WebAnno TSV 3.3", Other::WebAnno),
            ("T1\tTool 0 3\tsaw", Other::Annotation),
            ("<?xml version=\"1.0\"?>", Other::Xml),
        ];
        for (line, other) in lines {
            assert_eq!(of_line(line), Some(other), "{line}");
        }
        assert_eq!(of_line("The drill hangs by the lathe."), None);
        for line in ["-DOCSTART- -X- O O", "EU NNP B-NP B-ORG", "The\tO"] {
            assert!(is_column_line(line), "{line}");
        }
        assert!(!is_column_line("The drill hangs by the lathe.") && !is_column_line("O"));
        assert!(unknown_name("csv").contains("dygie, brat"));
        assert!(unknown_name("iob2").contains("`conll`") && unknown_name("bio").contains("`conll`"));
        assert!(unknown_name("jsnl").contains("did you mean `jsonl`?"));
    }
}
