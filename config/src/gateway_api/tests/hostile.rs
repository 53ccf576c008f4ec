//! Texts made to do harm.

use super::*;

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
