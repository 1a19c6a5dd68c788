//! Configurations small enough to be explored completely with every build. The counts are golden: another number of states means that
//! the rules changed, which is to be meant.
#![forbid(unsafe_code)]

use taffrail_model::{Config, Exploration, Found, Limits};

#[test]
fn crashes_lose_nothing() {
    explore(&[
        ("crashes crashes=1", 86_560, 26),
        ("crashes crashes=2 records=1", 235_119, 26),
        ("crashes-delayed crashes=1 records=1", 114_972, 30),
    ]);
}

#[test]
fn deposed_leaders_and_controllers_lose_nothing() {
    explore(&[
        ("duel records=1 leader-epochs=2", 419_626, 25),
        ("suspicion-delayed records=1 leader-epochs=2", 280_996, 29),
    ]);
}

#[test]
fn changes_of_the_isr_lose_nothing() {
    explore(&[
        (
            "isr-grow controller-epochs=2 isr-requests=1 records=1 leader-epochs=2",
            54_092,
            20,
        ),
        ("isr-duel records=1 isr-requests=1", 345_746, 21),
    ]);
}

#[test]
fn wiped_and_older_volumes_lose_nothing() {
    explore(&[
        ("wiped-volume isr=3 crashes=1 leader-epochs=2", 128_144, 27),
        ("old-volume isr=3 leader-epochs=2", 341_204, 28),
    ]);
}

#[test]
fn a_store_that_went_back_in_time_loses_nothing() {
    explore(&[("store-rollback controller-epochs=2", 10_774, 20)]);
}

#[test]
fn late_and_repeated_answers_lose_nothing() {
    explore(&[
        (
            "answers records=1 crashes=0 suspicion=1 leader-epochs=2",
            237_600,
            33,
        ),
        ("answers-deposed", 27_475, 35),
    ]);
}

#[test]
fn restarted_members_that_the_leader_confirms_lose_nothing() {
    explore(&[
        ("confirmation", 52_007, 24),
        ("confirmation-duel", 355_693, 22),
        ("confirmation-shrink", 280_793, 24),
    ]);
}

#[test]
fn topics_created_and_deleted_by_rivals_lose_nothing() {
    explore(&[
        ("creation records=1 crashes=0", 40_950, 24),
        ("creation-rollback", 9_295, 27),
        ("deletion controller-epochs=1", 24_301, 21),
        ("deletion-moved records=1 crashes=0", 1_442, 12),
    ]);
}

#[test]
fn page_caches_lost_with_their_nodes_lose_only_what_is_reported() {
    explore(&[(
        "page-cache isr=3 node-crashes=2 crashes=0 leader-epochs=3",
        354_165,
        24,
    )]);
}

#[test]
fn records_sent_again_stand_in_the_log_once() {
    explore(&[("idempotence crashes=1", 150_043, 27)]);
}

/// Each: a configuration, its states and its depth.
fn explore(golden: &[(&str, usize, usize)]) {
    for &(words, unique, depth) in golden {
        let config = Config::from_words(words.split(' ')).expect("a configuration");
        let exploration = Exploration::of(config, Limits::default());
        assert_eq!(
            exploration.found,
            Found::Everything,
            "{words}: {exploration}"
        );
        assert_eq!(
            (exploration.unique, exploration.depth),
            (unique, depth),
            "{words}: {exploration}"
        );
    }
}
