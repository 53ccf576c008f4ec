//! The entry functions of all fuzz targets on seeded mutations, so that they run wherever tests run.
//!
//! A target is what must hold for any bytes (`tests/fuzz/src`); its seeds lie in `tests/fuzz/corpus`. A failure names
//! the bytes; `WEFT_FUZZ_ROUNDS=100000 cargo test -p weft-tests --test fuzz` looks harder.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic; the lints exempt test functions, not their helpers"
)]

#[path = "../fuzz/src/access_log.rs"]
mod access_log;
#[path = "../fuzz/src/authority.rs"]
mod authority;
#[path = "../fuzz/src/bootstrap.rs"]
mod bootstrap;
#[path = "../fuzz/src/detect.rs"]
mod detect;
#[path = "../fuzz/src/gateway.rs"]
mod gateway;
#[path = "../fuzz/src/h1.rs"]
mod h1;
#[path = "../fuzz/src/h2.rs"]
mod h2;
#[path = "../fuzz/src/state_dir.rs"]
mod state_dir;
#[path = "../fuzz/src/store.rs"]
mod store;
#[path = "../fuzz/src/xds.rs"]
mod xds;

use std::path::Path;

/// Pieces that matter to HTTP/1.
const HTTP1: &[&str] = &[
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

/// Pieces that matter to HTTP/2: headers of frames, and fields. No character is above 0x7f, so that each is a byte.
const HTTP2: &[&str] = &[
    "\0",
    "\x01",
    "\x7f",
    "\0\0\0",
    "\0\0\0\0\x01\0\0\0\x01",
    "\0\0\x05\0\0\0\0\0\x01hello",
    "\0\0\x05\x02\0\0\0\0\x03\0\0\0\0\0",
    "\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
    "\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0",
    "\0\0\x06\x04\0\0\0\0\0\0\x01\0\0\0\0",
    "\0\0\x08\x06\0\0\0\0\x0012345678",
    "\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0",
    "\0\0\x04\x08\0\0\0\0\x01\0\0\0\x05",
    "\0\0\x04\x08\0\0\0\0\0\x7f\x7f\x7f\x7f",
    "\0\0\0\x09\x04\0\0\0\x01",
    "\0\0\0\x01\x05\0\0\0\x05",
    "\0\x07:method\x07CONNECT",
    "\0\x09:protocol\x01x",
    "\0\x0econtent-length\x015",
    "@\x01a\x01b",
    "\x10\x01a\x01b",
    "\0\x02te\x08trailers",
    "\0\x06cookie\x03a=b",
    "\0\x04host\x01a",
    "\0\x01A\x01b",
    "\0\x01a\x02\r\n",
    " ",
    "?a",
];

/// Pieces that matter to YAML, to JSON, and to what is written in them.
const TEXT: &[&str] = &[
    "---\n",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "!!str ",
    "!x ",
    "? ",
    "<<: ",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "\t",
    "\r\n",
    "...\n",
    "%YAML 1.2\n",
    "kind: List\n",
    "\\ud83d",
    "#",
    "null",
    "true",
    "~",
    "0",
    "-1",
    "1e99",
    "4294967296",
    "99999999999999999999",
    "0x",
    ".inf",
    "0s",
    "1h30m",
    "/",
    "*",
    "(",
    ")",
    "%",
    "%%",
    "?",
    ":80",
    "[::1]",
    "10.0.0.0/8",
    "\u{feff}",
    "\u{1F600}",
    ",",
];

/// Pieces that matter to messages on the wire: keys of fields, lengths, numbers that do not end.
const WIRE: &[&str] = &[
    "\x08",
    "\n",
    "\x12",
    "\x1a",
    "\"",
    "*",
    "\0",
    "\x01",
    "\x7f",
    "\u{80}\x01",
    "a",
    "type.googleapis.com/",
];

/// Pieces that matter to names.
const NAME: &[&str] = &[
    "[", "]", ":", "::", "::1", ".", "80", "0", "65536", "@", "A", "\u{e9}", "/",
];

/// Pieces that matter to those who speak first.
const GREETING: &[&str] = &[
    "\x16\x03\x01",
    "\x02\0",
    "\x01",
    "PRI * HTTP/2.0\r\n\r\n",
    "SM\r\n\r\n",
    "GET",
    " ",
    "\r\n",
    "HTTP/1.1",
    "HTTP/1.0",
    "PROXY TCP4 ",
    "\r\n\r\n\0\r\nQUIT\n",
];

/// How many mutations of each seed; more with `WEFT_FUZZ_ROUNDS`.
fn rounds() -> u32 {
    let asked = std::env::var("WEFT_FUZZ_ROUNDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(300)
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
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

fn mutate(rng: &mut fastrand::Rng, words: &[&str], bytes: &mut Vec<u8>) {
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(0..=bytes.len());
        let end = (at + rng.usize(0..8)).min(bytes.len());
        match rng.u8(0..5) {
            0 => drop(bytes.drain(at..end)),
            1 => bytes.insert(at, rng.u8(..)),
            2 => drop(bytes.splice(at..end, rng.choice(words).unwrap().bytes())),
            3 => drop(bytes.splice(at..at, rng.choice(words).unwrap().bytes())),
            _ => {
                let copy = bytes[at..end].to_vec();
                let to = rng.usize(0..=bytes.len());
                drop(bytes.splice(to..to, copy));
            }
        }
    }
}

fn run(name: &str, words: &[&str], entry: fn(&[u8])) {
    run_on(name, &corpus(name), words, entry);
}

fn run_on(name: &str, seeds: &[Vec<u8>], words: &[&str], entry: fn(&[u8])) {
    for (number, seed) in seeds.iter().enumerate() {
        entry(seed);
        for round in 0..rounds() {
            let mut rng = fastrand::Rng::with_seed((number as u64) << 32 | u64::from(round));
            let mut bytes = seed.clone();
            mutate(&mut rng, words, &mut bytes);
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
    run("h1_server", HTTP1, h1::server);
}

#[test]
fn responses_of_any_bytes_are_read_alike_and_forwarded_as_one() {
    run("h1_client", HTTP1, h1::client);
}

#[test]
fn frames_of_any_bytes_are_read_alike_by_a_server() {
    run("h2_server", HTTP2, h2::server);
}

#[test]
fn frames_of_any_bytes_are_read_alike_by_a_client() {
    run("h2_client", HTTP2, h2::client);
}

#[test]
fn field_blocks_of_any_bytes_are_read_alike_and_forwarded_as_one() {
    run("h2_blocks", HTTP2, h2::blocks);
}

#[test]
fn two_ends_agree_whatever_they_do() {
    run("h2_both", HTTP2, h2::both);
}

#[test]
fn a_verdict_on_first_bytes_stays_whatever_follows() {
    run("detect", GREETING, detect::first_bytes);
}

#[test]
fn the_name_of_any_authority_is_its_own_name() {
    run("authority", NAME, authority::name);
}

#[test]
fn resources_of_any_text_are_read_or_refused_and_tables_find_what_trying_finds() {
    run("xds", TEXT, xds::resource);
}

#[test]
fn resources_of_any_bytes_on_the_wire_are_read_or_refused() {
    let written = corpus("xds");
    let wire = written.iter().map(|seed| xds::on_the_wire(seed));
    let wire: Vec<_> = wire.collect::<Option<_>>().expect("seeds are in order");
    run_on("xds", &wire, WIRE, xds::resource);
}

#[test]
fn bootstraps_of_any_text_are_read_or_refused_with_a_fault() {
    run("bootstrap", TEXT, bootstrap::file);
}

#[test]
fn what_is_read_of_any_users_file_can_be_stored() {
    run("gateway", TEXT, gateway::file);
}

#[test]
fn access_log_formats_of_any_text_mean_the_same_in_lines_and_fields() {
    run("access_log", TEXT, access_log::format);
}

#[test]
fn tables_of_any_bytes_on_disk_are_read_or_refused() {
    run("state_dir", WIRE, state_dir::file);
}

#[test]
fn records_of_any_bytes_in_the_store_are_read_or_refused() {
    run("store", TEXT, store::record);
}
