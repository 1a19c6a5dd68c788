//! Records that retention deleted before a group read them: told as an Event with their offsets, each once.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use kube::{Resource as _, ResourceExt as _};
use taffrail_crds::{ConsumerGroup, consumer_group::LostRecords};

use crate::{context::Context, events::Notice};

/// The event's reason, as of the condition.
const REASON: &str = "DataLost";

/// Up to which offset a loss was told, by uid and partition. Bounded by the partitions that groups read.
#[derive(Debug, Default)]
pub(crate) struct ToldLosses(Mutex<HashMap<String, HashMap<String, i64>>>);

impl ToldLosses {
    /// Is there a loss of a partition of which nothing was told?
    fn lacks_one(&self, uid: &str, before: &[LostRecords], now: &[LostRecords]) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told_of(&mut all, uid, before);
        let is_told =
            |lost: &LostRecords| told.get(&lost.partition).is_some_and(|to| *to > lost.from);
        !now.iter().all(is_told)
    }

    /// Forgets all but these.
    pub(super) fn keep(&self, uids: &BTreeSet<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|uid, _| uids.contains(uid));
    }

    /// What was not told of a group yet, as half-open ranges. They count as told from now on.
    fn take_news(&self, uid: &str, before: &[LostRecords], now: &[LostRecords]) -> Vec<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told_of(&mut all, uid, before);
        told.retain(|partition, _| now.iter().any(|lost| lost.partition == *partition));
        let mut news = Vec::new();
        for lost in now {
            let to = told.get(&lost.partition).copied().unwrap_or(lost.from);
            let from = to.max(lost.from);
            if from < lost.to {
                news.push(format!(
                    "offsets {from} to {} of {}",
                    lost.to - 1,
                    lost.partition
                ));
                told.insert(lost.partition.clone(), lost.to);
            }
        }
        if told.is_empty() {
            all.remove(uid);
        }
        news
    }
}

/// What was told of a group. What the status said when this operator began was told by the one before it.
fn told_of<'a>(
    all: &'a mut HashMap<String, HashMap<String, i64>>,
    uid: &str,
    before: &[LostRecords],
) -> &'a mut HashMap<String, i64> {
    all.entry(uid.to_owned()).or_insert_with(|| {
        let known = before.iter().map(|lost| (lost.partition.clone(), lost.to));
        known.collect()
    })
}

/// Tells of losses for which the status has no room: it does not change, and is not written, because of them. Those that only grew wait until it is.
pub(super) async fn tell_hidden(
    group: &ConsumerGroup,
    lost: &[LostRecords],
    shown: &[LostRecords],
    context: &Context,
) {
    let before = group.status.as_ref().map(|status| &*status.lost);
    let uid = group.uid().unwrap_or_default();
    let told = &context.told_losses;
    if lost.len() > shown.len() && told.lacks_one(&uid, before.unwrap_or_default(), lost) {
        tell(group, lost, shown, context).await;
    }
}

/// Tells what is new in `lost`. `shown`: what of it the status has room for.
pub(super) async fn tell(
    group: &ConsumerGroup,
    lost: &[LostRecords],
    shown: &[LostRecords],
    context: &Context,
) {
    let before = group.status.as_ref().map(|status| &*status.lost);
    let uid = group.uid().unwrap_or_default();
    let news = context
        .told_losses
        .take_news(&uid, before.unwrap_or_default(), lost);
    if news.is_empty() {
        return;
    }
    let notice = Notice {
        reason: REASON,
        action: "Expire",
        begin: "retention deleted records before the group read them".to_owned(),
        details: news,
        rest: if lost.len() > shown.len() {
            "are in the metric taffrail_operator_group_lost_records"
        } else {
            "are in status.lost"
        },
    };
    tracing::warn!(
        group = group.name_any(),
        namespace = group.namespace(),
        "{}",
        notice.note()
    );
    let regarding = group.object_ref(&());
    let event = notice.event(regarding, &context.config.identity);
    // One that cannot be written is in the log and in the status.
    context.events.create(&event).await;
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

    use super::*;

    fn lost(partition: &str, from: i64, to: i64) -> LostRecords {
        LostRecords {
            partition: partition.to_owned(),
            from,
            to,
            seen_at: Time(Timestamp::UNIX_EPOCH),
        }
    }

    #[test]
    fn each_offset_that_is_lost_is_told_once() {
        let told = ToldLosses::default();
        let first = [lost("orders/7", 100, 250)];
        assert_eq!(
            told.take_news("a", &[], &first),
            ["offsets 100 to 249 of orders/7"]
        );
        assert!(told.take_news("a", &[], &first).is_empty());
        let more = [lost("orders/7", 100, 400), lost("orders/8", 5, 6)];
        assert_eq!(
            told.take_news("a", &first, &more),
            [
                "offsets 250 to 399 of orders/7",
                "offsets 5 to 5 of orders/8"
            ]
        );
        // It is over; what is lost later is told by itself.
        assert!(told.take_news("a", &more, &[]).is_empty());
        let later = [lost("orders/7", 600, 700)];
        assert_eq!(
            told.take_news("a", &[], &later),
            ["offsets 600 to 699 of orders/7"]
        );
    }

    #[test]
    fn another_operator_does_not_tell_what_the_status_says_already() {
        let told = ToldLosses::default();
        let known = [lost("orders/7", 100, 250)];
        assert!(told.take_news("a", &known, &known).is_empty());
        let grown = [lost("orders/7", 100, 300)];
        assert_eq!(
            told.take_news("a", &known, &grown),
            ["offsets 250 to 299 of orders/7"]
        );
    }

    #[test]
    fn a_loss_of_another_partition_is_news_and_one_that_grew_is_not() {
        let told = ToldLosses::default();
        let first = [lost("orders/7", 100, 250)];
        assert!(told.lacks_one("a", &[], &first));
        told.take_news("a", &[], &first);
        assert!(!told.lacks_one("a", &[], &first));
        assert!(!told.lacks_one("a", &[], &[lost("orders/7", 100, 300)]));
        assert!(told.lacks_one("a", &[], &[lost("orders/7", 300, 400)]));
        let [seventh] = first;
        let both = [seventh, lost("orders/8", 5, 6)];
        assert!(told.lacks_one("a", &[], &both));
        // What the status says was told.
        assert!(!told.lacks_one("b", &both, &both));
    }

    #[test]
    fn what_was_told_of_a_group_goes_with_it() {
        let told = ToldLosses::default();
        for uid in ["a", "b"] {
            told.take_news(uid, &[], &[lost("orders/7", 100, 250)]);
        }
        told.keep(&BTreeSet::from(["b".to_owned()]));
        let left = told.0.into_inner().expect("nobody panicked");
        assert_eq!(left.into_keys().collect::<Vec<_>>(), ["b"]);
    }
}
