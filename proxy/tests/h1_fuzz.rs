//! The fuzz targets' entry functions on seeded mutations, so that they run wherever tests run.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic; the lints exempt test functions, not their helpers"
)]

#[path = "../../tests/fuzz/src/h1.rs"]
mod h1;

use std::path::Path;

/// Pieces that matter to the grammar.
const WORDS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "\0",
    ":",
    ",",
    ";",
    "=",
    "\"",
    "\\",
    "/",
    "*",
    "#",
    "@",
    "?",
    "0",
    "1",
    "5",
    "f",
    "ffffffffffffffff",
    "9223372036854775807",
    "\r\n\r\n",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "GET",
    "HEAD",
    "POST",
    "CONNECT",
    "OPTIONS",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2.0",
    "http://b",
    "https://[::1]:1",
    "Host: a\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Connection: upgrade\r\n",
    "Connection: x, te, host\r\n",
    "Upgrade: x\r\n",
    "Upgrade: h2c\r\n",
    "TE: trailers\r\n",
    "TE: gzip, trailers\r\n",
    "Expect: 100-continue\r\n",
    "X: y\r\n",
    "chunked",
    "gzip",
    "identity",
    "100",
    "101",
    "103",
    "200",
    "204",
    "304",
    "426",
];

/// How many mutations of each seed; more with `WEFT_FUZZ_ROUNDS`.
fn rounds() -> u32 {
    let asked = std::env::var("WEFT_FUZZ_ROUNDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(300)
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
    let mut files: Vec<_> = std::fs::read_dir(folder.join(name))
        .expect("the corpus lies in the repository")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
        .iter()
        .map(|file| std::fs::read(file).expect("a readable file"))
        .collect()
}

fn mutate(rng: &mut fastrand::Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(0..=bytes.len());
        let end = (at + rng.usize(0..8)).min(bytes.len());
        match rng.u8(0..5) {
            0 => drop(bytes.drain(at..end)),
            1 => bytes.insert(at, rng.u8(..)),
            2 => drop(bytes.splice(at..end, rng.choice(WORDS).unwrap().bytes())),
            3 => drop(bytes.splice(at..at, rng.choice(WORDS).unwrap().bytes())),
            _ => {
                let copy = bytes[at..end].to_vec();
                let to = rng.usize(0..=bytes.len());
                drop(bytes.splice(to..to, copy));
            }
        }
    }
}

fn run(name: &str, entry: fn(&[u8])) {
    let seeds = corpus(name);
    for (number, seed) in seeds.iter().enumerate() {
        entry(seed);
        for round in 0..rounds() {
            let mut rng = fastrand::Rng::with_seed((number as u64) << 32 | u64::from(round));
            let mut bytes = seed.clone();
            mutate(&mut rng, &mut bytes);
            let outcome = std::panic::catch_unwind(|| entry(&bytes));
            assert!(
                outcome.is_ok(),
                "{name}: {:?}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }
}

#[test]
fn requests_of_any_bytes_are_read_alike_and_forwarded_as_one() {
    run("h1_server", h1::server);
}

#[test]
fn responses_of_any_bytes_are_read_alike_and_forwarded_as_one() {
    run("h1_client", h1::client);
}
