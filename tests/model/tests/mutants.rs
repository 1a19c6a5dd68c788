//! Every rule has teeth: where it is broken, the model finds how a record is lost. Where two rules cover the same hole, both are broken.
#![forbid(unsafe_code)]

use taffrail_model::{Config, Exploration, Found, Invariant, Limits, Mutant, Mutants};

use Invariant::{
    AcknowledgedOnEveryLeader, AcknowledgedOnMinInSync, DeletedStaysDeleted, ExposedNeverReplaced,
    LossOnlyOfWhatNobodyHas, NoRecordTwice, OneLeaderPerEpoch,
};
use Mutant as M;

/// A configuration, the rules broken in it, and what the shortest way of events breaks.
type Case = (&'static str, &'static [Mutant], Invariant);

const EPOCHS: [Case; 3] = [
    (
        "crashes crashes=1",
        &[M::OldEpochResumed],
        OneLeaderPerEpoch,
    ),
    (
        "duel records=1 leader-epochs=2",
        &[M::LeaderIncarnationIgnored, M::BrokerWrittenFirst],
        OneLeaderPerEpoch,
    ),
    (
        "crashes isr=3",
        &[M::ElectedOutsideIsr],
        AcknowledgedOnEveryLeader,
    ),
];

const HIGH_WATERMARK: [Case; 5] = [
    (
        "crashes crashes=1",
        &[M::CountedBeforeSync],
        AcknowledgedOnMinInSync,
    ),
    (
        "isr-two",
        &[M::ShrunkBelowMinInSync, M::HighWatermarkBelowMinInSync],
        AcknowledgedOnMinInSync,
    ),
    (
        "isr-two",
        &[M::ShrinkBeforePersisted],
        AcknowledgedOnEveryLeader,
    ),
    (
        "isr-grow records=1 isr-requests=1",
        &[M::ExpandAfterPersisted],
        AcknowledgedOnEveryLeader,
    ),
    (
        "crashes isr=3 crashes=1",
        &[M::DivergedFetchCounts],
        AcknowledgedOnMinInSync,
    ),
];

const ISR_REQUESTS: [Case; 2] = [
    (
        "isr-grow controller-epochs=2 isr-requests=1 records=1 leader-epochs=2",
        &[M::LateIsrRequestAccepted, M::ClaimRaisesPartitionEpoch],
        AcknowledgedOnEveryLeader,
    ),
    (
        "isr-grow crashes=1 records=1 isr-requests=1",
        &[M::CaughtUpByHighWatermark],
        AcknowledgedOnEveryLeader,
    ),
];

const CONTROLLERS: [Case; 1] = [(
    "duel records=1 crashes=0 leader-epochs=2 election-drops=1",
    &[M::MapNotClaimed, M::MapsOrderedByStamp],
    ExposedNeverReplaced,
)];

const VOLUMES: [Case; 2] = [
    (
        "wiped-volume isr=3",
        &[M::WipedKeepsNumber],
        AcknowledgedOnEveryLeader,
    ),
    (
        "old-volume isr=3",
        &[M::RestartedElectedAtOnce],
        AcknowledgedOnEveryLeader,
    ),
];

/// Waiting for reports covers for the others; without it each of them is needed.
const ROLLBACK: [Case; 5] = [
    (
        "store-rollback controller-epochs=2",
        &[M::ElectionBeforeReports, M::ClaimRaisesPartitionEpoch],
        AcknowledgedOnEveryLeader,
    ),
    (
        "store-rollback controller-epochs=3",
        &[M::ElectionBeforeReports, M::DoubtByStamp],
        AcknowledgedOnEveryLeader,
    ),
    (
        "store-rollback controller-epochs=2",
        &[M::ElectionBeforeReports, M::RolledBackMapTrusted],
        AcknowledgedOnEveryLeader,
    ),
    (
        "store-rollback-crash controller-epochs=2 leader-epochs=2",
        &[M::ElectionBeforeReports, M::RegistrationElectsBeforeReports],
        AcknowledgedOnEveryLeader,
    ),
    (
        "store-rollback-crash controller-epochs=2 leader-epochs=2 crashes=2",
        &[M::ElectionBeforeReports, M::IncarnationWithoutGeneration],
        AcknowledgedOnEveryLeader,
    ),
];

const ANSWERS: [Case; 2] = [
    (
        "answers-deposed",
        &[M::AnswerOfOldEpochApplied],
        ExposedNeverReplaced,
    ),
    (
        "answers isr=3 crashes=0",
        &[M::AnswerForOtherLogApplied],
        AcknowledgedOnMinInSync,
    ),
];

