//! Collecting what killed processes left, and nothing else.

use std::fs;
use std::io::Write;
use std::path::Path;

use tabpo_files::{Replacement, collect_leftovers, replace_by_path};

fn make(root: &Path, name: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, name).unwrap();
}

#[test]
fn leftovers_go_wherever_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let stale = [
        ".tmp-tabpo.stages.json",
        "systems/dpo/seed-1/policy/.tmp-tabpo.adapter_model.safetensors",
        "systems/dpo/seed-1/policy/.tmp-f8LqmO",
        "sft/.tmp-tabpo-work.checkpoint/.tmpAbCdEf",
        "sft/.tmp-tabpo-work.checkpoint/checkpoint",
    ];
    for name in stale {
        make(root, name);
    }
    make(root, "stages.json");
    let removed = collect_leftovers(root).unwrap();
    let removed: Vec<_> = removed.iter().map(|path| path.strip_prefix(root).unwrap().to_str().unwrap()).collect();
    let expected = [stale[0], "sft/.tmp-tabpo-work.checkpoint", stale[2], stale[1]];
    assert_eq!(removed, expected);
    assert!(stale.iter().all(|name| !root.join(name).exists()));
    assert!(root.join("stages.json").exists());
    assert!(collect_leftovers(root).unwrap().is_empty());
}

#[test]
fn files_of_the_user_stay() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let own = [
        ".tmp-notes",
        ".tmp",
        ".tmp-",
        ".tmp-1234567",
        ".tmp-a.bcd",
        "tmp-tabpo.x",
        ".tmp-tabpo",
        ".tmp-tabpo.",
        ".tmpAbCdEf",
        "x.tmp-f8LqmO",
        ".tmp-tabpo-workshop/notes",
        ".tmp-abcdef/inside",
        "out.1a2b.partial",
    ];
    for name in own {
        make(root, name);
    }
    assert!(collect_leftovers(root).unwrap().is_empty());
    for name in own {
        assert_eq!(fs::read_to_string(root.join(name)).unwrap(), name);
    }
}

#[test]
fn files_of_the_living_stay() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut one = Replacement::create(&root.join("a/one")).unwrap();
    one.write_all(b"one").unwrap();
    let claim = Replacement::create(&root.join("a/two")).unwrap();
    replace_by_path(&root.join("a/three"), |made| {
        fs::write(made, "three")?;
        assert!(collect_leftovers(root)?.is_empty());
        Ok(())
    })
    .unwrap();
    one.finish().unwrap();
    drop(claim);
    let mut names: Vec<_> = fs::read_dir(root.join("a")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["one", "three"]);
    assert_eq!(fs::read_to_string(root.join("a/one")).unwrap(), "one");
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    make(elsewhere.path(), ".tmp-tabpo.x");
    std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join(".tmp-tabpo.x"), folder.path().join(".tmp-tabpo.x")).unwrap();
    assert!(collect_leftovers(folder.path()).unwrap().is_empty());
    assert!(elsewhere.path().join(".tmp-tabpo.x").exists());
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(collect_leftovers(&folder.path().join("nowhere")).is_err());
}
