//! Who gets a certificate, by whose token or certificate, and what is remembered of it.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use tokio::task::JoinSet;

use crate::identity::caller::{Caller, ClientCertificate, Shown};
use crate::identity::issuance::{Ask, Issuance, IssueRefused, RefusalKind};
use crate::identity::kept::{RedeemRefused, Tokens};
use crate::identity::ledger::{ISSUED_MAX, IssuedRecord, Ledger};
use crate::identity::{LiveAuthority, TokenRefused};
use crate::store::Store;

use super::*;

struct Office {
    store: Arc<Store>,
    issuance: Issuance,
    tokens: Arc<Tokens>,
    _tasks: JoinSet<()>,
}

fn office() -> Office {
    let store = Arc::new(Store::in_memory().unwrap());
    let authority = LiveAuthority::in_memory(domain(), Lifetimes::default()).unwrap();
    let mut tasks = JoinSet::new();
    let (tokens, write_uses) = Tokens::load(store.clone(), domain()).unwrap();
    tasks.spawn(write_uses);
    let ledger = Arc::new(Ledger::load(store.clone()).unwrap());
    Office {
        issuance: Issuance::new(authority, tokens.clone(), ledger),
        store,
        tokens,
        _tasks: tasks,
    }
}

impl Office {
    fn token(&self, account: &str, uses: u32) -> String {
        let names = ("default", account);
        let made = self.tokens.create(names, HOUR, uses, Timestamp::now());
        made.unwrap().1
    }

    async fn ask(&self, ask: Ask) -> Result<Issued, IssueRefused> {
        self.issuance.issue(ask, Timestamp::now()).await
    }
}

fn nobody() -> Caller {
    Caller {
        address: Some("127.0.0.1:9".parse().unwrap()),
        shown: Shown::Nothing,
    }
}

fn asks(names: Vec<SanType>, authorization: Option<String>, caller: Caller) -> Ask {
    let key = KeyPair::generate().unwrap();
    Ask {
        request: request_for(&key, names).pem().unwrap().into_bytes(),
        seconds: 0,
        authorization: authorization.map(String::into_bytes),
        caller,
    }
}

fn with_token(token: &str) -> Ask {
    asks(Vec::new(), Some(format!("Bearer {token}")), nobody())
}

/// Somebody who shows what was issued.
fn shows(office: &Office, issued: &Issued) -> Caller {
    let chain: Vec<CertificateDer<'_>> = issued.chain.iter().map(|it| der(it)).collect();
    let certificate =
        ClientCertificate::read(&chain, office.issuance.authority().bundle()).unwrap();
    Caller {
        shown: Shown::Certificate(Arc::new(certificate)),
        ..nobody()
    }
}

fn token_refused(refused: &IssueRefused) -> Option<TokenRefused> {
    match refused {
        IssueRefused::Token(RedeemRefused::Token(why)) => Some(*why),
        _ => None,
    }
}

#[tokio::test]
async fn a_token_gets_the_certificate_of_its_service_account_with_the_root_last() {
    let office = office();
    let issued = office.ask(with_token(&office.token("reviews", 1))).await;
    let issued = issued.unwrap();
    assert_eq!(issued.identity.to_string(), ID);
    let root = office.issuance.authority().current().root().to_owned();
    assert_eq!((issued.chain.len(), issued.chain.last()), (3, Some(&root)));
    let counted: Vec<_> = office.issuance.counters().issued().collect();
    assert_eq!(counted.first(), Some(&("join_token", 1)));
    assert_eq!(counted.iter().map(|(_, count)| count).sum::<u64>(), 1);
}

#[tokio::test]
async fn a_token_is_used_once_whoever_replays_it() {
    let office = office();
    let token = office.token("reviews", 1);
    let (first, second) = tokio::join!(
        office.ask(with_token(&token)),
        office.ask(with_token(&token))
    );
    let refused = match (first, second) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
        both => panic!("one of two gets a certificate: {both:?}"),
    };
    assert_eq!(token_refused(&refused), Some(TokenRefused::UsedUp));
    assert_eq!(refused.kind(), RefusalKind::Unauthenticated);
    assert_eq!(office.issuance.ledger().newest(9).len(), 1);
}

#[tokio::test]
async fn a_request_that_is_refused_uses_up_no_token() {
    let office = office();
    let token = office.token("reviews", 1);
    let mut bad = with_token(&token);
    bad.request = b"nonsense".to_vec();
    assert_eq!(
        office.ask(bad).await.unwrap_err().kind(),
        RefusalKind::Invalid
    );
    let mut bad = with_token(&token);
    bad.seconds = -1;
    assert_eq!(
        office.ask(bad).await.unwrap_err().kind(),
        RefusalKind::Invalid
    );
    office.ask(with_token(&token)).await.unwrap();
}

