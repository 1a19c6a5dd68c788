//! The file that says how far compaction came, and when: `cleaned`.

use std::time::Duration;

use taffrail_core::Offset;

use crate::{
    error::LogError,
    frame::{self, Fields, Kind},
    names,
    shared::Home,
};

const KIND: Kind = Kind {
    tag: *b"clnd",
    version: 2,
};

/// Passes whose time is known; of more, some count as done later than they were.
const PASSES_MAX: usize = 256;

/// A pass that came further than all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pass {
    up_to: Offset,
    at_ms: i64,
}

/// What compaction has done. Without the file everything is to be done again.
///
/// Invariants: `passes` grow in both fields. Below the last `up_to` no key has two records, and no tombstone an older record of its key before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cleaned {
    passes: Vec<Pass>,
    /// Tombstones below `up_to` that the last pass left: another pass is due for them alone.
    tombstones: u64,
    /// As in [`taffrail_core::replica::LogState`]. Written before the first tombstone below it goes.
    delete_horizon: Offset,
}

impl Cleaned {
    pub(crate) fn up_to(&self) -> Offset {
        self.passes.last().map_or(Offset::ZERO, |pass| pass.up_to)
    }

    /// Nothing is clean, and tombstones below the horizon may have gone: of an empty log that is filled from one with this horizon, and, up to its end, of a log whose
    /// file says nothing that can be.
    pub(crate) fn anew(delete_horizon: Offset) -> Self {
        Self {
            delete_horizon,
            ..Self::default()
        }
    }

    pub(crate) fn delete_horizon(&self) -> Offset {
        self.delete_horizon
    }

    /// Tombstones before this may go: everything before them of their keys went a retention ago. None may if the last pass left none.
    pub(crate) fn lets_go(&self, retention: Duration, now_ms: i64) -> Offset {
        let old = |pass: &&Pass| is_over(pass.at_ms, retention, now_ms);
        let last = self.passes.iter().take_while(old).last();
        last.filter(|_| self.tombstones > 0)
            .map_or(Offset::ZERO, |pass| pass.up_to)
    }

    /// Is a pass due for the tombstones alone, if those before `limit` may go? All of them would.
    pub(crate) fn is_due_for_tombstones(&self, limit: Offset) -> bool {
        self.tombstones > 0 && limit >= self.up_to()
    }

    /// A pass that begins now lets tombstones before `limit` go.
    pub(crate) fn raise_horizon(&mut self, limit: Offset) {
        self.delete_horizon = self.delete_horizon.max(limit);
    }

    /// A pass is done. Forgets what makes no difference to tombstones.
    pub(crate) fn note(&mut self, up_to: Offset, at_ms: i64, retention: Duration, tombstones: u64) {
        self.tombstones = tombstones;
        if up_to > self.up_to() {
            let at_ms = self.passes.last().map_or(at_ms, |p| p.at_ms.max(at_ms));
            self.passes.push(Pass { up_to, at_ms });
        }
        let old = |pass: &&Pass| is_over(pass.at_ms, retention, at_ms);
        let old = self.passes.iter().take_while(old).count();
        self.passes.drain(..old.saturating_sub(1));
        if self.passes.len() > PASSES_MAX {
            let last = self.passes.len() - 1;
            let mut at = 0..;
            // What a pass did counts as done by the next one then.
            self.passes
                .retain(|_| at.next().is_none_or(|at| at % 2 == 1 || at == last));
        }
    }

    /// The log ends at `end` now: what will be appended there is not clean. False: nothing changed.
    pub(crate) fn cut(&mut self, end: Offset) -> bool {
        let lowers_horizon = end < self.delete_horizon;
        self.delete_horizon = self.delete_horizon.min(end);
        if self.up_to() <= end {
            return lowers_horizon;
        }
        let kept = self.passes.partition_point(|pass| pass.up_to < end);
        self.passes.truncate(kept + 1);
        if let Some(last) = self.passes.last_mut() {
            last.up_to = end;
        }
        self.passes.retain(|pass| pass.up_to > Offset::ZERO);
        true
    }

    pub(crate) fn write(&self, home: &Home) -> Result<(), LogError> {
        let mut payload = Vec::with_capacity(16 + 16 * self.passes.len());
        payload.extend_from_slice(&self.tombstones.to_be_bytes());
        payload.extend_from_slice(&self.delete_horizon.0.to_be_bytes());
        for pass in &self.passes {
            payload.extend_from_slice(&pass.up_to.0.to_be_bytes());
            payload.extend_from_slice(&pass.at_ms.to_be_bytes());
        }
        let path = home.dir.join(names::CLEANED);
        frame::replace(&*home.disk, &path, KIND, &payload)
    }

    /// Nothing is clean, if there is no such file.
    pub(crate) fn read(home: &Home) -> Result<Self, LogError> {
        let path = home.dir.join(names::CLEANED);
        let Some(payload) = frame::read(&*home.disk, &path, KIND)? else {
            return Ok(Self::default());
        };
        Self::parse(&payload).ok_or(LogError::Unreadable {
            path,
            reason: "its passes are not in order",
        })
    }

