//! A tombstone stays until everybody had time to see it, and takes what is older of its key with it.

use taffrail_core::Offset;
use taffrail_log::sim::{Fault, Loss, Operation};
use taffrail_record::Compression;

use super::fixture::{Fixture, TOMBSTONE_RETENTION_MS, compacted, key, newest, text};

/// Where [`with_a_tombstone`] deletes a key.
const TOMBSTONE: Offset = Offset(30);

/// Ten keys, of which one was deleted, in sealed segments.
fn with_a_tombstone() -> Fixture {
    let mut fixture = Fixture::new(compacted());
    for round in 0..3 {
        for k in 0..10 {
            fixture.append(Compression::None, [(key(k), Some(text(round)))]);
        }
    }
    fixture.append(Compression::None, [(key(3), None)]);
    for _ in 0..4 {
        fixture.append(Compression::None, [(key(90), Some(vec![b'x'; 600]))]);
    }
    fixture.settle();
    fixture
}

fn has_tombstone(fixture: &Fixture) -> bool {
    fixture.records().values().any(|(_, value)| value.is_none())
}

fn has_key(fixture: &Fixture, k: u32) -> bool {
    let wanted = key(k);
    let records = fixture.records();
    records
        .values()
        .any(|(key, _)| key.as_deref() == Some(&wanted[..]))
}

#[test]
fn a_tombstone_stays_for_its_retention_after_the_pass_that_took_what_was_older() {
    let mut fixture = with_a_tombstone();
    // However old it is when it is seen for the first time.
    fixture.now_ms += 10 * TOMBSTONE_RETENTION_MS;
    let before = newest(&fixture.records());
    fixture.compact().expect("due");
    assert!(has_tombstone(&fixture));
    fixture.now_ms += TOMBSTONE_RETENTION_MS;
    assert!(fixture.compact().is_none(), "nothing is due yet");
    fixture.now_ms += 1;
    fixture.compact().expect("a pass for the tombstone alone");
    assert!(!has_tombstone(&fixture) && !has_key(&fixture, 3));
    assert_eq!(newest(&fixture.records()), before);
    fixture.now_ms += 10 * TOMBSTONE_RETENTION_MS;
    assert!(fixture.compact().is_none(), "it was the only one");
}

#[test]
fn a_pass_for_other_keys_leaves_a_tombstone_whose_retention_is_not_over() {
    let mut fixture = with_a_tombstone();
    fixture.compact().expect("due");
    for _ in 0..30 {
        fixture.append(Compression::None, [(key(90), Some(vec![b'x'; 600]))]);
    }
    fixture.settle();
    fixture.now_ms += TOMBSTONE_RETENTION_MS;
    fixture.compact().expect("due");
    assert!(has_tombstone(&fixture));
}

#[test]
fn a_tombstone_in_place_of_what_was_cut_takes_its_key_with_it() {
    let mut fixture = with_a_tombstone();
    fixture.compact().expect("due");
    fixture.log.truncate(Offset(20)).expect("truncate");
    fixture.append(Compression::None, [(key(3), Some(text(50)))]);
    fixture.append(Compression::None, [(key(3), None)]);
    for _ in 0..30 {
        fixture.append(Compression::None, [(key(90), Some(vec![b'x'; 600]))]);
    }
    fixture.settle();
    fixture.now_ms += 2 * TOMBSTONE_RETENTION_MS;
    let before = newest(&fixture.records());
    fixture.compact().expect("due");
    assert_eq!(newest(&fixture.records()), before, "no value comes back");
}

#[test]
fn the_retention_goes_on_over_a_restart() {
    let mut fixture = with_a_tombstone();
    fixture.compact().expect("due");
    fixture.reopen();
    fixture.now_ms += TOMBSTONE_RETENTION_MS;
    assert!(fixture.compact().is_none());
    fixture.now_ms += 1;
    fixture.compact().expect("due");
    assert!(!has_tombstone(&fixture));
}

#[test]
fn without_the_file_that_says_what_is_clean_tombstones_only_stay_longer() {
    for damaged in [false, true] {
        let mut fixture = with_a_tombstone();
        fixture.compact().expect("due");
        if damaged {
            fixture
                .disk
                .flip_bit(&fixture.place.dir.join("cleaned"), 20);
            fixture.open_as_it_is();
        } else {
            fixture.remove_file("cleaned");
            fixture.reopen();
        }
        fixture.now_ms += 2 * TOMBSTONE_RETENTION_MS;
        let before = newest(&fixture.records());
        fixture.compact().expect("all is dirty again");
        assert!(has_tombstone(&fixture));
        fixture.now_ms += TOMBSTONE_RETENTION_MS + 1;
        fixture.compact().expect("due");
        assert!(!has_tombstone(&fixture));
        assert_eq!(newest(&fixture.records()), before);
    }
}

