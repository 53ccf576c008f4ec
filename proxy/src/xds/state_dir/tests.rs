use std::os::unix::fs::PermissionsExt;

use super::*;

fn saved() -> Saved {
    Saved {
        resources: vec![SavedResource {
            kind: Kind::Cluster,
            name: "a".to_owned(),
            version: "7".to_owned(),
            packed: Any {
                type_url: Kind::Cluster.type_url().to_owned(),
                value: vec![1, 2, 3],
            },
        }],
        names: vec!["reviews:9080".to_owned()],
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_234_567),
    }
}

fn open(dir: &tempfile::TempDir) -> StateDir {
    StateDir::open(dir.path(), "service default/a".to_owned()).unwrap()
}

#[test]
fn what_was_saved_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    assert_eq!(state.load().unwrap(), None);
    state.save(saved()).unwrap();
    assert_eq!(state.load().unwrap(), Some(saved()));
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn a_file_cut_anywhere_or_changed_anywhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    state.save(saved()).unwrap();
    let whole = fs::read(state.path()).unwrap();
    for length in 0..whole.len() {
        fs::write(state.path(), &whole[..length]).unwrap();
        assert!(
            matches!(state.load(), Err(StateError::Damaged { .. })),
            "cut to {length}"
        );
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(state.path(), &bytes).unwrap();
        assert!(
            matches!(state.load(), Err(StateError::Damaged { .. })),
            "changed at {at}"
        );
    }
}

#[test]
fn tables_of_another_workload_are_left_aside() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir).save(saved()).unwrap();
    let other = StateDir::open(dir.path(), "service default/b".to_owned()).unwrap();
    assert!(matches!(other.load(), Err(StateError::Foreign { .. })));
}

#[test]
fn tables_that_others_may_have_written_are_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    state.save(saved()).unwrap();
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(state.path(), fs::Permissions::from_mode(mode)).unwrap();
        assert!(
            matches!(state.load(), Err(StateError::Writable { .. })),
            "{mode:o}"
        );
    }
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o644)).unwrap();
    state.load().unwrap();
}

#[test]
fn an_interrupted_write_leaves_the_last_good_file() {
    let dir = tempfile::tempdir().unwrap();
    let state = open(&dir);
    state.save(saved()).unwrap();
    fs::write(dir.path().join("tables.new"), b"half").unwrap();
    assert_eq!(state.load().unwrap(), Some(saved()));
    state.save(saved()).unwrap();
}
