//! What must hold of users' files: any text is read or refused; what was read can be stored, and lint takes it.

use weft_config::gateway_api::{Resources, parse, parse_json};
use weft_config::lint::lint_documents;

pub(crate) fn file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let parsed = parse("f", text);
    for document in &parsed.documents {
        let stored = parse_json(&document.object.to_json());
        assert_eq!(stored.as_ref(), Ok(document.object.as_ref()));
    }
    lint_documents(&parsed.documents, &parsed.refused, &Resources::new());
}
