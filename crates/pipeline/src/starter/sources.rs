//! The files of a corpus by their purpose, judging by their names.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// The files or folders of the splits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources {
    pub(super) train: PathBuf,
    pub(super) curated: Option<PathBuf>,
    pub(super) validation: Option<PathBuf>,
    pub(super) test: Option<PathBuf>,
}

/// The splits with the words in names that stand for them.
const WORDS: [(Split, &[&str]); 4] = [
    (Split::Train, &["train", "training", "sft"]),
    (Split::Curated, &["curated", "gold"]),
    (Split::Validation, &["validation", "valid", "val", "dev", "devel", "development"]),
    (Split::Test, &["test", "testing", "eval"]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Split {
    Train,
    Curated,
    Validation,
    Test,
}

impl Sources {
    /// Finds the splits: a file and its siblings of the same name with another word for the split, the files or folders
    /// in a folder, or all documents in one file or folder.
    pub(super) fn find(data: &Path) -> Result<Self, Error> {
        if data.is_file() {
            return Ok(beside(data));
        }
        let entries = std::fs::read_dir(data)
            .map_err(|error| Error::input(format!("cannot read the documents {}: {error}", data.display())))?;
        let mut entries: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| holds(path)).collect();
        entries.sort();
        let of = |split: Split| entries.iter().filter(|path| split_of(path) == Some(split)).collect::<Vec<_>>();
        let one = |split: Split, name: &str| match of(split).as_slice() {
            [] => Ok(None),
            [one] => Ok(Some((*one).clone())),
            several => {
                let names: Vec<String> = several.iter().map(|path| file_name(path)).collect();
                Err(Error::input(format!("{} has several {name} files: {}", data.display(), names.join(", ")))
                    .with_hint("name one of them: those beside it that belong to it are found by their names"))
            }
        };
        let train = one(Split::Train, "training")?;
        if let Some(train) = train {
            return Ok(Self {
                train,
                curated: one(Split::Curated, "curated")?,
                validation: one(Split::Validation, "validation")?,
                test: one(Split::Test, "test")?,
            });
        }
        if texts(data) {
            return Ok(Self { train: data.to_owned(), ..Self::default() });
        }
        match entries.as_slice() {
            [one] => Ok(Self { train: one.clone(), ..Self::default() }),
            [] => Err(Error::input(format!("{} holds no documents", data.display()))
                .with_hint("documents are .jsonl or .json files, or a folder of brat's .txt and .ann files")),
            several => {
                let names: Vec<String> = several.iter().map(|path| file_name(path)).take(8).collect();
                Err(Error::input(format!("{} has no file called train, but {}", data.display(), names.join(", ")))
                    .with_hint("name the file or folder with the training documents"))
            }
        }
    }

    /// The files, those for training first.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let others = [&self.curated, &self.validation, &self.test];
        [self.train.as_path()].into_iter().chain(others.into_iter().flatten().map(PathBuf::as_path))
    }
}

/// A training file and those beside it that have the same name but for the word of the split.
fn beside(train: &Path) -> Sources {
    let alone = Sources { train: train.to_owned(), ..Sources::default() };
    let Some((before, after)) = around_word(&file_name(train), Split::Train) else { return alone };
    let find = |split: Split| {
        let (_, words) = WORDS.into_iter().find(|(other, _)| *other == split).expect("every split has words");
        let paths = words.iter().map(|word| train.with_file_name(format!("{before}{word}{after}")));
        paths.into_iter().find(|path| path.exists())
    };
    Sources { curated: find(Split::Curated), validation: find(Split::Validation), test: find(Split::Test), ..alone }
}

/// What is before and after the word for a split in a name.
fn around_word(name: &str, split: Split) -> Option<(String, String)> {
    let (_, words) = WORDS.into_iter().find(|(other, _)| *other == split)?;
    let lower = name.to_lowercase();
    let pieces = lower.split(|letter: char| !letter.is_alphanumeric());
    let word = pieces.into_iter().find(|piece| words.contains(piece))?;
    let start = word.as_ptr() as usize - lower.as_ptr() as usize;
    // Lower case may have other lengths, but names of files that have are too rare to be looked at twice.
    Some((name.get(..start)?.to_owned(), name.get(start + word.len()..)?.to_owned()))
}

fn split_of(path: &Path) -> Option<Split> {
    let name = file_name(path);
    WORDS.into_iter().map(|(split, _)| split).find(|&split| around_word(&name, split).is_some())
}

/// Whether a path may hold documents.
fn holds(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    let is_json = ending.is_some_and(|ending| matches!(ending.as_str(), "json" | "jsonl"));
    !file_name(path).starts_with('.') && (path.is_file() && is_json || path.is_dir() && texts(path))
}

/// Whether a folder has plain texts in it.
fn texts(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().extension().is_some_and(|ending| ending == "txt"))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(files: &[&str]) -> tempfile::TempDir {
        let place = tempfile::tempdir().expect("a folder");
        for file in files {
            let path = place.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder");
            std::fs::write(path, "{}").expect("a file");
        }
        place
    }

    fn found(place: &tempfile::TempDir, name: &str) -> [Option<String>; 4] {
        let sources = Sources::find(&place.path().join(name)).unwrap_or_else(|error| panic!("{error}"));
        let name = |path: Option<PathBuf>| {
            path.map(|path| path.strip_prefix(place.path()).expect("inside").display().to_string())
        };
        [Some(sources.train), sources.curated, sources.validation, sources.test].map(name)
    }

    #[test]
    fn splits_are_found_by_their_names() {
        let some = |names: [&str; 4]| names.map(|name| (!name.is_empty()).then(|| name.to_owned()));
        let files = place(&["train.fold0.json", "valid.fold0.json", "ontology.toml", "README.md"]);
        assert_eq!(found(&files, ""), some(["train.fold0.json", "", "valid.fold0.json", ""]));
        let domains = place(&["ai-train.json", "ai-dev.json", "news-train.json", "news-dev.json"]);
        assert_eq!(found(&domains, "news-train.json"), some(["news-train.json", "", "news-dev.json", ""]));
        let error = Sources::find(domains.path()).expect_err("two domains");
        assert!(error.messages()[0].contains("ai-train.json, news-train.json"), "{error}");
        let brat = place(&["train/a.txt", "dev/b.txt", "test/c.txt", "notes/README.md"]);
        assert_eq!(found(&brat, ""), some(["train", "", "dev", "test"]));
        let whole = place(&["a.txt", "a.ann", "b.txt"]);
        assert_eq!(found(&whole, ""), [Some(String::new()), None, None, None]);
        let generated = place(&["sft.jsonl", "gold.jsonl", "validation.jsonl", "test.jsonl"]);
        assert_eq!(found(&generated, ""), some(["sft.jsonl", "gold.jsonl", "validation.jsonl", "test.jsonl"]));
        let single = place(&["export.json"]);
        assert_eq!(found(&single, ""), some(["export.json", "", "", ""]));
    }

    #[test]
    fn what_holds_no_documents_is_refused() {
        let empty = place(&["README.md"]);
        assert!(Sources::find(empty.path()).expect_err("no documents").messages()[0].contains("holds no documents"));
        let unknown = place(&["a.json", "b.json"]);
        let error = Sources::find(unknown.path()).expect_err("which is for training?");
        assert!(error.messages()[0].contains("no file called train, but a.json, b.json"), "{error}");
    }
}
