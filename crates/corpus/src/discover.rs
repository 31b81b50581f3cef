//! Labels of documents for which there is no ontology yet.

use std::path::Path;

use tabpo_ontology::{Arguments, Constraint, EntityLabel, Keys, Ontology, RelationLabel, Subtype};

use crate::{CorpusError, Loaded, Problem, read};

/// Reads corpora and finds their labels. The ontology has every label under the name that the files use, in the order
/// in which they were found, without descriptions, domains or ranges; the corpora come in the order of `paths`.
///
/// Readers refuse unknown labels, so a corpus is read again for each label that it introduces.
pub fn discover(paths: &[&Path]) -> Result<(Ontology, Vec<Loaded>), CorpusError> {
    let mut ontology = Ontology {
        name: String::new(),
        description: String::new(),
        arguments: Arguments::default(),
        keys: Keys::default(),
        entities: Vec::new(),
        relations: Vec::new(),
    };
    let mut corpora = Vec::with_capacity(paths.len());
    while let Some(path) = paths.get(corpora.len()) {
        match read(path, None, &ontology) {
            Ok(corpus) => corpora.push(corpus),
            Err(error) => match learn(&mut ontology, &error) {
                Learnt::Label => {}
                // Mentions that were read without one may need it too.
                Learnt::Subtype => corpora.clear(),
                Learnt::Nothing => return Err(error),
            },
        }
    }
    Ok((ontology, corpora))
}

/// What an error has taught.
enum Learnt {
    Label,
    Subtype,
    Nothing,
}

/// Adds the label that the error says is unknown.
fn learn(ontology: &mut Ontology, error: &CorpusError) -> Learnt {
    let CorpusError::Invalid { problem, .. } = error else { return Learnt::Nothing };
    let Problem::UnknownLabel { what, found, of, .. } = problem.as_ref() else { return Learnt::Nothing };
    // A reader that doesn't find what the ontology has would be asked for ever.
    match (*what, of) {
        ("relation type", _) if ontology.relation_in_data(found).is_none() => {
            ontology.relations.push(RelationLabel {
                name: found.clone(),
                aliases: Vec::new(),
                description: String::new(),
                symmetric: false,
                domain: Vec::new(),
                range: Vec::new(),
                constraint: Constraint::Soft,
            });
            Learnt::Label
        }
        ("entity label", _) if ontology.entity_in_data(found).is_none() => {
            ontology.entities.push(EntityLabel {
                name: found.clone(),
                aliases: Vec::new(),
                description: String::new(),
                subtypes: Vec::new(),
            });
            Learnt::Label
        }
        (_, Some(label)) => {
            let label = ontology.entities.iter_mut().find(|entity| entity.name == *label);
            let label = label.expect("a subtype is read after its label was found");
            label.subtypes.push(Subtype { name: found.clone(), description: String::new() });
            Learnt::Subtype
        }
        _ => Learnt::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_where_no_ontology_has_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, lines: &[&str]| {
            let path = folder.path().join(name);
            std::fs::write(&path, lines.join("\n")).expect("a file");
            path
        };
        // An entity label and a relation type with the same name, and a subtype that only the second file has.
        let train = write(
            "train.jsonl",
            &[
                r#"{"doc_key": "a", "text": "saw cuts oak", "entities": [{"start": 0, "end": 3, "type": "Tool", "subtype": "hand"}, {"start": 9, "end": 12, "type": "Cuts"}], "relations": [{"head": 0, "tail": 1, "type": "Cuts"}]}"#,
            ],
        );
        let test = write(
            "test.jsonl",
            &[
                r#"{"doc_key": "b", "text": "drill", "entities": [{"start": 0, "end": 5, "type": "Tool", "subtype": "power"}]}"#,
            ],
        );
        let (ontology, corpora) = discover(&[&train, &test]).expect("both are sound");
        let names: Vec<&str> = ontology.entities.iter().map(|label| label.name.as_str()).collect();
        assert_eq!(names, ["Tool", "Cuts"]);
        let subtypes: Vec<&str> = ontology.entities[0].subtypes.iter().map(|label| label.name.as_str()).collect();
        assert_eq!(subtypes, ["hand", "power"]);
        assert_eq!(ontology.relations.iter().map(|label| label.name.as_str()).collect::<Vec<_>>(), ["Cuts"]);
        assert_eq!(corpora.iter().map(|corpus| corpus.documents.len()).collect::<Vec<_>>(), [1, 1]);
        // Found labels are as good as given ones.
        for (path, corpus) in [(&train, &corpora[0]), (&test, &corpora[1])] {
            assert_eq!(&read(path, None, &ontology).expect("the labels are known"), corpus);
        }
    }

    #[test]
    fn other_errors_are_not_taken_for_labels() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.jsonl");
        let line = r#"{"doc_key": "a", "text": "saw", "entities": [{"start": 0, "end": 9, "type": "Tool"}]}"#;
        std::fs::write(&path, line).expect("a file");
        assert!(discover(&[&path]).expect_err("offsets outside the text").to_string().contains("outside"));
    }
}