    fn parse(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        // Version 1 had no horizon: its length says so.
        let has_horizon = payload.len().is_multiple_of(16);
        let mut cleaned = Self {
            tombstones: fields.u64()?,
            ..Self::default()
        };
        if has_horizon {
            cleaned.delete_horizon = Offset(fields.u64()?);
        }
        while fields.end().is_none() {
            let pass = Pass {
                up_to: Offset(fields.u64()?),
                at_ms: fields.i64()?,
            };
            let before = cleaned.passes.last();
            if pass.up_to <= cleaned.up_to() || before.is_some_and(|b| b.at_ms > pass.at_ms) {
                return None;
            }
            cleaned.passes.push(pass);
        }
        if !has_horizon {
            cleaned.delete_horizon = cleaned.up_to();
        }
        Some(cleaned)
    }
}

fn is_over(since_ms: i64, retention: Duration, now_ms: i64) -> bool {
    let age_ms = now_ms.saturating_sub(since_ms);
    u128::try_from(age_ms).is_ok_and(|age| age > retention.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETENTION: Duration = Duration::from_millis(100);

    fn after(passes: &[(u64, i64)]) -> Cleaned {
        let mut cleaned = Cleaned::default();
        for (up_to, at_ms) in passes {
            cleaned.note(Offset(*up_to), *at_ms, RETENTION, 1);
        }
        cleaned
    }

    #[test]
    fn tombstones_go_a_retention_after_the_first_pass_over_them() {
        let cleaned = after(&[(10, 1_000), (20, 1_050), (30, 1_090)]);
        let go = |now_ms| cleaned.lets_go(RETENTION, now_ms);
        assert_eq!((go(1_100), go(1_101)), (Offset(0), Offset(10)));
        assert_eq!((go(1_150), go(1_151)), (Offset(10), Offset(20)));
        assert_eq!((go(1_190), go(1_191)), (Offset(20), Offset(30)));
        assert_eq!(go(i64::MAX), Offset(30), "what comes later is not clean");
    }

    #[test]
    fn a_pass_for_tombstones_alone_is_due_when_all_may_go_and_there_are_some() {
        let mut cleaned = after(&[(10, 1_000), (20, 1_050)]);
        assert!(!cleaned.is_due_for_tombstones(Offset(19)));
        assert!(cleaned.is_due_for_tombstones(Offset(20)));
        cleaned.note(Offset(20), 1_200, RETENTION, 0);
        assert!(!cleaned.is_due_for_tombstones(Offset(20)));
        assert_eq!(cleaned.lets_go(RETENTION, i64::MAX), Offset(0));
    }

    #[test]
    fn forgotten_passes_never_let_a_tombstone_go_early() {
        let passes: Vec<(u64, i64)> = (1..2_000)
            .map(|n| (n * 10, 1_000 + n as i64 / 20))
            .collect();
        let cleaned = after(&passes);
        assert!(cleaned.passes.len() <= PASSES_MAX);
        for (up_to, at_ms) in &passes {
            let gone = cleaned.lets_go(RETENTION, at_ms + 100);
            assert!(gone < Offset(*up_to), "{up_to}");
        }
        assert_eq!(cleaned.up_to(), Offset(19_990));
        assert!(cleaned.lets_go(RETENTION, 1_300) > Offset(5));
    }

    #[test]
    fn a_file_of_the_first_version_had_let_any_tombstone_go_that_was_clean() {
        let mut payload = 1_u64.to_be_bytes().to_vec();
        payload.extend_from_slice(&20_u64.to_be_bytes());
        payload.extend_from_slice(&1_000_i64.to_be_bytes());
        let read = Cleaned::parse(&payload).expect("version 1");
        assert_eq!(
            (read.up_to(), read.delete_horizon()),
            (Offset(20), Offset(20))
        );
    }

    #[test]
    fn what_is_appended_after_a_cut_is_not_clean() {
        let mut cleaned = after(&[(10, 1_000), (20, 1_050)]);
        assert!(!cleaned.cut(Offset(20)));
        assert!(cleaned.cut(Offset(15)));
        assert_eq!(cleaned.up_to(), Offset(15));
        assert_eq!(cleaned.lets_go(RETENTION, i64::MAX), Offset(15));
        assert!(cleaned.cut(Offset(10)));
        assert_eq!(cleaned, after(&[(10, 1_000)]));
        assert!(cleaned.cut(Offset(0)));
        assert_eq!(cleaned.up_to(), Offset(0));
        let mut cleaned = Cleaned::anew(Offset(40));
        assert!(!cleaned.cut(Offset(40)) && cleaned.cut(Offset(30)));
        assert_eq!(cleaned, Cleaned::anew(Offset(30)));
    }
}
