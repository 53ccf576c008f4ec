use super::*;

fn service(name: &str, port: u16) -> String {
    format!(
        "---\napiVersion: mesh.weft.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}}}\nspec:\n  ports: \
         [{{port: {port}}}]\n  discovery: {{workloads: {{selector: {{app: {name}}}}}}}\n"
    )
}

fn source() -> (FileSource, watch::Receiver<Vec<Finding>>) {
    let (findings, seen) = watch::channel(Vec::new());
    (
        FileSource::new(
            "dir".into(),
            Arc::new(Store::in_memory().unwrap()),
            findings,
        ),
        seen,
    )
}

fn files(files: &[(&str, &str)]) -> Reading {
    let texts = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Reading {
        texts: texts.collect(),
        unread: Vec::new(),
    }
}

/// The source of another process over the same store.
fn restarted(source: &FileSource) -> FileSource {
    let (findings, _) = watch::channel(Vec::new());
    FileSource::new("dir".into(), source.store.clone(), findings)
}

fn names(source: &FileSource) -> Vec<String> {
    source
        .store
        .current()
        .resources
        .iter()
        .map(|object| object.metadata.name.clone())
        .collect()
}

#[test]
fn a_broken_file_keeps_its_last_good_objects() {
    let (source, _) = source();
    assert!(
        source
            .take(files(&[
                ("a.yaml", &service("a", 80)),
                ("b.yaml", &service("b", 80))
            ]))
            .is_empty()
    );
    let findings = source.take(files(&[("a.yaml", "kind: [")]));
    assert!(!findings.is_empty());
    assert_eq!(
        names(&source),
        ["a"],
        "b left the directory, a is only broken"
    );
}

#[test]
fn objects_of_the_api_are_left_alone() {
    let (source, _) = source();
    let text = service("api", 80);
    let mut parsed = weft_config::gateway_api::parse("api", &text);
    let put = vec![Object::clone(&parsed.documents.pop().unwrap().object)];
    source
        .store
        .apply(&ChangeSet {
            put,
            ..ChangeSet::default()
        })
        .unwrap();
    source.take(files(&[("a.yaml", &service("a", 80))]));
    source.take(files(&[]));
    assert_eq!(names(&source), ["api"]);
}

#[test]
fn an_object_in_two_files_is_a_fault_and_changes_nothing() {
    let (source, _) = source();
    let findings = source.take(files(&[
        ("a.yaml", &service("a", 80)),
        ("b.yaml", &service("a", 81)),
    ]));
    assert!(
        findings
            .iter()
            .any(|finding| finding.message.contains("stands in a.yaml too")),
        "{findings:?}"
    );
    assert!(names(&source).is_empty());
}

#[tokio::test]
async fn a_change_on_disk_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), service("a", 80)).unwrap();
    let store = Arc::new(Store::in_memory().unwrap());
    let (findings, _seen) = watch::channel(Vec::new());
    let source = FileSource::new(folder.path().to_owned(), store.clone(), findings);
    let task = tokio::spawn(source.start().await.unwrap());
    let mut state = store.watch();
    let limit = Duration::from_secs(10);
    assert_eq!(
        state.borrow().resources.len(),
        1,
        "read before it is followed"
    );
    std::fs::write(folder.path().join("b.yaml"), service("b", 80)).unwrap();
    tokio::time::timeout(limit, state.wait_for(|state| state.resources.len() == 2))
        .await
        .unwrap()
        .unwrap();
    task.abort();
}

#[test]
fn what_cannot_be_read_keeps_its_objects_over_a_restart() {
    let (source, _) = source();
    let good = [
        ("dir/a.yaml", service("a", 80)),
        ("dir/sub/b.yaml", service("b", 80)),
        ("dir/sub/c.yaml", service("c", 80)),
        ("dir/d.yaml", service("d", 80)),
    ];
    let good = good.each_ref().map(|(name, text)| (*name, text.as_str()));
    assert!(source.take(files(&good)).is_empty());

    let broken = restarted(&source).take(files(&[("dir/a.yaml", "kind: ["), good[1], good[2]]));
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert_eq!(names(&source), ["a", "b", "c"], "d alone has left");

    let unread = Reading {
        unread: vec![("dir/sub".into(), "permission denied".to_owned())],
        ..files(&good[..1])
    };
    restarted(&source).take(unread);
    assert_eq!(names(&source), ["a", "b", "c"]);
}

