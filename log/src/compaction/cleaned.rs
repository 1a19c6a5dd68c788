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
    version: 1,
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
}

impl Cleaned {
    pub(crate) fn up_to(&self) -> Offset {
        self.passes.last().map_or(Offset::ZERO, |pass| pass.up_to)
    }

    /// May a tombstone at `offset` go? Everything before it of its key went this long ago.
    pub(crate) fn lets_go(&self, offset: Offset, retention: Duration, now_ms: i64) -> bool {
        let first = self.passes.iter().find(|pass| offset < pass.up_to);
        first.is_some_and(|pass| is_over(pass.at_ms, retention, now_ms))
    }

    /// Is there a tombstone that may go?
    pub(crate) fn has_old_tombstones(&self, retention: Duration, now_ms: i64) -> bool {
        let last = self.passes.last();
        self.tombstones > 0 && last.is_some_and(|p| is_over(p.at_ms, retention, now_ms))
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
        if self.up_to() <= end {
            return false;
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
        let mut payload = Vec::with_capacity(8 + 16 * self.passes.len());
        payload.extend_from_slice(&self.tombstones.to_be_bytes());
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
        let mut cleaned = Self {
            passes: Vec::new(),
            tombstones: fields.u64()?,
        };
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
    fn a_tombstone_goes_a_retention_after_the_first_pass_over_it() {
        let cleaned = after(&[(10, 1_000), (20, 1_050), (30, 1_090)]);
        let goes = |offset, now_ms| cleaned.lets_go(Offset(offset), RETENTION, now_ms);
        assert!(!goes(9, 1_100) && goes(9, 1_101));
        assert!(!goes(10, 1_150) && goes(10, 1_151));
        assert!(!goes(29, 1_190) && goes(29, 1_191));
        assert!(!goes(30, i64::MAX), "it is not clean yet");
    }

    #[test]
    fn forgotten_passes_never_let_a_tombstone_go_early() {
        let passes: Vec<(u64, i64)> = (1..2_000)
            .map(|n| (n * 10, 1_000 + n as i64 / 20))
            .collect();
        let cleaned = after(&passes);
        assert!(cleaned.passes.len() <= PASSES_MAX);
        for (up_to, at_ms) in &passes {
            let inside = Offset(up_to - 1);
            assert!(!cleaned.lets_go(inside, RETENTION, at_ms + 100), "{up_to}");
        }
        assert_eq!(cleaned.up_to(), Offset(19_990));
        assert!(cleaned.lets_go(Offset(5), RETENTION, 1_300));
    }

    #[test]
    fn what_is_appended_after_a_cut_is_not_clean() {
        let mut cleaned = after(&[(10, 1_000), (20, 1_050)]);
        assert!(!cleaned.cut(Offset(20)));
        assert!(cleaned.cut(Offset(15)));
        assert_eq!(cleaned.up_to(), Offset(15));
        assert!(!cleaned.lets_go(Offset(15), RETENTION, i64::MAX));
        assert!(cleaned.cut(Offset(10)));
        assert_eq!(cleaned, after(&[(10, 1_000)]));
        assert!(cleaned.cut(Offset(0)));
        assert_eq!(cleaned.up_to(), Offset(0));
    }
}