#[tokio::test]
async fn the_token_of_one_workload_makes_nobody_another() {
    let office = office();
    let other = uri("spiffe://mesh.test/ns/default/sa/ratings");
    let bearer = format!("Bearer {}", office.token("reviews", 1));
    let refused = office.ask(asks(vec![other], Some(bearer), nobody())).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), RefusalKind::Denied);
    assert!(refused.to_string().contains("ratings"), "{refused}");
}

#[tokio::test]
async fn who_proves_nothing_gets_nothing() {
    let office = office();
    let revoked = office
        .tokens
        .create(("default", "a"), HOUR, 1, Timestamp::now());
    let (made, revoked) = revoked.unwrap();
    office.tokens.revoke(&made.id).unwrap();
    let past = Timestamp::now() - 2 * HOUR;
    let (_, expired) = office
        .tokens
        .create(("default", "a"), HOUR, 1, past)
        .unwrap();
    for authorization in [
        None,
        Some("Bearer".to_owned()),
        Some("Basic eDp5".to_owned()),
        Some("Bearer weft-join-nonsense".to_owned()),
        Some(format!("Bearer {revoked}")),
        Some(format!("Bearer {expired}")),
        Some(format!("Bearer {}", "x".repeat(100_000))),
    ] {
        let said = office.ask(asks(Vec::new(), authorization, nobody())).await;
        assert_eq!(said.unwrap_err().kind(), RefusalKind::Unauthenticated);
    }
    let refused: Vec<_> = office.issuance.counters().refused().collect();
    assert_eq!(refused.first(), Some(&("unauthenticated", 7)));
    assert!(office.issuance.ledger().newest(9).is_empty());
}

#[tokio::test]
async fn a_certificate_is_renewed_by_itself_for_the_same_name_alone() {
    let office = office();
    let first = office.ask(with_token(&office.token("reviews", 1))).await;
    let first = first.unwrap();
    let renewed = office
        .ask(asks(vec![uri(ID)], None, shows(&office, &first)))
        .await;
    let renewed = renewed.unwrap();
    assert_eq!(renewed.identity, first.identity);
    assert_ne!(renewed.serial, first.serial);
    let other = uri("spiffe://mesh.test/ns/default/sa/ratings");
    let refused = office
        .ask(asks(vec![other], None, shows(&office, &first)))
        .await;
    assert_eq!(refused.unwrap_err().kind(), RefusalKind::Denied);
    let later = first.not_after + Duration::from_secs(1);
    let late = asks(Vec::new(), None, shows(&office, &first));
    let refused = office.issuance.issue(late, later).await.unwrap_err();
    assert_eq!(refused.kind(), RefusalKind::Unauthenticated);
    assert!(refused.to_string().contains("expired"), "{refused}");
}

#[tokio::test]
async fn nobody_is_made_the_control_plane() {
    let office = office();
    let names = ("weft-system", "weft");
    let (_, token) = office
        .tokens
        .create(names, HOUR, 1, Timestamp::now())
        .unwrap();
    let refused = office.ask(with_token(&token)).await.unwrap_err();
    assert!(
        matches!(refused, IssueRefused::Reserved { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn what_was_issued_is_there_after_a_restart() {
    let office = office();
    for account in ["a", "b"] {
        office
            .ask(with_token(&office.token(account, 1)))
            .await
            .unwrap();
    }
    let ledger = office.issuance.ledger();
    ledger.write().unwrap();
    let again = Ledger::load(office.store.clone()).unwrap();
    let found = again.newest(9);
    assert_eq!(found, ledger.newest(9));
    let [newest, oldest] = found.as_slice() else {
        panic!("two were issued: {found:?}");
    };
    assert!(newest.identity.ends_with("/sa/b") && oldest.identity.ends_with("/sa/a"));
    assert!(newest.proof.starts_with("join token "), "{}", newest.proof);
    assert_eq!(newest.peer, "127.0.0.1:9");
}

#[test]
fn the_newest_ten_thousand_are_remembered() {
    let store = Arc::new(Store::in_memory().unwrap());
    let ledger = Ledger::load(store.clone()).unwrap();
    let record = |number: usize| IssuedRecord {
        serial: number.to_string(),
        identity: ID.to_owned(),
        issued: now(),
        expires: now(),
        proof: String::new(),
        peer: String::new(),
    };
    for number in 0..ISSUED_MAX + 5 {
        ledger.add(record(number));
        if number % 4000 == 0 {
            ledger.write().unwrap();
        }
    }
    ledger.write().unwrap();
    ledger.add(record(ISSUED_MAX + 5));
    ledger.write().unwrap();
    for ledger in [ledger, Ledger::load(store).unwrap()] {
        let all = ledger.newest(usize::MAX);
        assert_eq!(all.len(), ISSUED_MAX);
        assert_eq!(all[0].serial, (ISSUED_MAX + 5).to_string());
        assert_eq!(all[ISSUED_MAX - 1].serial, "6");
    }
}
