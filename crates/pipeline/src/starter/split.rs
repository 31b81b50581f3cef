//! The split of documents that come in one piece.

use std::{collections::BTreeMap, path::Path};

use tabpo_answer::comparable;
use tabpo_corpus::Document;

use crate::error::Error;

/// The parts of a corpus.
pub(super) struct Parts {
    pub(super) train: Vec<Document>,
    pub(super) validation: Vec<Document>,
    pub(super) test: Vec<Document>,
}

/// Splits documents: a fifth for the test and a tenth for validation, at least one each.
///
/// Documents with the same text stay together, so that no text that is trained on is tested. The order is that of a
/// digest of the text: it depends on nothing else, so the same documents are always split alike.
pub(super) fn split(documents: Vec<Document>, data: &Path) -> Result<Parts, Error> {
    let count = documents.len();
    let mut by_text: BTreeMap<[u8; 32], Vec<Document>> = BTreeMap::new();
    for document in documents {
        let digest = blake3::hash(comparable(document.text.as_str()).as_bytes());
        by_text.entry(*digest.as_bytes()).or_default().push(document);
    }
    if by_text.len() < 3 {
        let texts = if by_text.len() == 1 { "one text" } else { "two different texts" };
        return Err(Error::input(format!(
            "{} has only {texts}, too few for training, validation and test",
            data.display()
        ))
        .with_hint("give at least three documents, or files called train and test"));
    }
    let (mut parts, mut groups) =
        (Parts { train: Vec::new(), validation: Vec::new(), test: Vec::new() }, by_text.into_values());
    let texts = groups.len();
    while parts.test.is_empty() || parts.test.len() < count / 5 && groups.len() * 2 > texts {
        parts.test.extend(groups.next().into_iter().flatten());
    }
    while parts.validation.is_empty() || parts.validation.len() < count / 10 && groups.len() * 2 > texts {
        parts.validation.extend(groups.next().into_iter().flatten());
    }
    parts.train.extend(groups.flatten());
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(texts: impl IntoIterator<Item = String>) -> Vec<Document> {
        let document = |(index, text)| Document { key: format!("d{index}"), text, ..Document::default() };
        texts.into_iter().enumerate().map(document).collect()
    }

    #[test]
    fn every_document_is_in_one_part_and_equal_texts_are_in_the_same() {
        let texts = (0..60).map(|index| format!("text {}", index % 40));
        let parts = split(documents(texts), Path::new("notes")).unwrap_or_else(|error| panic!("{error}"));
        let [train, validation, test] = [&parts.train, &parts.validation, &parts.test];
        assert_eq!(train.len() + validation.len() + test.len(), 60);
        assert!(test.len() >= 12 && validation.len() >= 6 && train.len() >= 36, "{} {}", test.len(), validation.len());
        for (one, other) in [(train, validation), (train, test), (validation, test)] {
            assert!(one.iter().all(|a| other.iter().all(|b| a.text != b.text)), "a text is in two parts");
        }
    }

    #[test]
    fn three_documents_are_enough_and_two_are_not() {
        let parts = split(documents(["a", "b", "c"].map(str::to_owned)), Path::new("notes"));
        let parts = parts.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!([parts.train.len(), parts.validation.len(), parts.test.len()], [1, 1, 1]);
        let few = split(documents(["a", "b", "b"].map(str::to_owned)), Path::new("notes"));
        assert!(few.err().expect("two texts").messages()[0].contains("only two different texts"));
    }
}
