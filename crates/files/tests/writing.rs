//! What is written where: whole files, links, pipes, devices, claims.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use tabpo_files::{Replacement, Target, WriteRefusal, replace, replace_by_path};

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn write(path: &Path, content: &str) -> io::Result<()> {
    replace(path, |out| out.write_all(content.as_bytes()))
}

fn refusal<T>(result: io::Result<T>) -> Option<WriteRefusal> {
    WriteRefusal::within(&result.err()?)
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/file");
    write(&path, "old").unwrap();
    let failed = replace(&path, |out| {
        out.write_all(b"half of the new one")?;
        Err(io::Error::other("stopped"))
    });
    assert!(failed.is_err());
    assert!(replace_by_path(&path, |_| Err(io::Error::other("stopped"))).is_err());
    drop(Replacement::create(&path).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(path.parent().unwrap()), ["file"]);

    write(&path, "new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    replace_by_path(&path, |made| fs::write(made, "newer")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"newer");
    assert_eq!(names(path.parent().unwrap()), ["file"]);
}

#[test]
fn names_may_be_as_long_as_the_system_allows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("n".repeat(255));
    write(&path, "text").unwrap();
    replace_by_path(&path, |made| fs::write(made, "other")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"other");
    assert_eq!(names(folder.path()).len(), 1);
}

#[test]
fn the_second_writer_of_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let mut first = Replacement::create(&path).unwrap();
    first.write_all(b"first").unwrap();
    assert_eq!(refusal(Replacement::create(&path)), Some(WriteRefusal::Busy));
    assert_eq!(refusal(replace_by_path(&path, |_| Ok(()))), Some(WriteRefusal::Busy));
    // Another file in the same folder is another matter.
    write(&folder.path().join("out.json"), "other").unwrap();
    first.finish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"first");
    write(&path, "second").unwrap();
    assert_eq!(names(folder.path()), ["out.json", "out.jsonl"]);
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/out");
    let writer = Replacement::create(&path).unwrap();
    assert_eq!(refusal(Replacement::create(&path)), Some(WriteRefusal::Busy));
    drop(writer);
    drop(Replacement::create(&path).unwrap());
    assert!(names(&folder.path().join("new")).is_empty());
}

