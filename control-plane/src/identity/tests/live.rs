//! The authority in force follows its folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::time::timeout;

use crate::identity::{LiveAuthority, TrustBundle};

use super::*;

struct Case {
    parent: TempDir,
    folder: PathBuf,
    live: Arc<LiveAuthority>,
}

/// Two folders: of the first the authority is in force, the second has what comes next.
fn start() -> Case {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("ca");
    let open = |name: &str| {
        let folder = parent.path().join(name);
        LiveAuthority::open(folder, domain(), Lifetimes::default()).unwrap()
    };
    let (live, follow) = open("ca");
    drop(open("next"));
    tokio::spawn(follow);
    Case {
        folder,
        live,
        parent,
    }
}

impl Case {
    fn take_over(&self, name: &str) {
        fs::copy(self.next(name), self.folder.join(name)).unwrap();
    }

    fn next(&self, name: &str) -> PathBuf {
        self.parent.path().join("next").join(name)
    }

    fn roots(&self) -> Vec<String> {
        self.live.current().roots().to_vec()
    }
}

fn append(path: &Path, text: &str) {
    let before = fs::read_to_string(path).unwrap();
    fs::write(path, before + text).unwrap();
}

const ALL: [&str; 4] = [
    "ca-key.pem",
    "ca-cert.pem",
    "cert-chain.pem",
    "root-cert.pem",
];

/// As much time as it may take until a change is in force.
const SOON: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn files_that_are_replaced_are_in_force_within_two_seconds() {
    let case = start();
    let mut bundle = case.live.bundle();
    let before = bundle.borrow_and_update().clone();
    for name in ALL {
        case.take_over(name);
    }
    timeout(SOON, bundle.changed()).await.unwrap().unwrap();
    let after = bundle.borrow().clone();
    assert_ne!(after, before);
    let root = fs::read_to_string(case.next("root-cert.pem")).unwrap();
    assert!(after.pem().contains(root.trim()), "{}", after.pem());
    assert_eq!(after, TrustBundle::of(&case.live.current()));
}

#[tokio::test(start_paused = true)]
async fn an_old_and_a_new_root_are_trusted_together() {
    let case = start();
    let mut bundle = case.live.bundle();
    let new = fs::read_to_string(case.next("root-cert.pem")).unwrap();
    append(&case.folder.join("root-cert.pem"), &new);
    timeout(SOON, bundle.changed()).await.unwrap().unwrap();
    assert_eq!(bundle.borrow().certificates().len(), 2);
    let key = KeyPair::generate().unwrap();
    let request = request_for(&key, Vec::new());
    let now = Timestamp::now();
    let signed = case.live.current().sign(request.der(), &id(), None, now);
    assert_eq!(signed.unwrap().chain.len(), 2, "by the old intermediate");
}

#[tokio::test(start_paused = true)]
async fn files_that_do_not_belong_together_change_nothing_until_they_do() {
    let case = start();
    let before = case.roots();
    let mut watch = case.live.watch();
    case.take_over("ca-key.pem");
    timeout(30 * SOON, watch.changed()).await.unwrap_err();
    assert_eq!(case.roots(), before);
    let key = KeyPair::generate().unwrap();
    let request = request_for(&key, Vec::new());
    let now = Timestamp::now();
    let signed = case.live.current().sign(request.der(), &id(), None, now);
    signed.unwrap();
    for name in ALL {
        case.take_over(name);
    }
    timeout(SOON, watch.changed()).await.unwrap().unwrap();
    assert_ne!(case.roots(), before);
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_gone_is_not_made_anew() {
    let case = start();
    let before = case.roots();
    fs::remove_dir_all(&case.folder).unwrap();
    let mut watch = case.live.watch();
    timeout(30 * SOON, watch.changed()).await.unwrap_err();
    assert_eq!(case.roots(), before);
    assert!(!case.folder.exists());
}

#[test]
fn lifetimes_have_bounds() {
    let good = Lifetimes::default();
    good.check().unwrap();
    let second = Duration::from_secs(1);
    for bad in [
        Lifetimes {
            max: good.max + second,
            ..good
        },
        Lifetimes {
            max: Duration::ZERO,
            ..good
        },
        Lifetimes {
            default: good.max + second,
            ..good
        },
        Lifetimes {
            default: Duration::ZERO,
            ..good
        },
        Lifetimes {
            clock_skew: HOUR + second,
            ..good
        },
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
}
