//! The store on a disk that takes no more. In a process of its own: the bound on the length of files is that of the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use weft_config::gateway_api::Object;
use weft_control_plane::store::{ChangeSet, Store};

fn services(names: impl Iterator<Item = String>) -> ChangeSet {
    let put = names.map(|name| {
        let text = format!(
            "apiVersion: mesh.weft.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}}}\nspec:\n  ports: \
             [{{port: 80}}]\n  discovery: {{workloads: {{selector: {{app: {name}}}}}}}\n"
        );
        let parsed = weft_config::gateway_api::parse("test", &text);
        let document = parsed.documents.first();
        Object::clone(&document.expect("the test's own object is right").object)
    });
    ChangeSet {
        put: put.collect(),
        ..ChangeSet::default()
    }
}

/// `SIGXFSZ`, which would end the process.
const FILE_TOO_LARGE: i32 = 25;

#[tokio::test]
async fn a_store_takes_changes_again_when_there_is_space_again() {
    let _caught = signal(SignalKind::from_raw(FILE_TOO_LARGE)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Store::open(&path).unwrap();
    store
        .apply(&services(["a".to_owned()].into_iter()))
        .unwrap();

    let before = getrlimit(Resource::Fsize);
    let length = std::fs::metadata(&path).unwrap().len();
    let full = Rlimit {
        current: Some(length),
        ..before
    };
    setrlimit(Resource::Fsize, full).unwrap();
    let many = services((0..6_000).map(|number| format!("s{number}")));
    let refused = store.apply(&many);
    assert!(refused.is_err(), "the file cannot grow");
    assert_eq!(store.current().revision, 1);

    setrlimit(Resource::Fsize, before).unwrap();
    assert_eq!(store.apply(&many).unwrap().number, 2);
    assert_eq!(store.history(10).unwrap().len(), 2);
    drop(store);
    let reopened = Store::open(&path).unwrap();
    assert_eq!(reopened.current().resources.len(), 6_001);
}