#[test]
fn a_key_that_comes_back_is_there() {
    let mut fixture = with_a_tombstone();
    fixture.compact().expect("due");
    fixture.append(Compression::None, [(key(3), Some(text(77)))]);
    for _ in 0..30 {
        fixture.append(Compression::None, [(key(90), Some(vec![b'x'; 600]))]);
    }
    fixture.settle();
    fixture.compact().expect("due");
    assert!(
        has_key(&fixture, 3) && !has_tombstone(&fixture),
        "the tombstone has a successor"
    );
}

#[test]
fn what_is_appended_after_a_cut_counts_as_dirty() {
    let mut fixture = with_a_tombstone();
    fixture.compact().expect("due");
    let to = fixture.log.truncate(Offset(20)).expect("truncate");
    for round in 100..110 {
        for k in 0..10 {
            fixture.append(Compression::None, [(key(k), Some(text(round)))]);
        }
    }
    fixture.append(Compression::None, [(key(3), None)]);
    for _ in 0..4 {
        fixture.append(Compression::None, [(key(90), Some(vec![b'x'; 600]))]);
    }
    fixture.settle();
    fixture.now_ms += 2 * TOMBSTONE_RETENTION_MS;
    let before = fixture.records();
    assert!(to <= Offset(20));
    let done = fixture.compact().expect("due");
    assert!(has_tombstone(&fixture), "it was not clean before");
    fixture.check_kept(&before, done.cleaned_to);
}

#[test]
fn a_log_that_begins_anew_is_not_clean() {
    let mut fixture = with_a_tombstone();
    fixture.compact().expect("due");
    let start = Offset(5);
    fixture
        .log
        .restart(
            start,
            taffrail_core::producers::ProducerTable::default(),
            Offset::ZERO,
        )
        .expect("restart");
    for round in 0..5 {
        for k in 0..4 {
            fixture.append(Compression::None, [(key(k), Some(text(round)))]);
        }
    }
    fixture.append(Compression::None, [(key(3), None)]);
    for _ in 0..3 {
        fixture.append(Compression::None, [(key(90), Some(vec![b'x'; 600]))]);
    }
    fixture.settle();
    fixture.now_ms += 2 * TOMBSTONE_RETENTION_MS;
    let before = fixture.records();
    let done = fixture.compact().expect("due");
    fixture.check_kept(&before, done.cleaned_to);
    assert!(has_tombstone(&fixture));
    fixture.reopen();
    fixture.check_kept(&before, done.cleaned_to);
}

/// Values of some keys, and then one batch that deletes all of them; everything is sealed.
fn deleted_at_once(keys: u32) -> Fixture {
    let mut fixture = Fixture::new(compacted());
    for k in 0..keys {
        fixture.append(Compression::None, [(key(k), Some(text(k)))]);
    }
    fixture.append(Compression::None, [(key(90), Some(vec![b'x'; 1_200]))]);
    fixture.settle();
    fixture
}

#[test]
fn a_batch_that_deletes_more_keys_than_the_map_has_room_for_deletes_them_for_ever() {
    let keys = 40;
    let mut fixture = deleted_at_once(keys);
    // So small that the tombstones do not fit.
    while fixture.compact_with(1, |_| true).is_some() {}
    fixture.append(Compression::None, (0..keys).map(|k| (key(k), None)));
    for _ in 0..2 {
        fixture.append(Compression::None, [(key(90), Some(vec![b'x'; 1_200]))]);
    }
    fixture.settle();
    for _ in 0..6 {
        while fixture.compact_with(1, |_| true).is_some() {}
        fixture.now_ms += 10 * TOMBSTONE_RETENTION_MS;
        for k in 0..keys {
            let newest = newest(&fixture.records());
            assert!(!newest.contains_key(&key(k)[..]), "key {k} is back");
        }
    }
}

