use std::fs::OpenOptions;

use weft_config::gateway_api::Kind;

use super::*;

fn service(name: &str, port: u16) -> Object {
    let text = format!(
        "apiVersion: mesh.weft.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}}}\nspec:\n  ports: \
         [{{port: {port}, appProtocol: http}}]\n  discovery: {{workloads: {{selector: {{app: {name}}}}}}}\n"
    );
    let mut parsed = weft_config::gateway_api::parse("test", &text);
    Object::clone(
        &parsed
            .documents
            .pop()
            .expect("the test's own object is right")
            .object,
    )
}

fn put(objects: &[Object]) -> ChangeSet {
    ChangeSet {
        put: objects.to_vec(),
        author: "me".into(),
        message: "test".into(),
        ..ChangeSet::default()
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(Kind::MeshService, "default", name)
}

#[test]
fn a_change_that_changes_nothing_makes_no_revision() {
    let store = Store::in_memory().unwrap();
    assert_eq!(store.apply(&put(&[service("a", 80)])).unwrap().number, 1);
    assert_eq!(store.apply(&put(&[service("a", 80)])).unwrap().number, 1);
    assert_eq!(store.history(10).unwrap().len(), 1);
}

#[test]
fn a_refused_change_leaves_nothing_behind() {
    let store = Store::in_memory().unwrap();
    let change = ChangeSet {
        delete: vec![key("missing")],
        ..put(&[service("a", 80)])
    };
    assert!(matches!(
        store.apply(&change),
        Err(StoreError::UnknownObject { .. })
    ));
    let twice = put(&[service("a", 80), service("a", 81)]);
    assert!(matches!(
        store.apply(&twice),
        Err(StoreError::NamedTwice { .. })
    ));
    assert_eq!(store.current().revision, 0);
    assert!(store.current().resources.is_empty());
}

#[test]
fn any_state_of_the_history_can_be_had_again() {
    let store = Store::in_memory().unwrap();
    store.apply(&put(&[service("a", 80)])).unwrap();
    store
        .apply(&put(&[service("a", 81), service("b", 80)]))
        .unwrap();
    store
        .apply(&ChangeSet {
            delete: vec![key("a")],
            ..ChangeSet::default()
        })
        .unwrap();

    assert!(store.at(0).unwrap().is_empty());
    assert_eq!(
        store.at(1).unwrap().get(&key("a")).unwrap().spec,
        service("a", 80).spec
    );
    assert_eq!(store.at(2).unwrap().len(), 2);
    assert!(matches!(
        store.at(4),
        Err(StoreError::UnknownRevision { newest: 3, .. })
    ));

    let change = store.rollback_change(1, "me").unwrap();
    let revision = store.apply(&change).unwrap();
    assert_eq!(revision.number, 4);
    assert_eq!(*store.current().resources, store.at(1).unwrap());
}

#[test]
fn an_object_keeps_its_age_and_counts_changes_of_its_spec() {
    let store = Store::in_memory().unwrap();
    let meta = |port, label: &str| {
        let mut object = service("a", port);
        object.metadata.labels.insert("team".into(), label.into());
        store.apply(&put(&[object])).unwrap();
        let current = store.current().resources;
        current.get(&key("a")).unwrap().metadata.clone()
    };
    let first = meta(80, "x");
    assert!(first.creation_timestamp.is_some());
    let generations = [meta(80, "y"), meta(81, "y"), meta(80, "y")].map(|meta| {
        assert_eq!(meta.creation_timestamp, first.creation_timestamp);
        meta.generation
    });
    assert_eq!(generations, [Some(1), Some(2), Some(3)]);
}

#[test]
fn what_the_judge_refuses_is_neither_stored_nor_previewed() {
    let store = Store::in_memory().unwrap().judged_by(Box::new(|next| {
        let odd = next.iter().filter(|it| it.metadata.name == "odd");
        odd.map(|it| it.key().to_string()).collect()
    }));
    store.apply(&put(&[service("a", 80)])).unwrap();
    let change = put(&[service("odd", 80)]);
    for refused in [
        store.preview(&change).map(drop),
        store.apply(&change).map(drop),
    ] {
        assert!(matches!(refused, Err(StoreError::Unservable { faults }) if faults.len() == 1));
    }
    assert_eq!(store.current().revision, 1);
}

#[test]
fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/store.redb");
    let before = {
        let store = Store::open(&path).unwrap();
        store.apply(&put(&[service("a", 80)])).unwrap();
        store.apply(&put(&[service("b", 80)])).unwrap();
        (store.current(), store.history(10).unwrap())
    };
    let store = Store::open(&path).unwrap();
    assert_eq!(store.current().revision, 2);
    assert_eq!(store.current().resources, before.0.resources);
    assert_eq!(store.history(10).unwrap(), before.1);
}

#[test]
fn a_store_that_was_not_made_whole_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let unfinished = folder.path().join("store.redb.unfinished");
    std::fs::write(&unfinished, [0; 4096]).unwrap();
    drop(Store::open(&path).unwrap());
    assert!(path.exists() && !unfinished.exists());
    Store::open(&path).unwrap();
}

#[test]
fn a_store_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let _first = Store::open(&path).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::InUse { .. })));
}

#[test]
fn a_file_cut_short_anywhere_is_refused_or_read_but_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    {
        let store = Store::open(&path).unwrap();
        for port in 1..50 {
            store
                .apply(&put(&[
                    service("a", port),
                    service(&format!("s{port}"), port),
                ]))
                .unwrap();
        }
    }
    let whole = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for tenth in 0..10 {
        let cut = folder.path().join(format!("cut-{tenth}.redb"));
        std::fs::write(&cut, &whole).unwrap();
        let file = OpenOptions::new().write(true).open(&cut).unwrap();
        file.set_len(whole.len() as u64 * tenth / 10).unwrap();
        refused += u32::from(Store::open(&cut).is_err());
    }
    assert!(refused > 0, "a file without its end cannot be whole");
}

#[test]
fn something_else_than_a_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    std::fs::write(&path, b"kind: MeshService\n".repeat(1000)).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::Open { .. })));
}