#[test]
fn many_writers_at_once_leave_one_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let results: Vec<bool> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..16_u8)
            .map(|number| {
                let path = &path;
                scope.spawn(move || match replace(path, |out| out.write_all(&[number; 5000])) {
                    Ok(()) => true,
                    Err(error) => {
                        assert_eq!(WriteRefusal::within(&error), Some(WriteRefusal::Busy), "{error}");
                        false
                    }
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert!(results.contains(&true));
    let content = fs::read(&path).unwrap();
    assert!(content.len() == 5000 && content.iter().all(|&byte| byte == content[0]));
    assert_eq!(names(folder.path()), ["out"]);
}

#[test]
fn what_a_killed_writer_left_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    // As after a kill: the files are there and nobody holds their lock.
    fs::write(folder.path().join(".tmp-tabpo.out.jsonl"), "half of it, and longer than the new one").unwrap();
    fs::create_dir(folder.path().join(".tmp-tabpo-work.out.jsonl")).unwrap();
    fs::write(folder.path().join(".tmp-tabpo-work.out.jsonl/out.jsonl"), "half").unwrap();
    write(&path, "whole").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"whole");
    assert_eq!(names(folder.path()), ["out.jsonl"]);
}

#[test]
fn folders_and_paths_without_a_name_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(refusal(write(folder.path(), "")), Some(WriteRefusal::Folder));
    assert_eq!(refusal(replace_by_path(folder.path(), |_| Ok(()))), Some(WriteRefusal::Folder));
    let slash = format!("{}/", folder.path().join("new").display());
    assert_eq!(refusal(write(Path::new(&slash), "")), Some(WriteRefusal::Folder));
    assert_eq!(refusal(write(Path::new(""), "")), Some(WriteRefusal::Nameless));
    assert!(names(folder.path()).is_empty());
    let file = folder.path().join("file");
    write(&file, "text").unwrap();
    assert_eq!(refusal(Target::check_folder(&file)), Some(WriteRefusal::NoFolder));
    assert_eq!(refusal(Target::check_folder(Path::new("-"))), Some(WriteRefusal::FolderToOutput));
    assert!(Target::check_folder(folder.path()).is_ok() && Target::check_folder(&folder.path().join("new")).is_ok());
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    #[test]
    fn files_are_as_readable_as_any_other_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        fs::write(folder.path().join("ordinary"), "").unwrap();
        replace(&folder.path().join("written"), |_| Ok(())).unwrap();
        // As some libraries do: a private file of their own, renamed over the one that was there.
        replace_by_path(&folder.path().join("made"), |path| {
            tempfile::NamedTempFile::new_in(path.parent().unwrap())?.persist(path)?;
            Ok(())
        })
        .unwrap();
        assert_eq!((mode("written"), mode("made")), (mode("ordinary"), mode("ordinary")));
        assert_eq!(names(folder.path()), ["made", "ordinary", "written"]);
    }

    #[test]
    fn a_replaced_file_keeps_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("private");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        write(&path, "new").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        replace_by_path(&path, |made| fs::write(made, "newer")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    /// A folder with `target/real` and links to it: near, over another link, and dangling.
    fn linked() -> (tempfile::TempDir, [PathBuf; 3]) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("target")).unwrap();
        fs::write(at("target/real"), "old").unwrap();
        symlink("target/real", at("link")).unwrap();
        symlink(at("link"), at("chain")).unwrap();
        symlink("target/new", at("dangling")).unwrap();
        let links = [at("link"), at("chain"), at("dangling")];
        (folder, links)
    }

    #[test]
    fn links_stay_and_what_they_point_to_is_replaced() {
        for by_path in [false, true] {
            let (folder, links) = linked();
            for link in &links {
                let text = link.file_name().unwrap().to_str().unwrap();
                if by_path {
                    replace_by_path(link, |made| fs::write(made, text)).unwrap();
                } else {
                    write(link, text).unwrap();
                }
                assert!(fs::symlink_metadata(link).unwrap().is_symlink(), "{text}");
                assert_eq!(fs::read_to_string(link).unwrap(), text);
                assert!(fs::symlink_metadata(link.canonicalize().unwrap()).unwrap().is_file());
            }
            assert_eq!(fs::read_to_string(folder.path().join("target/real")).unwrap(), "chain");
            assert_eq!(names(&folder.path().join("target")), ["new", "real"]);
            assert_eq!(names(folder.path()), ["chain", "dangling", "link", "target"]);
        }
    }

    #[test]
    fn a_link_s_target_is_untouched_when_writing_fails() {
        let (folder, links) = linked();
        assert!(replace(&links[1], |_| Err(io::Error::other("stopped"))).is_err());
        assert_eq!(fs::read_to_string(folder.path().join("target/real")).unwrap(), "old");
        assert_eq!(names(&folder.path().join("target")), ["real"]);
    }

    #[test]
    fn two_names_of_one_file_are_one_claim() {
        let (_folder, links) = linked();
        let claim = Replacement::create(&links[0]).unwrap();
        assert_eq!(refusal(Replacement::create(&links[1])), Some(WriteRefusal::Busy));
        drop(claim);
    }

    #[test]
    fn links_in_a_circle_and_to_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        symlink(at("b"), at("a")).unwrap();
        symlink(at("a"), at("b")).unwrap();
        symlink(folder.path(), at("home")).unwrap();
        assert_eq!(refusal(write(&at("a"), "")), Some(WriteRefusal::EndlessLink));
        assert_eq!(refusal(write(&at("home"), "")), Some(WriteRefusal::Folder));
        assert_eq!(names(folder.path()), ["a", "b", "home"]);
    }

    #[test]
    fn pipes_are_written_into() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for by_path in [false, true] {
            let reader = std::thread::spawn({
                let pipe = pipe.clone();
                move || fs::read_to_string(pipe).unwrap()
            });
            if by_path {
                replace_by_path(&pipe, |made| fs::write(made, "through")).unwrap();
            } else {
                write(&pipe, "through").unwrap();
            }
            assert_eq!(reader.join().unwrap(), "through");
            assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
        }
        assert_eq!(names(folder.path()), ["pipe"]);
    }

    #[test]
    fn devices_stay_devices_also_behind_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("nowhere");
        symlink("/dev/null", &link).unwrap();
        write(&link, "gone").unwrap();
        replace_by_path(Path::new("/dev/null"), |made| fs::write(made, "gone")).unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_device_is_an_error() {
        let full = Path::new("/dev/full");
        assert_eq!(write(full, "text").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(replace_by_path(full, |made| fs::write(made, "text")).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn standard_streams_are_known_by_all_their_names() {
        for name in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
            assert!(Target::is_output(Path::new(name)), "{name}");
        }
        assert_eq!(Target::of(Path::new("/dev/stderr")).unwrap(), Target::Errors);
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(Target::of(file.path()).unwrap(), Target::File(file.path().to_path_buf()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_open_file_is_written_not_replaced() {
        use std::os::fd::AsRawFd;

        let file = tempfile::NamedTempFile::new().unwrap();
        let path = PathBuf::from(format!("/dev/fd/{}", file.as_file().as_raw_fd()));
        write(&path, "text").unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "text");
    }

    #[test]
    fn another_s_file_under_the_temporary_name_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("precious"), "precious").unwrap();
        symlink(at("precious"), at(".tmp-tabpo.out")).unwrap();
        write(&at("out"), "text").unwrap();
        assert_eq!(fs::read_to_string(at("precious")).unwrap(), "precious");
        assert_eq!(fs::read_to_string(at("out")).unwrap(), "text");
        assert_eq!(names(folder.path()), [".tmp-tabpo.out", "out", "precious"]);
    }
}
