//! Paths in a file that is written, as seen from its folder.

use std::path::{Component, Path, PathBuf};

/// `path` as seen from `folder`; absolute where the two have nothing in common but the root. `folder` need not exist.
pub(super) fn relative(path: &Path, folder: &Path) -> PathBuf {
    let (path, folder) = (whole(path), whole(folder));
    let common = path.components().zip(folder.components()).take_while(|(one, other)| one == other).count();
    if common <= 1 {
        return path;
    }
    let up = folder.components().skip(common).map(|_| Component::ParentDir);
    let seen: PathBuf = up.chain(path.components().skip(common)).collect();
    if seen.as_os_str().is_empty() { PathBuf::from(".") } else { seen }
}

/// The absolute path, with links resolved as far as it exists.
fn whole(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut rest = Vec::new();
    for place in absolute.ancestors() {
        if let Ok(found) = place.canonicalize() {
            return rest.iter().rev().fold(found, |whole, part| whole.join(part));
        }
        rest.extend(place.file_name());
    }
    absolute
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_seen_from_a_folder() {
        let place = tempfile::tempdir().expect("a folder");
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir_all(at("data/brat")).expect("a folder");
        for (path, folder, seen) in [
            ("data/brat", "project", "../data/brat"),
            ("data/brat", "data", "brat"),
            ("data/brat", "data/brat", "."),
            ("project/data/train.jsonl", "project", "data/train.jsonl"),
            ("data/brat", "new/project", "../../data/brat"),
        ] {
            assert_eq!(relative(&at(path), &at(folder)), Path::new(seen), "{path} from {folder}");
        }
        let other = Path::new("/nowhere/else");
        assert_eq!(relative(other, &at("project")), other);
    }
}