const CONFIRMATIONS: [Case; 4] = [
    (
        "confirmation delayed-fetches=1 delayed-answers=1",
        &[M::ConfirmedAtFirstReport],
        AcknowledgedOnEveryLeader,
    ),
    (
        "confirmation",
        &[M::OldIncarnationConfirmed],
        AcknowledgedOnEveryLeader,
    ),
    (
        "confirmation-duel",
        &[M::UnconfirmedForgotten],
        AcknowledgedOnEveryLeader,
    ),
    (
        "confirmation-shrink",
        &[M::ShrunkBelowMinInSync, M::LastMemberElectedAlone],
        AcknowledgedOnEveryLeader,
    ),
];

const TOPICS: [Case; 5] = [
    (
        "creation records=1 crashes=0",
        &[M::UnlistedMapUsed],
        OneLeaderPerEpoch,
    ),
    ("creation-rollback", &[M::CreatedUnheard], OneLeaderPerEpoch),
    (
        "creation-rollback",
        &[M::DeletedWhenAbsent],
        AcknowledgedOnEveryLeader,
    ),
    (
        "deletion controller-epochs=1",
        &[M::TombstoneDroppedEarly],
        DeletedStaysDeleted,
    ),
    (
        "deletion-moved records=1 crashes=0",
        &[M::FormerHoldersForgotten],
        DeletedStaysDeleted,
    ),
];

const PAGE_CACHE: [Case; 3] = [
    (
        "page-cache isr=3 node-crashes=2 crashes=0 leader-epochs=3",
        &[M::BootIdIgnored],
        AcknowledgedOnEveryLeader,
    ),
    (
        "page-cache isr=3 node-crashes=2 crashes=0 leader-epochs=3",
        &[M::UncleanLastMemberElected],
        AcknowledgedOnEveryLeader,
    ),
    (
        "page-cache isr=3 node-crashes=2 crashes=0 leader-epochs=3",
        &[M::RecoveredFromIsrAlone],
        LossOnlyOfWhatNobodyHas,
    ),
];

const IDEMPOTENCE: [Case; 3] = [
    (
        "idempotence records=1 crashes=1",
        &[M::DuplicateAnsweredEarly],
        AcknowledgedOnEveryLeader,
    ),
    (
        "idempotence records=1 crashes=1",
        &[M::DuplicateAppended],
        NoRecordTwice,
    ),
    (
        "idempotence crashes=0 suspicion=1",
        &[M::ProducersNotTruncated],
        AcknowledgedOnEveryLeader,
    ),
];

fn cases() -> impl Iterator<Item = &'static Case> {
    let groups: [&[Case]; 11] = [
        &EPOCHS,
        &HIGH_WATERMARK,
        &ISR_REQUESTS,
        &CONTROLLERS,
        &VOLUMES,
        &ROLLBACK,
        &ANSWERS,
        &CONFIRMATIONS,
        &TOPICS,
        &PAGE_CACHE,
        &IDEMPOTENCE,
    ];
    groups.into_iter().flatten()
}

#[test]
fn every_mutant_has_its_case() {
    let missing: Vec<_> = Mutant::all()
        .filter(|mutant| !cases().any(|(_, mutants, _)| mutants.contains(mutant)))
        .collect();
    assert!(missing.is_empty(), "no case breaks {missing:?}");
}

#[test]
fn broken_epochs_are_caught() {
    caught(&EPOCHS);
}

#[test]
fn a_broken_high_watermark_is_caught() {
    caught(&HIGH_WATERMARK);
}

#[test]
fn broken_isr_requests_are_caught() {
    caught(&ISR_REQUESTS);
}

#[test]
fn broken_claims_are_caught() {
    caught(&CONTROLLERS);
}

#[test]
fn trusted_volumes_are_caught() {
    caught(&VOLUMES);
}

#[test]
fn a_trusted_store_is_caught() {
    caught(&ROLLBACK);
}

#[test]
fn a_follower_that_takes_any_answer_is_caught() {
    caught(&ANSWERS);
}

#[test]
fn broken_confirmations_are_caught() {
    caught(&CONFIRMATIONS);
}

#[test]
fn topics_created_or_deleted_too_early_are_caught() {
    caught(&TOPICS);
}

#[test]
fn trusted_page_caches_are_caught() {
    caught(&PAGE_CACHE);
}

#[test]
fn broken_idempotence_is_caught() {
    caught(&IDEMPOTENCE);
}

fn caught(cases: &[Case]) {
    for (words, mutants, invariant) in cases {
        let mutants: Mutants = mutants.iter().copied().collect();
        let config = Config::from_words(words.split(' '))
            .expect("a configuration")
            .mutated(mutants);
        let exploration = Exploration::of(config, Limits::default());
        assert_eq!(
            exploration.found,
            Found::Broken(*invariant),
            "{words} {mutants:?}: {exploration}"
        );
    }
}
