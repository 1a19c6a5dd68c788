//! News of a log for the sessions of its followers.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use taffrail_core::TopicPartition;
use tokio::sync::Notify;

/// Those who want to know of everything new in one partition, for as long as they live.
#[derive(Debug, Default)]
pub(crate) struct Growth(Mutex<Vec<Weak<News>>>);

/// Partitions that have something new, for one session.
#[derive(Debug, Default)]
pub(crate) struct News {
    of: Mutex<BTreeSet<TopicPartition>>,
    some: Notify,
}

impl Growth {
    /// Tells `news` of everything from now on. Look at the partition after this, or news may be missed.
    pub(crate) fn add(&self, news: &Arc<News>) {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !sessions.iter().any(|s| s.as_ptr() == Arc::as_ptr(news)) {
            sessions.retain(|s| s.strong_count() > 0);
            sessions.push(Arc::downgrade(news));
        }
    }

    /// The log of `id` grew, its high watermark moved, or somebody else leads it.
    pub(crate) fn tell(&self, id: TopicPartition) {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for news in sessions.iter().filter_map(Weak::upgrade) {
            news.tell(id);
        }
    }
}

impl News {
    fn tell(&self, id: TopicPartition) {
        let is_new = self
            .of
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id);
        if is_new {
            self.some.notify_one();
        }
    }

    /// Resolves when there may be something to take.
    pub(crate) async fn wait(&self) {
        self.some.notified().await;
    }

    /// Everything new since the last time.
    pub(crate) fn take(&self) -> BTreeSet<TopicPartition> {
        std::mem::take(&mut self.of.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use taffrail_core::{PartitionIndex, TopicId};

    use super::*;

    const ID: TopicPartition = TopicPartition {
        topic: TopicId::from_bytes([1; 16]),
        partition: PartitionIndex(0),
    };

    #[test]
    fn every_session_hears_of_everything_new_once_until_it_took_it() {
        let growth = Growth::default();
        let sessions = [Arc::new(News::default()), Arc::new(News::default())];
        for news in &sessions {
            growth.add(news);
            growth.add(news);
        }
        growth.tell(ID);
        growth.tell(ID);
        for news in &sessions {
            assert!(news.wait().now_or_never().is_some());
            assert_eq!(news.take(), [ID].into());
            assert!(news.wait().now_or_never().is_none(), "woken once");
        }
        growth.tell(ID);
        assert_eq!(
            sessions[0].take(),
            [ID].into(),
            "it need not be added again"
        );
    }

    #[test]
    fn sessions_that_ended_are_forgotten() {
        let growth = Growth::default();
        for _ in 0..100 {
            growth.add(&Arc::new(News::default()));
        }
        assert!(growth.0.lock().expect("not poisoned").len() <= 1);
    }
}
