//! Join tokens: shown once, used as often as they may be, refused for their reason.

use crate::identity::token::{
    CreateRefused, JoinToken, TOKENS_MAX, TTL_MAX, TokenBook, TokenRefused, USES_MAX,
};

use super::*;

fn create(book: &mut TokenBook, ttl: Duration, uses: u32) -> (JoinToken, String) {
    let names = ("default", "reviews");
    book.create(&domain(), names, ttl, uses, now()).unwrap()
}

#[test]
fn a_token_is_used_as_often_as_it_says() {
    let mut book = TokenBook::default();
    let (made, token) = create(&mut book, HOUR, 2);
    assert_eq!((made.uses_left, made.expires), (2, now() + HOUR));
    for left in [1, 0] {
        let used = book.redeem(&token, now()).unwrap();
        assert_eq!(used.uses_left, left);
        assert_eq!(used.service_account, "reviews");
    }
    assert_eq!(book.redeem(&token, now()), Err(TokenRefused::UsedUp));
    assert_eq!(book.tokens().len(), 1);
}

#[test]
fn a_token_ends_with_its_time_and_when_it_is_taken_back() {
    let mut book = TokenBook::default();
    let (_, token) = create(&mut book, HOUR, 9);
    let last = now() + HOUR - Duration::from_nanos(1);
    book.redeem(&token, last).unwrap();
    assert_eq!(
        book.redeem(&token, now() + HOUR),
        Err(TokenRefused::Expired)
    );
    let (made, token) = create(&mut book, HOUR, 9);
    assert!(book.revoke(&made.id).unwrap().revoked);
    assert_eq!(book.redeem(&token, now()), Err(TokenRefused::Revoked));
    assert_eq!(book.revoke("0000"), None);
}

#[test]
fn what_is_not_the_whole_token_is_not_known() {
    let mut book = TokenBook::default();
    let (made, token) = create(&mut book, HOUR, 1);
    let longer = format!("{token}A");
    for wrong in [
        "",
        "weft-join-",
        &token[1..],
        &token[..token.len() - 1],
        &longer,
        &made.id,
    ] {
        assert_eq!(book.redeem(wrong, now()), Err(TokenRefused::Unknown));
    }
    book.redeem(&token, now()).unwrap();
}

#[test]
fn what_is_kept_and_shown_does_not_have_the_secret() {
    let mut book = TokenBook::default();
    let (made, token) = create(&mut book, HOUR, 1);
    let secret = token.strip_prefix("weft-join-").unwrap();
    assert_eq!(secret.len(), 43, "256 bits");
    let kept = serde_json::to_string(&book).unwrap();
    assert!(!kept.contains(secret) && !format!("{made:?}").contains(secret));
    let read: TokenBook = serde_json::from_str(&kept).unwrap();
    assert_eq!(read, book);
    let (_, other) = create(&mut book, HOUR, 1);
    assert_ne!(token, other);
}

#[test]
fn bounds_are_kept() {
    let mut book = TokenBook::default();
    let mut ask = |names, ttl, uses| {
        let made = book.create(&domain(), names, ttl, uses, now());
        made.map(drop)
    };
    let names = ("default", "reviews");
    let over = TTL_MAX + Duration::from_secs(1);
    assert!(matches!(
        ask(names, Duration::ZERO, 1),
        Err(CreateRefused::Ttl { .. })
    ));
    assert!(matches!(
        ask(names, over, 1),
        Err(CreateRefused::Ttl { .. })
    ));
    assert!(matches!(
        ask(names, HOUR, 0),
        Err(CreateRefused::Uses { uses: 0 })
    ));
    assert!(matches!(
        ask(names, HOUR, USES_MAX + 1),
        Err(CreateRefused::Uses { .. })
    ));
    assert!(matches!(
        ask(("a/b", "c"), HOUR, 1),
        Err(CreateRefused::Name(_))
    ));
    assert_eq!(ask(names, TTL_MAX, USES_MAX), Ok(()));
}

#[test]
fn tokens_that_are_over_make_room_and_others_do_not() {
    let mut book = TokenBook::default();
    let (first, _) = create(&mut book, HOUR, 1);
    for _ in 1..TOKENS_MAX {
        create(&mut book, HOUR, 1);
    }
    let names = ("default", "reviews");
    let full = book.create(&domain(), names, HOUR, 1, now());
    assert_eq!(full.map(drop), Err(CreateRefused::Full));
    book.revoke(&first.id).unwrap();
    create(&mut book, HOUR, 1);
    assert_eq!(book.tokens().len(), TOKENS_MAX);
    assert!(book.tokens().iter().all(|it| it.id != first.id));
}
