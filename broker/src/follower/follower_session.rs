//! A session as the follower sees it: what to say to the leader, and what of its answers to obey. No clock and no network: times come in with events.

mod echo;

use std::collections::{BTreeMap, BTreeSet};

use taffrail_api::{
    WireError,
    convert::{Answered, position},
    v1::{self, follower_message},
};
use taffrail_core::{
    TopicPartition,
    replica::{FetchRequest, Mutant, is_broken},
};

use self::echo::Echo;
use super::{
    check::{Checked, check},
    positions::Changes,
    throttle::Throttle,
};

/// The leader hears something at least this often. It says its own clock every half second, which is repeated: more than that is said only if nothing comes.
const KEEPALIVE_MS: u64 = 750;
/// What the leader could not answer is asked again after this, unless the metadata changed before; and after twice as long each time.
const RETRY_MS_MIN: u64 = 100;
const RETRY_MS_MAX: u64 = 2_000;
/// Positions of one message: it stays below what a leader takes.
const POSITIONS_MAX: usize = 5_000;

/// Which of the partitions are in sync: these are not throttled.
pub(crate) trait InSync {
    fn is_in_sync(&self, id: TopicPartition) -> bool;
}

/// What is said and heard of all partitions that one leader leads and this broker follows.
///
/// Invariant: of each partition one answer at most is on its way, or with the owner of the log.
#[derive(Debug)]
pub(crate) struct FollowerSession {
    followed: BTreeMap<TopicPartition, Followed>,
    /// Of these something is to be said now.
    unsaid: BTreeSet<TopicPartition>,
    gone: BTreeSet<TopicPartition>,
    /// To be asked again at that time.
    later: BTreeSet<(u64, TopicPartition)>,
    /// Wait for the throttle.
    held: BTreeSet<TopicPartition>,
    echo: Echo,
    said_at_ms: u64,
}

#[derive(Debug)]
struct Followed {
    stands: FetchRequest,
    said: Option<FetchRequest>,
    ask: Ask,
    retry_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// To be asked.
    Due,
    /// The leader could not answer: to be asked in a while.
    Later,
    /// The answer is on its way.
    Asked,
    /// The answer is with the owner of the log, and moves its end.
    Handed,
}

