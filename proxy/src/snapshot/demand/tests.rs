use std::pin::pin;
use std::time::Duration;

use futures_util::poll;

use super::*;

fn limits() -> DemandLimits {
    DemandLimits {
        names_max: 3,
        pending_max: 2,
        answer_timeout: Duration::from_secs(5),
        absent_for: Duration::from_secs(10),
        idle_after: Duration::from_secs(600),
    }
}

fn demand() -> Arc<Demand> {
    Demand::new(SnapshotStore::new(), limits())
}

fn ticket(wanted: Wanted) -> Ticket {
    match wanted {
        Wanted::Pending(ticket) => ticket,
        other => panic!("not pending: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_for_a_name_hear_one_answer_and_the_name_is_asked_for_once() {
    let demand = demand();
    let one = ticket(demand.want("a:80"));
    let other = ticket(demand.want("a:80"));
    assert_eq!(demand.take_asked(), ["a:80".into()]);
    demand.absent(&"a:80".into(), Absence::Unknown, Instant::now());
    assert_eq!(one.await.unwrap_err(), Absence::Unknown);
    assert_eq!(other.await.unwrap_err(), Absence::Unknown);
    assert!(matches!(
        demand.want("a:80"),
        Wanted::Absent(Absence::Unknown)
    ));
    assert!(demand.take_asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_absent_name_is_absent_until_it_is_forgotten_and_is_then_asked_for_again() {
    let demand = demand();
    let _ticket = ticket(demand.want("a:80"));
    let absent_at = Instant::now();
    demand.absent(&"a:80".into(), Absence::Unknown, absent_at);
    drop(demand.take_asked());
    let forgotten_at = absent_at + limits().absent_for;
    assert_eq!(demand.expire(absent_at).next, Some(forgotten_at));
    tokio::time::advance(limits().absent_for).await;
    assert!(
        matches!(demand.want("a:80"), Wanted::Absent(Absence::Unknown)),
        "it is still subscribed to, so that asking again would change nothing"
    );
    let expired = demand.expire(Instant::now());
    assert_eq!(expired.forgotten, ["a:80".into()]);
    assert_eq!(expired.next, None);
    assert!(matches!(demand.want("a:80"), Wanted::Pending(_)));
    assert_eq!(demand.take_asked(), ["a:80".into()]);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_nobody_answers_is_given_up() {
    let demand = demand();
    let asked_at = Instant::now();
    let mut ticket = pin!(ticket(demand.want("a:80")));
    let over_at = asked_at + limits().answer_timeout;
    assert_eq!(demand.expire(asked_at).next, Some(over_at));
    tokio::time::advance(limits().answer_timeout).await;
    assert!(poll!(&mut ticket).is_pending());
    let expired = demand.expire(over_at);
    assert_eq!(expired.timed_out, ["a:80".into()]);
    assert_eq!(expired.next, Some(over_at + limits().absent_for));
    assert_eq!(ticket.await.unwrap_err(), Absence::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn names_and_questions_are_bounded() {
    let demand = demand();
    let _kept = (demand.want("a:80"), demand.want("b:80"));
    assert!(matches!(
        demand.want("c:80"),
        Wanted::Absent(Absence::TooMany)
    ));
    demand.absent(&"a:80".into(), Absence::Unknown, Instant::now());
    assert!(
        matches!(demand.want("c:80"), Wanted::Pending(_)),
        "an answer makes room"
    );
    assert_eq!(
        demand.names(),
        ["b:80".into(), "c:80".into()],
        "absent names are not in use"
    );
}

#[tokio::test(start_paused = true)]
async fn the_control_thread_hears_of_a_question() {
    let demand = demand();
    let mut asked = pin!(demand.asked());
    assert!(poll!(&mut asked).is_pending());
    let _ticket = demand.want("a:80");
    asked.await;
}

#[tokio::test(start_paused = true)]
async fn names_that_were_in_use_before_are_in_use_without_being_asked_for() {
    let demand = demand();
    demand.preload(["a:80".into(), "b:80".into()], Instant::now());
    assert_eq!(demand.names(), ["a:80".into(), "b:80".into()]);
    assert!(
        demand.take_asked().is_empty(),
        "the client subscribes to them by itself"
    );
}
