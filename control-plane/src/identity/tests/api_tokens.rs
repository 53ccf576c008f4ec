//! Tokens of the API: kept as hashes, for a time, until they are taken back.

use std::sync::Arc;

use crate::identity::api_token::{ApiTokenRefused, ApiTokens, ApiTokensError, Role, TTL_MAX};
use crate::store::Store;

use super::*;

#[test]
fn a_token_has_its_role_until_it_expires_or_is_taken_back() {
    let store = Arc::new(Store::in_memory().unwrap());
    let tokens = ApiTokens::load(store.clone()).unwrap();
    let (made, token) = tokens.create("ci", Role::Write, HOUR, now()).unwrap();
    let found = tokens.find(&token, now()).unwrap();
    assert_eq!((found.role, found.name.as_str()), (Role::Write, "ci"));
    assert_eq!(
        tokens.find("weft-api-x", now()),
        Err(ApiTokenRefused::Unknown)
    );
    assert_eq!(tokens.find("", now()), Err(ApiTokenRefused::Unknown));
    assert_eq!(
        tokens.find(&token, now() + HOUR),
        Err(ApiTokenRefused::Expired)
    );
    tokens.revoke(&made.id).unwrap();
    let again = ApiTokens::load(store).unwrap();
    for tokens in [tokens, again] {
        assert_eq!(tokens.find(&token, now()), Err(ApiTokenRefused::Revoked));
        assert!(!format!("{tokens:?}").contains(&token));
    }
}

#[test]
fn bounds_of_tokens_are_kept() {
    let tokens = ApiTokens::load(Arc::new(Store::in_memory().unwrap())).unwrap();
    for name in ["", "a b", "a\nb", "\"", &"x".repeat(64)] {
        let refused = tokens.create(name, Role::Read, HOUR, now());
        assert!(
            matches!(refused, Err(ApiTokensError::Name { .. })),
            "{name}"
        );
    }
    for ttl in [Duration::ZERO, TTL_MAX + Duration::from_secs(1)] {
        let refused = tokens.create("a", Role::Read, ttl, now());
        assert!(
            matches!(refused, Err(ApiTokensError::Ttl { .. })),
            "{ttl:?}"
        );
    }
    let unknown = tokens.revoke("00");
    assert!(matches!(unknown, Err(ApiTokensError::NotFound { .. })));
}

#[test]
fn a_role_may_what_those_before_it_may() {
    assert!(Role::Read < Role::Write && Role::Write < Role::Admin);
    for role in [Role::Read, Role::Write, Role::Admin] {
        assert_eq!(role.to_string().parse(), Ok(role));
    }
    assert!("root".parse::<Role>().is_err());
}