impl FollowerSession {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            followed: BTreeMap::new(),
            unsaid: BTreeSet::new(),
            gone: BTreeSet::new(),
            later: BTreeSet::new(),
            held: BTreeSet::new(),
            echo: Echo::default(),
            said_at_ms: now_ms,
        }
    }

    /// The owner of the logs says where they stand.
    pub(crate) fn stands(&mut self, changes: Changes) {
        for (id, change) in changes {
            let Some(stands) = change else {
                if self.followed.remove(&id).is_some() {
                    self.gone.insert(id);
                }
                self.held.remove(&id);
                continue;
            };
            let followed = self.followed.entry(id).or_insert(Followed {
                stands,
                said: None,
                ask: Ask::Due,
                retry_ms: RETRY_MS_MIN,
            });
            let before = std::mem::replace(&mut followed.stands, stands);
            let is_elsewhere = !asks_the_same(&before, &stands);
            // Told again where it was told before: the answer was not obeyed.
            let is_left = followed.ask == Ask::Handed && before == stands;
            if is_elsewhere || is_left {
                followed.ask = Ask::Due;
            }
            if is_elsewhere {
                followed.retry_ms = RETRY_MS_MIN;
            }
            if followed.ask != Ask::Later {
                self.unsaid.insert(id);
            }
        }
    }

    /// The leader answered. What is returned may be obeyed, in this order.
    ///
    /// # Errors
    /// No leader says this: nothing of it may be obeyed, and the session has to end.
    pub(crate) fn answered(
        &mut self,
        answers: v1::Answers,
        now_ms: u64,
        throttle: &mut Throttle,
        in_sync: &impl InSync,
    ) -> Result<Vec<Checked>, WireError> {
        self.echo.read(answers.clock_ms);
        let mut obey = Vec::with_capacity(answers.answers.len());
        for answer in answers.answers {
            let answered = Answered::try_from(answer)?;
            if let Some(checked) = self.take(answered, now_ms)? {
                if !in_sync.is_in_sync(checked.id) {
                    throttle.take(checked.bytes, now_ms);
                }
                obey.push(checked);
            }
        }
        Ok(obey)
    }

    fn take(&mut self, answered: Answered, now_ms: u64) -> Result<Option<Checked>, WireError> {
        let id = answered.partition;
        let followed = self.followed.get_mut(&id).filter(|f| {
            let is_now = f.ask == Ask::Asked
                && f.stands.leader_epoch == answered.leader_epoch
                && f.stands.tail == answered.tail;
            is_now || is_broken(Mutant::StaleAnswerObeyed)
        });
        let Some(followed) = followed else {
            // Overtaken: it stands somewhere else by now, or is not followed any more.
            return Ok(None);
        };
        let answer = match answered.answer {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(partition = %id, %error, "the leader cannot answer yet");
                followed.ask = Ask::Later;
                self.later.insert((now_ms + followed.retry_ms, id));
                followed.retry_ms = (followed.retry_ms * 2).min(RETRY_MS_MAX);
                return Ok(None);
            }
        };
        followed.retry_ms = RETRY_MS_MIN;
        let Answered {
            batches,
            append_time_ms,
            producers,
            ..
        } = answered;
        let checked = check(id, answer, &batches, append_time_ms)?.with_producers(&producers)?;
        if checked.moves_the_log() {
            followed.ask = Ask::Handed;
        } else {
            followed.ask = Ask::Due;
            self.unsaid.insert(id);
        }
        Ok(Some(checked))
    }

    /// The next message for the leader, if there is something to say by now. It says that whatever [`Self::stands`] does not name as left was followed until now:
    /// whoever asks for a message has told that before.
    pub(crate) fn message(
        &mut self,
        now_ms: u64,
        throttle: &mut Throttle,
        in_sync: &impl InSync,
    ) -> Option<v1::FollowerMessage> {
        self.wake(now_ms, throttle);
        let mut positions = Vec::new();
        while positions.len() < POSITIONS_MAX
            && let Some(id) = self.unsaid.pop_first()
        {
            let Some(followed) = self.followed.get_mut(&id) else {
                continue;
            };
            let mut asks = followed.ask == Ask::Due;
            if asks && !in_sync.is_in_sync(id) && throttle.check(now_ms).is_err() {
                self.held.insert(id);
                asks = false;
            }
            if asks {
                followed.ask = Ask::Asked;
            } else if followed.said == Some(followed.stands) {
                continue;
            }
            followed.said = Some(followed.stands);
            positions.push(position(id, &followed.stands, asks));
        }
        let gone = std::mem::take(&mut self.gone);
        let is_due = now_ms >= self.speaks_at();
        if positions.is_empty() && gone.is_empty() && !is_due {
            return None;
        }
        self.said_at_ms = now_ms;
        // Not before all is said that may have been left.
        let is_whole = self.unsaid.is_empty();
        let clock_ms = if is_whole { self.echo.say(now_ms) } else { 0 };
        let gone = gone.into_iter().map(|id| v1::PartitionId {
            topic_id: bytes::Bytes::copy_from_slice(id.topic.as_bytes()),
            partition: id.partition.0,
        });
        let positions = v1::Positions {
            positions,
            gone: gone.collect(),
            clock_ms,
        };
        Some(v1::FollowerMessage {
            message: Some(follower_message::Message::Positions(positions)),
        })
    }

    /// When [`Self::message`] has something to say if nothing happens before.
    pub(crate) fn wakes_at(&self, now_ms: u64, throttle: &mut Throttle) -> u64 {
        if !self.unsaid.is_empty() || !self.gone.is_empty() {
            return now_ms;
        }
        let mut at_ms = self.speaks_at();
        if let Some((retry_ms, _)) = self.later.first() {
            at_ms = at_ms.min(*retry_ms);
        }
        if !self.held.is_empty() {
            at_ms = at_ms.min(throttle.check(now_ms).err().unwrap_or(now_ms));
        }
        at_ms
    }

    /// When something is said though no position changes.
    fn speaks_at(&self) -> u64 {
        let keepalive_ms = self.said_at_ms + KEEPALIVE_MS;
        self.echo
            .due_at()
            .map_or(keepalive_ms, |due_ms| keepalive_ms.min(due_ms))
    }

    fn wake(&mut self, now_ms: u64, throttle: &mut Throttle) {
        while let Some((at_ms, id)) = self.later.first().copied()
            && at_ms <= now_ms
        {
            self.later.pop_first();
            let followed = self.followed.get_mut(&id);
            if let Some(followed) = followed.filter(|f| f.ask == Ask::Later) {
                followed.ask = Ask::Due;
                self.unsaid.insert(id);
            }
        }
        if !self.held.is_empty() && throttle.check(now_ms).is_ok() {
            self.unsaid.append(&mut self.held);
        }
    }
}

/// Would an answer to the one be one to the other?
fn asks_the_same(one: &FetchRequest, other: &FetchRequest) -> bool {
    // An empty log that was begun anew is another one by its horizon alone.
    one.leader_epoch == other.leader_epoch
        && one.tail == other.tail
        && one.delete_horizon == other.delete_horizon
}

#[cfg(test)]
mod tests;