#[test]
fn an_object_in_two_files_holds_back_these_files_alone() {
    let (source, _) = source();
    source.take(files(&[("a.yaml", &service("a", 80))]));
    let both = [service("a", 81), service("b", 80)].concat();
    source.take(files(&[
        ("a.yaml", &service("a", 80)),
        ("b.yaml", &both),
        ("c.yaml", &service("c", 80)),
    ]));
    assert_eq!(names(&source), ["a", "c"]);
}

#[test]
fn what_proxies_would_refuse_holds_back_its_file_alone() {
    let judge = |next: &weft_config::gateway_api::Resources| {
        let bad = next.iter().filter(|it| it.metadata.name.contains("bad"));
        bad.map(|it| it.metadata.name.clone()).collect()
    };
    let store = Store::in_memory().unwrap().judged_by(Box::new(judge));
    let (findings, _) = watch::channel(Vec::new());
    let source = FileSource::new("dir".into(), Arc::new(store), findings);
    source.take(files(&[
        ("a.yaml", &service("a", 80)),
        ("b.yaml", &service("b", 80)),
    ]));
    let mixed = [service("bad", 80), service("beside-it", 80)].concat();
    let findings = source.take(files(&[
        ("a.yaml", &service("a2", 80)),
        ("b.yaml", &mixed),
        ("c.yaml", &service("c", 80)),
        ("d.yaml", &service("bad-too", 80)),
        ("e.yaml", &service("e", 80)),
    ]));
    assert_eq!(names(&source), ["a2", "b", "c", "e"]);
    let mut blamed: Vec<_> = findings
        .iter()
        .filter_map(|it| Some(it.location.as_ref()?.file.as_str()))
        .collect();
    blamed.sort_unstable();
    assert_eq!(blamed, ["b.yaml", "d.yaml"], "{findings:?}");
    let revisions = source.store.history(10).unwrap();
    assert_eq!(revisions.len(), 2, "what can be served is one change");
}

#[test]
fn only_regular_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), "a").unwrap();
    let pipe = folder.path().join("pipe.yaml");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("endless.yaml")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("dangling.yaml")).unwrap();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("loop.yaml")).unwrap();
    let large = std::fs::File::create(folder.path().join("large.yaml")).unwrap();
    large.set_len(1 << 40).unwrap();
    let reading = Reading::of(folder.path()).unwrap();
    assert_eq!(reading.texts.len(), 1);
    assert_eq!(reading.unread.len(), 5, "{:?}", reading.unread);
}

/// A source of `folder` at work, and its store.
async fn followed(folder: &Path) -> (Arc<Store>, tokio::task::JoinHandle<()>) {
    let store = Arc::new(Store::in_memory().unwrap());
    let (findings, _) = watch::channel(Vec::new());
    let source = FileSource::new(folder.to_owned(), store.clone(), findings);
    (store, tokio::spawn(source.start().await.unwrap()))
}

async fn until_there_are(store: &Store, count: usize) {
    let mut state = store.watch();
    let there = state.wait_for(|state| state.resources.len() == count);
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, there).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_directory_that_vanishes_is_followed_again_when_it_is_back() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("manifests");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.yaml"), service("a", 80)).unwrap();
    let (store, task) = followed(&folder).await;
    std::fs::rename(&folder, parent.path().join("away")).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let two = [service("b", 80), service("c", 80)].concat();
    std::fs::write(folder.join("b.yaml"), two).unwrap();
    until_there_are(&store, 2).await;
    std::fs::write(folder.join("d.yaml"), service("d", 80)).unwrap();
    until_there_are(&store, 3).await;
    task.abort();
}

#[tokio::test]
async fn a_link_to_a_folder_is_neither_read_nor_watched() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/", folder.path().join("root")).unwrap();
    std::fs::write(folder.path().join("a.yaml"), service("a", 80)).unwrap();
    let (store, task) = followed(folder.path()).await;
    assert_eq!(store.current().resources.len(), 1);
    task.abort();
}
