//! Elections that may have lost records: told on the Topic that they are of, or on its cluster where no Topic has that name.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;
use taffrail_controller::Loss;
use tokio::time::sleep;

use crate::{
    context::Context,
    engines::{ClusterKey, Engine},
    events::Notice,
    resolve::owner_of,
};

/// The event's reason.
const REASON: &str = "RecordsMayBeLost";
/// After an event that could not be written.
const RETRY: Duration = Duration::from_secs(5);

/// The last loss that was told of each topic: of a later one the number is greater.
type Told = BTreeMap<(ClusterKey, String), (u64, u64)>;

/// Tells until the operator is stopped. A loss whose event cannot be written is told again; one that nobody could be told of before the
/// operator ended is in its log.
pub(crate) async fn run(context: Arc<Context>) {
    let work = async {
        if !context.topics.ready().await {
            return;
        }
        let mut changed = context.engines.changed();
        changed.mark_changed();
        let mut told = Told::new();
        loop {
            let has_failed = !tell_all(&mut told, &context).await;
            tokio::select! {
                changed = changed.changed() => if changed.is_err() { return },
                () = sleep(RETRY), if has_failed => {}
            }
        }
    };
    tokio::select! {
        () = context.stop.cancelled() => {}
        () = work => {}
    }
}

/// False if something could not be told.
async fn tell_all(told: &mut Told, context: &Context) -> bool {
    let mut is_all_told = true;
    for key in context.engines.keys() {
        let engine = context.engines.get(&key);
        let Some((engine, running)) = engine.and_then(|e| Some((e.clone(), e.running?))) else {
            continue;
        };
        for (topic, losses) in news(told, &key, &running.handle.view().losses) {
            let regarding = regarding(&topic, &key, &engine, context);
            let event = notice(&losses).event(regarding, &context.config.identity);
            if context.events.create(&event).await {
                let last = losses.iter().map(|loss| loss.number).max();
                told.insert((key.clone(), topic), last.unwrap_or_default());
            } else {
                is_all_told = false;
            }
        }
    }
    is_all_told
}

/// What was not told yet, by topic.
fn news<'a>(told: &Told, key: &ClusterKey, losses: &'a [Loss]) -> BTreeMap<String, Vec<&'a Loss>> {
    let mut news = BTreeMap::<_, Vec<_>>::new();
    for loss in losses {
        let last = told.get(&(key.clone(), loss.topic.clone()));
        if last.is_none_or(|last| *last < loss.number) {
            news.entry(loss.topic.clone()).or_default().push(loss);
        }
    }
    news
}

fn regarding(name: &str, key: &ClusterKey, engine: &Engine, context: &Context) -> ObjectReference {
    let topics = context.topics.all();
    let owner = owner_of(name, key, &engine.cluster, &topics, &context.engines);
    match owner {
        Some(topic) => topic.object_ref(&()),
        None => engine.cluster.object_ref(&()),
    }
}

/// One notice for all of a topic's losses.
fn notice(losses: &[&Loss]) -> Notice {
    let topic = losses.first().map_or("", |loss| &loss.topic);
    Notice {
        reason: REASON,
        action: "Elect",
        begin: format!(
            "records of topic {topic} may be lost: no replica was left that surely had everything"
        ),
        details: losses.iter().map(|loss| loss.message()).collect(),
        rest: "are in the operator's log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ClusterKey {
        ClusterKey {
            namespace: "streams".to_owned(),
            name: "main".to_owned(),
        }
    }

    fn loss(number: (u64, u64), topic: &str, partition: u32) -> Loss {
        Loss {
            number,
            topic: topic.to_owned(),
            partition,
            from: 7,
            known_to: 9,
        }
    }

    #[test]
    fn each_loss_is_told_once_also_if_another_controller_counts_anew() {
        let mut told = Told::new();
        let first = [
            loss((1, 1), "a", 0),
            loss((1, 2), "b", 0),
            loss((1, 3), "a", 1),
        ];
        let found = news(&told, &key(), &first);
        assert_eq!(found["a"], [&first[0], &first[2]]);
        assert_eq!(found["b"], [&first[1]]);
        // That of `b` could not be written.
        told.insert((key(), "a".to_owned()), (1, 3));
        let found = news(&told, &key(), &first);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["b"]);
        let next = [loss((2, 1), "a", 0)];
        assert_eq!(news(&told, &key(), &next)["a"], [&next[0]]);
    }

    #[test]
    fn an_event_names_topic_partition_offsets_and_why() {
        let losses = [
            loss((1, 1), "flights", 3),
            Loss {
                known_to: 7,
                ..loss((1, 2), "flights", 4)
            },
        ];
        let event = notice(&losses.each_ref()).event(ObjectReference::default(), "operator-0");
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert_eq!(event.reason.as_deref(), Some("RecordsMayBeLost"));
        assert_eq!(
            event.note.as_deref(),
            Some(
                "records of topic flights may be lost: no replica was left that surely had everything; \
                 partition 3 has a leader whose log ends at offset 7, and offsets 7 to 8 were there; \
                 partition 4 has a leader whose log ends at offset 7, and nobody is known to have had that offset or a later one"
            )
        );
    }
}
