//! The folder of an authority: made once, checked at each start.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use crate::identity::folder::{FolderError, open};

use super::*;

fn start(folder: &Path) -> Result<Authority, FolderError> {
    open(folder, domain(), Lifetimes::default(), now())
}

fn made() -> (TempDir, std::path::PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("deep/ca");
    start(&folder).unwrap();
    (parent, folder)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_restart_finds_the_authority_that_was_made() {
    let (_parent, folder) = made();
    let first = start(&folder).unwrap();
    let second = start(&folder).unwrap();
    assert_eq!(first.roots(), second.roots());
    let key = KeyPair::generate().unwrap();
    ask(&second, &request_for(&key, Vec::new())).unwrap();
    let entries = fs::read_dir(folder.parent().unwrap()).unwrap().count();
    assert_eq!(entries, 1, "nothing but the folder itself is left");
}

#[test]
fn keys_are_for_their_owner_alone() {
    let (_parent, folder) = made();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for key in ["ca-key.pem", "root-key.pem"] {
        assert_eq!(mode(&folder.join(key)), 0o600, "{key}");
    }
}

#[test]
fn a_key_that_others_may_read_is_refused_with_file_mode_and_rule() {
    let (_parent, folder) = made();
    for name in ["ca-key.pem", "root-key.pem"] {
        let key = folder.join(name);
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666] {
            set_mode(&key, mode);
            let error = start(&folder).unwrap_err().to_string();
            for part in [name, &format!("mode {mode:04o}"), "chmod 0600"] {
                assert!(error.contains(part), "{error}");
            }
        }
        for mode in [0o600, 0o400] {
            set_mode(&key, mode);
            start(&folder).unwrap();
        }
    }
    // It is not read, and need not be readable.
    set_mode(&folder.join("root-key.pem"), 0);
    start(&folder).unwrap();
}

#[test]
fn what_others_may_write_to_is_refused() {
    let (_parent, folder) = made();
    for name in ["root-cert.pem", "ca-cert.pem", "cert-chain.pem", ""] {
        let path = folder.join(name);
        let before = fs::metadata(&path).unwrap().permissions();
        for more in [0o020, 0o002] {
            set_mode(&path, before.mode() | more);
            let error = start(&folder).unwrap_err();
            assert!(matches!(error, FolderError::Mode { .. }), "{name}: {error}");
        }
        fs::set_permissions(&path, before).unwrap();
    }
    start(&folder).unwrap();
}

#[test]
fn a_part_that_is_missing_is_named_and_nothing_is_made_anew() {
    for name in [
        "root-cert.pem",
        "ca-cert.pem",
        "ca-key.pem",
        "cert-chain.pem",
    ] {
        let (_parent, folder) = made();
        fs::remove_file(folder.join(name)).unwrap();
        let error = start(&folder).unwrap_err();
        assert!(matches!(error, FolderError::Missing { file, .. } if file == name));
        assert!(!folder.join(name).exists());
    }
}

#[test]
fn the_key_of_the_root_may_be_elsewhere() {
    let (_parent, folder) = made();
    fs::remove_file(folder.join("root-key.pem")).unwrap();
    start(&folder).unwrap();
}

#[test]
fn what_a_crash_left_half_written_is_made_anew() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("ca");
    let unfinished = parent.path().join("ca.unfinished");
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("root-key.pem"), "half").unwrap();
    start(&folder).unwrap();
    assert!(!unfinished.exists());
    start(&folder).unwrap();
}

#[test]
fn an_empty_folder_is_filled_and_gets_a_mode_of_its_own() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("ca");
    fs::create_dir(&folder).unwrap();
    set_mode(&folder, 0o777);
    start(&folder).unwrap();
    let mode = fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_folder_of_something_else_is_left_as_it_is() {
    let parent = tempfile::tempdir().unwrap();
    fs::write(parent.path().join("notes.txt"), "mine").unwrap();
    let error = start(parent.path()).unwrap_err();
    assert!(matches!(error, FolderError::Missing { .. }), "{error}");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
}

#[test]
fn what_is_wrong_inside_is_said_with_the_folder_and_the_file() {
    let (_parent, folder) = made();
    let (_other, other) = made();
    fs::copy(other.join("ca-key.pem"), folder.join("ca-key.pem")).unwrap();
    let error = start(&folder).unwrap_err();
    assert!(error.to_string().contains(folder.to_str().unwrap()));
    let source = error.source().unwrap().to_string();
    assert!(source.starts_with("ca-key.pem: "), "{source}");
    fs::write(folder.join("root-cert.pem"), vec![b'a'; 256 * 1024 + 1]).unwrap();
    let error = start(&folder).unwrap_err();
    assert!(matches!(error, FolderError::NotText { .. }), "{error}");
}
