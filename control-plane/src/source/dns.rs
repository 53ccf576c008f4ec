//! Names that `MeshService`s of discovery `dns` and `ExternalName` services stand for, resolved again and again.
//!
//! A name that cannot be resolved keeps its last answer: an outage of DNS takes no endpoint away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::store::State;
use crate::translate::{DnsAnswer, DnsQuestion, DnsRecord, dns_questions};

/// The last good answer to each question.
pub type Answers = Arc<BTreeMap<DnsQuestion, DnsAnswer>>;

/// Longest wait for one answer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses that one question may bring.
const TARGETS_MAX: usize = 1000;

/// Follows the names of all `MeshService`s in `state`, until it ends.
pub async fn follow(mut state: watch::Receiver<State>, answers: watch::Sender<Answers>) {
    let resolver = match TokioResolver::builder_tokio().and_then(|builder| builder.build()) {
        Ok(resolver) => resolver,
        Err(error) => {
            tracing::error!(%error, "the system's resolver cannot be used: services of discovery `dns` get no endpoints");
            return;
        }
    };
    let mut due: BTreeMap<DnsQuestion, Instant> = BTreeMap::new();
    loop {
        let questions = dns_questions(&state.borrow_and_update().resources);
        let now = Instant::now();
        due.retain(|question, _| questions.contains_key(question));
        for (question, refresh) in &questions {
            if due.get(question).is_none_or(|due| *due <= now) {
                due.insert(question.clone(), now + *refresh);
                let resolved =
                    tokio::time::timeout(LOOKUP_TIMEOUT, resolve(&resolver, question)).await;
                let resolved = resolved
                    .unwrap_or_else(|_| Err(format!("no answer within {LOOKUP_TIMEOUT:?}")));
                note(&answers, question, resolved);
            }
        }
        answers.send_if_modified(|answers| {
            let unasked = answers
                .keys()
                .any(|question| !questions.contains_key(question));
            if unasked {
                Arc::make_mut(answers).retain(|question, _| questions.contains_key(question));
            }
            unasked
        });
        let next = due.values().min().copied();
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            () = at(next) => {}
        }
    }
}

async fn resolve(
    resolver: &TokioResolver,
    question: &DnsQuestion,
) -> Result<Vec<DnsRecord>, String> {
    if !question.srv {
        return addresses(resolver, &question.host, None, 1, 0).await;
    }
    let found = resolver
        .srv_lookup(question.host.as_str())
        .await
        .map_err(|e| e.to_string())?;
    let mut targets = Vec::new();
    for record in found.answers() {
        if let RData::SRV(srv) = &record.data {
            let weight = srv.weight.max(1);
            let host = srv.target.to_string();
            targets.extend(addresses(resolver, &host, Some(srv.port), weight, srv.priority).await?);
        }
    }
    Ok(targets)
}

async fn addresses(
    resolver: &TokioResolver,
    host: &str,
    port: Option<u16>,
    weight: u16,
    priority: u16,
) -> Result<Vec<DnsRecord>, String> {
    let found = resolver.lookup_ip(host).await.map_err(|e| e.to_string())?;
    Ok(found
        .iter()
        .map(|address| DnsRecord {
            priority,
            address,
            port,
            weight,
        })
        .collect())
}

/// Keeps a good answer where it differs from the last; a bad one changes nothing.
fn note(
    answers: &watch::Sender<Answers>,
    question: &DnsQuestion,
    resolved: Result<Vec<DnsRecord>, String>,
) {
    match resolved {
        Ok(mut targets) => {
            targets.sort();
            targets.dedup();
            targets.truncate(TARGETS_MAX);
            let answer = DnsAnswer { records: targets };
            answers.send_if_modified(|answers| {
                let changed = answers.get(question) != Some(&answer);
                if changed {
                    Arc::make_mut(answers).insert(question.clone(), answer);
                }
                changed
            });
        }
        Err(why) => tracing::warn!(
            host = question.host,
            why,
            "name not resolved: its last answer stays"
        ),
    }
}

async fn at(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use weft_config::gateway_api::Resources;

    use super::*;

    fn target(last: u8) -> DnsRecord {
        DnsRecord {
            address: IpAddr::from([127, 0, 0, last]),
            port: None,
            weight: 1,
            priority: 0,
        }
    }

    #[test]
    fn an_outage_keeps_the_last_answer_and_an_equal_one_wakes_nobody() {
        let question = DnsQuestion {
            host: "a.test".into(),
            srv: false,
        };
        let (answers, mut seen) = watch::channel(Answers::default());
        note(
            &answers,
            &question,
            Ok(vec![target(2), target(1), target(1)]),
        );
        assert!(seen.has_changed().unwrap());
        assert_eq!(
            *seen.borrow_and_update()[&question].records,
            [target(1), target(2)]
        );
        note(&answers, &question, Err("server failure".into()));
        note(&answers, &question, Ok(vec![target(1), target(2)]));
        assert!(!seen.has_changed().unwrap());
    }

    #[test]
    fn each_name_is_asked_as_often_as_the_most_eager_service_wants() {
        let service = |name: &str, refresh: &str| {
            format!(
                "---\napiVersion: mesh.weft.dev/v1alpha1\nkind: MeshService\nmetadata: {{name: {name}}}\nspec:\n  ports: \
                 [{{port: 80}}]\n  discovery: {{dns: {{host: db.test, refresh: {refresh}}}}}\n"
            )
        };
        let elsewhere = "---\napiVersion: v1\nkind: Service\nmetadata: {name: c}\nspec: {type: ExternalName, externalName: \
                         c.test, ports: [{port: 80}]}\n";
        let text = service("a", "10s") + &service("b", "2s") + elsewhere;
        let parsed = weft_config::gateway_api::parse("test", &text);
        let resources: Resources = parsed
            .documents
            .into_iter()
            .map(|document| document.object)
            .collect();
        let questions = dns_questions(&resources);
        let asked: Vec<_> = questions
            .into_iter()
            .map(|(question, refresh)| (question.host, refresh.as_secs()))
            .collect();
        assert_eq!(
            asked,
            [("c.test".to_owned(), 30), ("db.test".to_owned(), 2)]
        );
    }
}
