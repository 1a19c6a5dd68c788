//! Some hundred clusters, and that a seed is a run.

use std::thread;

use taffrail_sim::{
    Options,
    batch::{Plan, run_all},
    run,
};

/// What CI runs.
const SEEDS: u64 = 300;

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in [3, 1_000_003] {
        let twice = [(); 2].map(|()| {
            run(Options::of(seed))
                .unwrap_or_else(|failure| panic!("{failure}"))
                .digest
        });
        assert_eq!(twice[0], twice[1], "seed {seed}");
    }
    let digest = |seed| run(Options::of(seed)).map(|report| report.digest).ok();
    assert_ne!(digest(3), digest(4), "another seed is another run");
}

#[test]
fn nothing_that_was_acknowledged_is_lost_and_every_rare_path_ran() {
    let batch = run_all(Plan {
        first: 1,
        count: SEEDS,
        threads: thread::available_parallelism().map_or(1, usize::from),
        failures_max: 3,
        shown: 60,
        mutant: None,
    });
    for failure in &batch.failures {
        eprintln!("{failure}\n");
    }
    eprintln!("{}", batch.counters);
    assert!(
        batch.failures.is_empty(),
        "{} seeds failed",
        batch.failures.len()
    );
    assert_eq!(batch.good, SEEDS);
    let short = batch.shortfalls();
    assert!(short.is_empty(), "{}", short.join(", "));
    let missing = batch.counters.missing();
    assert!(missing.is_empty(), "never happened: {}", missing.join(", "));
}
