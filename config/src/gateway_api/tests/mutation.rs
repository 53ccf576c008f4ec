//! Whatever is done to a good text, reading it ends with a result.

use super::samples::{CANARY, EVERYTHING};
use super::*;

/// Pieces that mean something to YAML or to us.
const PIECES: &[&str] = &[
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
    "<<: ",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "\t",
    "\r\n",
    "#",
    "? ",
    "null",
    "~",
    "-1",
    "1e99",
    "99999999999999999999",
    "0x",
    ".inf",
    "\u{feff}",
    "\u{1F600}",
    "\\ud83d",
    "kind: List\n",
    "%YAML 1.2\n",
    "...\n",
    ",",
];

#[test]
fn no_edit_of_a_good_text_panics() {
    let asked = std::env::var("WEFT_FUZZ_ROUNDS").ok();
    for seed in 0..asked.map_or(400, |rounds| rounds.parse().expect("a number")) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let sample = if seed % 2 == 0 { CANARY } else { EVERYTHING };
        let mut text: Vec<char> = sample.chars().collect();
        for _ in 0..rng.usize(1..8) {
            edit(&mut text, &mut rng);
        }
        let text: String = text.into_iter().collect();
        let parsed = parse("f", &text);
        for document in &parsed.documents {
            let again = parse_json(&document.object.to_json());
            assert_eq!(again.as_ref(), Ok(document.object.as_ref()), "seed {seed}");
        }
    }
}

fn edit(text: &mut Vec<char>, rng: &mut fastrand::Rng) {
    let at = rng.usize(..text.len());
    let end = (at + rng.usize(1..40)).min(text.len());
    match rng.u8(..5) {
        0 => drop(text.drain(at..end)),
        1 => {
            let copy: Vec<char> = text[at..end].to_vec();
            let to = rng.usize(..text.len());
            text.splice(to..to, copy);
        }
        2 => text[at] = char::from(rng.u8(..)),
        _ => {
            let piece = PIECES[rng.usize(..PIECES.len())];
            text.splice(at..at, piece.chars());
        }
    }
    if text.is_empty() {
        text.push('a');
    }
}

#[test]
fn hostile_yaml_is_refused_within_bounds() {
    let deep = "[".repeat(100_000);
    let deep_block = (0..2000)
        .map(|n| format!("{}a:\n", " ".repeat(n)))
        .collect::<String>();
    let mut bomb = String::from("a: &a [x, x, x, x, x, x, x, x, x, x]\n");
    for (from, to) in ('a'..='y').zip('b'..='z') {
        bomb.push_str(&format!(
            "{to}: &{to} [{}]\n",
            vec![format!("*{from}"); 10].join(", ")
        ));
    }
    let looped = "a: &a [*a]".to_owned();
    let duplicate = "a: 1\na: 2".to_owned();
    let tagged = "a: !secret x".to_owned();
    let table = [
        (deep, "recursion limit exceeded"),
        ("[".repeat(70) + &"]".repeat(70), "nested more than 64 deep"),
        (deep_block, "nested more than 64 deep"),
        (bomb, "at most 1000000 values"),
        (looped, "alias"),
        (duplicate, "the key `a` stands twice"),
        (tagged, "the tag `!secret` is not supported"),
        (
            "x".repeat(crate::yaml::TEXT_BYTES_MAX + 1),
            "a file has at most",
        ),
        ("a: 1\n\tb: 2".to_owned(), "is not YAML"),
    ];
    for (text, message) in table {
        let found = findings(&text);
        let shown = text.get(..20).unwrap_or(&text);
        assert!(
            found.iter().any(|f| f.contains(message)),
            "{shown}: {found:#?}"
        );
    }
}

#[test]
fn json_with_surrogate_pairs_is_read() {
    let text = r#"{"apiVersion": "mesh.weft.dev/v1alpha1", "kind": "MeshService",
        "metadata": {"name": "a", "annotations": {"note": "\ud83d\ude00"}},
        "spec": {"ports": [{"port": 1}], "discovery": {"dns": {"host": "a"}}}}"#;
    let object = only_object(text);
    assert_eq!(object.metadata.annotations["note"], "\u{1F600}");
}
