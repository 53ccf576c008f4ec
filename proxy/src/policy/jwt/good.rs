//! What becomes of a token that holds: fields for the upstream, and what rules may ask for.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use smallvec::SmallVec;
use weft_config::jwt::{Registered, Token};
use weft_config::policy::access::Claims;
use weft_config::policy::authn::{ClaimHeader, Provider};

/// Bytes of a claim that go on in a field; a longer one does not go on.
const CLAIM_BYTES_MAX: usize = 8 * 1024;

/// A token whose signature has held, made ready once for all requests that bring it.
#[derive(Debug, Default)]
pub struct Good {
    pub(super) claims: Registered,
    fields: Box<[(Arc<str>, Box<[u8]>)]>,
    metadata: SmallVec<[(Arc<str>, Arc<Value>); 1]>,
}

impl Good {
    pub(super) fn new(provider: &Provider, token: Token<'_>) -> Self {
        let payload = provider.payload_header.iter().map(|header| {
            let mut value = token.payload_text.as_bytes().to_vec();
            if header.padded {
                value.resize(value.len().next_multiple_of(4), b'=');
            }
            (header.name.clone(), value.into())
        });
        let claims = provider
            .claim_headers
            .iter()
            .filter_map(|header| Some((header.name.clone(), written(header, &token.payload)?)));
        let fields = payload.chain(claims).collect();
        let mut metadata = SmallVec::new();
        if let Some(name) = &provider.header_name {
            metadata.push((name.clone(), Arc::new(Value::Object(token.header))));
        }
        if let Some(name) = &provider.payload_name {
            let mut payload = token.payload;
            for claim in &provider.word_lists {
                split_words(&mut payload, claim);
            }
            metadata.push((name.clone(), Arc::new(Value::Object(payload))));
        }
        Self {
            claims: token.claims,
            fields,
            metadata,
        }
    }

    /// Fields that go on with the request.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let fields = self.fields.iter();
        fields.map(|(name, value)| (name.as_bytes(), &**value))
    }

    /// Adds what rules may ask for; a later token takes the place of one before under the same name.
    pub fn tell(&self, claims: &mut Claims) {
        for (name, value) in &self.metadata {
            claims.put(name, value);
        }
    }
}

/// A text of words becomes a list of them (RFC 8693 §4.2).
fn split_words(payload: &mut Map<String, Value>, claim: &str) {
    if let Some(value) = payload.get_mut(claim)
        && let Some(text) = value.as_str()
    {
        *value = text.split(' ').filter(|it| !it.is_empty()).collect();
    }
}

/// A claim as the value of a field: texts, numbers and truth as they are, lists and objects as Base64 of their JSON.
///
/// `None`: it is not there, says nothing, or cannot stand in a field.
fn written(header: &ClaimHeader, payload: &Map<String, Value>) -> Option<Box<[u8]>> {
    let (first, rest) = header.path.split_first()?;
    let claim = rest
        .iter()
        .try_fold(payload.get(&**first)?, |value, name| {
            value.as_object()?.get(&**name)
        })?;
    let text = match claim {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => claim.to_string(),
        Value::Array(_) | Value::Object(_) => STANDARD.encode(claim.to_string()),
    };
    let plain = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    let fits = !text.is_empty() && text.len() <= CLAIM_BYTES_MAX && text.bytes().all(plain);
    // Whitespace around a value is no part of it (RFC 9110 §5.5): two claims must not become one.
    (fits && text.trim_ascii() == text).then(|| text.into_bytes().into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_written_as_they_are_or_not_at_all() {
        let payload = json!({
            "text": "ä b", "number": 7, "part": 1.5, "yes": true, "list": ["a"], "in": { "a.b": "deep" },
            "null": null, "empty": "", "line": "a\r\nx-admin: 1", "around": " a", "long": "x".repeat(CLAIM_BYTES_MAX + 1),
        });
        let of = |path: &[&str]| {
            let path = path.iter().map(|it| (*it).into()).collect();
            let header = ClaimHeader {
                name: "x".into(),
                path,
            };
            let value = written(&header, payload.as_object().unwrap());
            value.map(|it| String::from_utf8(it.into()).unwrap())
        };
        for (path, wanted) in [
            (&["text"][..], "ä b"),
            (&["number"], "7"),
            (&["part"], "1.5"),
            (&["yes"], "true"),
            (&["list"], "WyJhIl0="),
            (&["in", "a.b"], "deep"),
        ] {
            assert_eq!(of(path).as_deref(), Some(wanted), "{path:?}");
        }
        for name in ["null", "empty", "line", "around", "long", "absent"] {
            assert_eq!(of(&[name]), None, "{name}");
        }
        assert_eq!(of(&["text", "x"]), None);
    }

    #[test]
    fn words_become_a_list_where_that_is_asked_for() {
        let mut payload = json!({ "scope": "read  write", "n": 1 });
        let payload = payload.as_object_mut().unwrap();
        split_words(payload, "scope");
        split_words(payload, "n");
        split_words(payload, "absent");
        assert_eq!(
            Value::Object(payload.clone()),
            json!({ "scope": ["read", "write"], "n": 1 })
        );
    }
}
