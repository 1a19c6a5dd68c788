//! A leader that was replaced and has not heard of it says that what lies behind its own log is out of range. So nobody believes that at once: every broker is
//! asked who leads, then the newest leader is asked again.

use futures::FutureExt as _;

use super::{Consumer, Done, partition::Turn};
use crate::error::ClientError;

impl Consumer {
    /// The leader of `epoch` says that the position is out of range. Has it said so before, and does no broker know of a newer one?
    pub(super) fn is_believed(&mut self, slot: usize, epoch: i32) -> bool {
        let assigned = &mut self.partitions[slot];
        let newest = self
            .client
            .known()
            .epoch(&assigned.topic.name, assigned.index);
        let before = assigned.out_of_range_in.replace(epoch);
        before == Some(epoch) && newest <= epoch
    }

    /// Asks for the partition again once every broker was asked who leads it.
    pub(super) fn doubt(&mut self, slot: usize) {
        let assigned = &mut self.partitions[slot];
        assigned.turn = Turn::Doubted;
        tracing::debug!(topic = %assigned.topic.name, partition = %assigned.index, offset = %assigned.fetch_from, "the leader says that the offset is out of range: is it the leader?");
        self.ask_all();
    }

    /// One round of questions at a time. What is doubted meanwhile waits for the next: an answer may be from before.
    fn ask_all(&mut self) {
        if self.asks_all {
            return;
        }
        let mut topics = Vec::new();
        for assigned in &mut self.partitions {
            if assigned.turn == Turn::Doubted {
                assigned.turn = Turn::Confirming;
                topics.push(assigned.topic.name.to_string());
            }
        }
        if topics.is_empty() {
            return;
        }
        topics.sort_unstable();
        topics.dedup();
        self.asks_all = true;
        let client = self.client.clone();
        let ask = async move { Done::AskedAll(client.refresh_of_all(&topics).await) };
        self.work.push(ask.boxed());
    }

    /// Every broker was asked, or none answered.
    pub(super) fn asked_all(&mut self, asked: &Result<(), ClientError>) {
        self.asks_all = false;
        for slot in 0..self.partitions.len() {
            let assigned = &mut self.partitions[slot];
            if assigned.turn != Turn::Confirming {
                continue;
            }
            if let Err(error) = asked {
                assigned.out_of_range_in = None;
                self.retry(slot, error);
            } else {
                assigned.turn = Turn::Idle;
                self.idle.push(slot);
            }
        }
        self.ask_all();
    }
}
