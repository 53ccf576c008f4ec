use std::time::Duration;

use tokio::time::Instant;

use super::state::{DrainState, Trigger};
use super::*;

const TIMES: DrainTimes = DrainTimes {
    grace: Duration::from_secs(1),
    total: Duration::from_secs(10),
};

#[test]
fn phases_follow_time_and_connections() {
    let start = Instant::now();
    // (seconds after the drain began, connections open) and the phase then
    let table: &[(&[(u64, usize)], Phase)] = &[
        (&[(0, 0)], Phase::Draining),
        (&[(0, 5)], Phase::Draining),
        (&[(1, 5)], Phase::Closed),
        (&[(1, 0)], Phase::Done),
        (&[(9, 1)], Phase::Closed),
        (&[(10, 1)], Phase::Done),
        (&[(2, 5), (3, 0)], Phase::Done),
    ];
    for (steps, expected) in table {
        let mut state = DrainState::new(TIMES);
        state.begin(Trigger::Quit, start);
        for (seconds, open) in *steps {
            state.advance(start + Duration::from_secs(*seconds), *open);
        }
        assert_eq!(state.phase(), *expected, "{steps:?}");
    }
}

#[test]
fn draining_listeners_does_not_end_in_exit_until_told_to_quit() {
    let start = Instant::now();
    let mut state = DrainState::new(TIMES);
    state.begin(Trigger::Listeners, start);
    assert_eq!(
        state.advance(start + Duration::from_secs(100), 0),
        Phase::Closed
    );
    assert_eq!(state.deadline(), None);
    let quit = start + Duration::from_secs(200);
    state.begin(Trigger::Quit, quit);
    assert_eq!(state.advance(quit, 1), Phase::Closed);
    assert_eq!(
        state.advance(quit + Duration::from_secs(10), 1),
        Phase::Done
    );
}

#[test]
fn a_second_word_does_not_prolong_a_drain() {
    let start = Instant::now();
    let mut state = DrainState::new(TIMES);
    state.begin(Trigger::Quit, start);
    state.begin(Trigger::Quit, start + Duration::from_secs(9));
    assert_eq!(
        state.advance(start + Duration::from_secs(10), 1),
        Phase::Done
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_connection_ends_the_drain_early() {
    let drain = Drain::new(TIMES);
    let open = drain.connection();
    let mut watch = drain.watch();
    let driver = tokio::spawn({
        let drain = drain.clone();
        async move { drain.run().await }
    });
    let began = Instant::now();
    assert_eq!(watch.phase(), Phase::Running);
    drain.quit();
    assert_eq!(watch.phase(), Phase::Draining);
    watch.reached(Phase::Closed).await;
    assert_eq!(began.elapsed().as_secs(), TIMES.grace.as_secs());
    drop(open);
    driver.await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(watch.phase(), Phase::Done);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_stays_is_waited_for_until_the_drain_time() {
    let drain = Drain::new(TIMES);
    let _open = drain.connection();
    let began = Instant::now();
    drain.quit();
    drain.run().await;
    assert_eq!(began.elapsed().as_secs(), TIMES.total.as_secs());
}