#[test]
fn behind_a_batch_that_cannot_be_read_no_tombstone_goes() {
    let mut fixture = Fixture::new(compacted());
    fixture.append_batch(super::fixture::unreadable());
    fixture.append(Compression::None, [(key(3), Some(text(1)))]);
    fixture.append(Compression::None, [(key(3), None)]);
    for _ in 0..4 {
        fixture.append(Compression::None, [(key(90), Some(vec![b'x'; 600]))]);
    }
    fixture.settle();
    for _ in 0..3 {
        while fixture.compact().is_some() {}
        fixture.now_ms += 10 * TOMBSTONE_RETENTION_MS;
    }
    assert!(
        has_tombstone(&fixture),
        "it may delete what is in that batch"
    );
    assert!(fixture.compact().is_none(), "and no pass is due for it");
}

#[test]
fn a_tombstone_that_somebody_is_yet_to_get_stays() {
    let mut fixture = with_a_tombstone();
    fixture.compact().expect("due");
    fixture.now_ms += TOMBSTONE_RETENTION_MS + 1;
    for held_from in [Offset(0), TOMBSTONE] {
        let planned = fixture.log.plan_compaction(fixture.now_ms, held_from);
        assert!(planned.expect("sound").is_none(), "it could take nothing");
        assert!(fixture.log.delete_horizon() <= TOMBSTONE);
    }
    for _ in 0..30 {
        fixture.append(Compression::None, [(key(90), Some(vec![b'x'; 600]))]);
    }
    fixture.settle();
    let planned = fixture.log.plan_compaction(fixture.now_ms, TOMBSTONE);
    let pass = planned.expect("sound").expect("due for what was appended");
    let done = pass.run(1 << 20, |_| true);
    fixture.log.compaction_done(pass, done).expect("compacted");
    assert!(has_tombstone(&fixture));
    fixture.now_ms += TOMBSTONE_RETENTION_MS + 1;
    fixture.compact().expect("due for the tombstone");
    assert!(!has_tombstone(&fixture));
}

#[test]
fn the_delete_horizon_is_past_every_tombstone_that_went_wherever_a_pass_ends() {
    for loss in [Loss::Nothing, Loss::Everything, Loss::Anything] {
        let (mut gone, mut there) = (0, 0);
        for after in 0..60 {
            let mut fixture = with_a_tombstone();
            fixture.compact().expect("due");
            assert_eq!(fixture.log.delete_horizon(), Offset(0), "nothing went yet");
            fixture.now_ms += TOMBSTONE_RETENTION_MS + 1;
            let fault = Fault::on(Operation::Rename, "").after(after).once();
            fixture.disk.inject(fault);
            // It fails, or the disk is asked less often.
            let _ = fixture.try_compact(1 << 20, |_| true);
            fixture.disk.heal();
            fixture.disk.crash(loss);
            fixture.open();
            let horizon = fixture.log.delete_horizon();
            if has_tombstone(&fixture) {
                there += 1;
            } else {
                gone += 1;
                assert!(horizon > TOMBSTONE, "{horizon} {after} {loss:?}");
            }
            assert_eq!(fixture.log.state().delete_horizon, horizon);
        }
        assert!(gone > 0 && there > 0, "{gone} {there} {loss:?}");
    }
}

#[test]
fn a_log_that_cannot_tell_what_went_takes_any_tombstone_for_gone() {
    let mut fixture = with_a_tombstone();
    fixture.compact().expect("due");
    let cleaned = fixture.place.dir.join("cleaned");
    fixture.disk.flip_bit(&cleaned, 20);
    fixture.open_as_it_is();
    assert_eq!(fixture.log.delete_horizon(), fixture.log.log_end());
    let end = fixture.log.log_end();
    fixture.append(Compression::None, [(key(3), Some(text(77)))]);
    fixture.open_as_it_is();
    assert_eq!(fixture.log.delete_horizon(), end, "it is known from now on");
}

#[test]
fn the_delete_horizon_comes_with_the_log_that_fills_this_one_and_goes_with_a_cut() {
    let mut fixture = with_a_tombstone();
    let none = taffrail_core::producers::ProducerTable::default();
    let (start, horizon) = (Offset(5), Offset(25));
    fixture.log.restart(start, none, horizon).expect("restart");
    fixture.open_as_it_is();
    assert_eq!(fixture.log.delete_horizon(), horizon);
    for k in 0..10 {
        fixture.append(Compression::None, [(key(k), Some(text(1)))]);
    }
    fixture.settle();
    fixture.log.truncate(Offset(10)).expect("truncate");
    fixture.open_as_it_is();
    assert_eq!(fixture.log.delete_horizon(), Offset(10));
}
