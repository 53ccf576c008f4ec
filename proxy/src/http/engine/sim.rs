//! The engine under a seeded simulation of sockets and time.
//!
//! A run draws clients, origins and a configuration from its seed, and then lets whatever may happen next happen in a
//! random order: a task looks at its socket, a peer moves a few bytes or goes away, a connection opens or fails, time
//! passes, another snapshot comes into force, readers sleep and wake. The pump of a run does what [`Worker`](crate::http::pump::Worker) does, task by task, and wakes nobody whom
//! that would not wake. Some requests are gRPC calls, of which more is true (`calls`). `WEFT_SIM_SEED=17` replays a run, `WEFT_SIM_RUNS=20000` makes more, `WEFT_SIM_FROM=400` others.

mod calls;
mod changes;
mod checks;
mod client;
mod http2;
mod link;
mod message;
mod origin;
mod peer;
mod plan;
mod pump;
mod terms;
mod tunnel;
mod world;

use std::panic::catch_unwind;

use self::world::World;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_happens_answers_are_true_and_nothing_is_left_behind() {
    if let Some(seed) = number("WEFT_SIM_SEED") {
        return World::new(seed).run();
    }
    let from = number("WEFT_SIM_FROM").unwrap_or(0);
    let runs = number("WEFT_SIM_RUNS").unwrap_or(200);
    let mut failed = Vec::new();
    for seed in from..from + runs {
        let run = catch_unwind(|| World::new(seed).run());
        if run.is_err() {
            eprintln!("replay with WEFT_SIM_SEED={seed}");
            failed.push(seed);
        }
        if failed.len() >= 10 {
            break;
        }
    }
    assert!(failed.is_empty(), "failing seeds: {failed:?}");
}
