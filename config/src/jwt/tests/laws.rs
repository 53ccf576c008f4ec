//! What holds for any bytes.

use std::sync::OnceLock;

use proptest::prelude::*;
use serde_json::json;

use super::signing::{Signer, encoded, set};
use super::{claims, judge};
use crate::jwt::{Algorithm, KeySet, Token};

fn signer() -> &'static (Signer, KeySet) {
    static MADE: OnceLock<(Signer, KeySet)> = OnceLock::new();
    MADE.get_or_init(|| {
        let signer = Signer::new(Algorithm::EdDsa);
        let keys = set(&[signer.jwk(json!({}))]);
        (signer, keys)
    })
}

proptest! {
    #[test]
    fn no_bytes_are_taken_for_a_token_that_was_not_signed(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        prop_assert!(judge(&signer().1, &text, &[]).is_err());
        let _ = KeySet::read(&bytes);
    }

    #[test]
    fn parts_that_are_base64_make_no_token_either(parts in proptest::collection::vec(".{0,40}", 3)) {
        let text: Vec<String> = parts.iter().map(|it| encoded(it.as_bytes())).collect();
        prop_assert!(judge(&signer().1, &text.join("."), &[]).is_err());
    }

    #[test]
    fn a_token_with_any_byte_changed_does_not_hold(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9._=-]") {
        let (signer, keys) = signer();
        let good = signer.token(&json!({ "kid": "k" }), &claims());
        prop_assert_eq!(judge(keys, &good, &["web"]), Ok(()));
        let at = at.index(good.len());
        let mut changed = good.clone();
        changed.replace_range(at..=at, &to);
        prop_assume!(changed != good);
        prop_assert!(judge(keys, &changed, &["web"]).is_err());
    }

    #[test]
    fn what_is_read_is_what_was_written(subject in ".{0,20}", exp in 0u64..1 << 53) {
        let token = signer().0.token(&json!({}), &json!({ "sub": subject, "exp": exp }));
        let read = Token::read(token.as_bytes()).unwrap();
        prop_assert_eq!(read.claims.subject.as_deref(), Some(subject.as_str()));
        prop_assert_eq!(read.claims.expires, Some(exp));
    }
}
