//! Events: what `kubectl describe` shows below a resource when a condition turned.

mod notice;

use k8s_openapi::{
    api::events::v1::Event as EventObject, apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client, Resource,
    api::PostParams,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use taffrail_crds::conditions;
use tokio::time::timeout;

use crate::{
    metrics::{Metrics, WriteLabels},
    writes::{API_TIMEOUT, FIELD_MANAGER},
};

pub(crate) use notice::Notice;

/// Says what happened to resources.
#[derive(Clone)]
pub(crate) struct Events {
    client: Client,
    recorder: Recorder,
    metrics: Metrics,
}

impl Events {
    pub(crate) fn new(client: Client, identity: &str, metrics: Metrics) -> Self {
        let reporter = Reporter {
            controller: FIELD_MANAGER.to_owned(),
            instance: Some(identity.to_owned()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            metrics,
        }
    }

    /// One event for each condition whose status or reason is another than before. An event that cannot be written is lost: the status says
    /// the same.
    pub(crate) async fn turned<K>(&self, object: &K, before: &[Condition], after: &[Condition])
    where
        K: Resource<DynamicType = ()>,
    {
        for condition in turned(before, after) {
            let type_ = if condition.status == "True" {
                EventType::Normal
            } else {
                EventType::Warning
            };
            let event = Event {
                type_,
                reason: condition.reason.clone(),
                note: Some(condition.message.clone()),
                action: format!("Set{}", condition.type_),
                secondary: None,
            };
            self.publish(object, &event, "condition").await;
        }
    }

    /// Something that a person may have to act on, and no condition says: its resource is about to go.
    pub(crate) async fn warn<K>(&self, object: &K, reason: &'static str, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note.to_owned()),
            action: "Delete".to_owned(),
            secondary: None,
        };
        self.publish(object, &event, "deletion").await;
    }

    /// Says something that no status says. False if it could not be written.
    pub(crate) async fn create(&self, event: &EventObject) -> bool {
        self.count("loss");
        let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
        let events = Api::<EventObject>::namespaced(self.client.clone(), namespace);
        let parameters = PostParams::default();
        match timeout(API_TIMEOUT, events.create(&parameters, event)).await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => tracing::warn!(%error, "cannot write an event; trying again"),
            Err(_) => tracing::warn!("cannot write an event in time; trying again"),
        }
        false
    }

    fn count(&self, reason: &'static str) {
        let kind = "Event";
        self.metrics
            .writes
            .get_or_create(&WriteLabels { kind, reason })
            .inc();
    }

    async fn publish<K>(&self, object: &K, event: &Event, reason: &'static str)
    where
        K: Resource<DynamicType = ()>,
    {
        self.count(reason);
        let reference = object.object_ref(&());
        match timeout(API_TIMEOUT, self.recorder.publish(event, &reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot write an event"),
            Err(_) => tracing::warn!("cannot write an event in time"),
        }
    }
}

/// How things begin is no news, unless they cannot, or are what is waited for already; whatever turned later is.
fn turned<'a>(before: &[Condition], after: &'a [Condition]) -> Vec<&'a Condition> {
    let is_news = |condition: &&Condition| {
        let reason = condition.reason.as_str();
        if condition.status == "Unknown"
            // They turn with every restart, and say what is, not what happened.
            || matches!(&*condition.type_, "Progressing" | "SafeToStop" | "Balanced")
            || matches!(reason, "Creating" | "CatchingUp" | "NotAccepted")
            // Told by itself, with what was lost.
            || reason == "DataLost"
        {
            return false;
        }
        let type_ = condition.type_.as_str();
        // Also where it was so before anybody looked: whoever waits for it hears of it.
        let is_awaited = condition.status == "True" && matches!(type_, "Available" | "Ready");
        match conditions::find(before, type_) {
            Some(old) if old.status == "Unknown" && condition.status == "True" => {
                is_awaited || type_ == "Accepted"
            }
            Some(old) => (&old.status, &old.reason) != (&condition.status, &condition.reason),
            None => {
                is_awaited
                    || type_ == "Accepted"
                    || matches!(reason, "InvalidSpec" | "ControllerUnavailable")
            }
        }
    };
    after.iter().filter(is_news).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use taffrail_crds::conditions::{Finding, next};

    use super::*;

    fn condition(finding: Finding) -> Vec<Condition> {
        next(&[], &[finding], None, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_topic_that_becomes_ready_is_news_once() {
        let creating = condition(Finding::no("Ready", "Creating", ""));
        let ready = condition(Finding::yes("Ready", "AllPartitionsOnline", ""));
        assert!(turned(&[], &creating).is_empty());
        assert_eq!(turned(&creating, &ready).len(), 1);
        assert!(turned(&ready, &ready).is_empty());
    }

    #[test]
    fn what_is_available_and_ready_before_anybody_looked_is_news() {
        for type_ in ["Available", "Ready"] {
            let ready = condition(Finding::yes(type_, "AllBrokersOnline", ""));
            assert_eq!(turned(&[], &ready).len(), 1, "{type_}");
        }
    }

    #[test]
    fn that_brokers_are_needed_is_no_news_and_that_one_has_no_rack_any_more_is() {
        for (type_, news) in [("SafeToStop", 0), ("RacksKnown", 1)] {
            let before = condition(Finding::yes(type_, "EveryBroker", ""));
            let after = condition(Finding::no(type_, "SomeBrokers", ""));
            assert_eq!(turned(&before, &after).len(), news, "{type_}");
        }
    }

    #[test]
    fn data_that_comes_to_be_at_risk_is_news_and_so_is_that_it_is_safe_again() {
        let safe = condition(Finding::yes("DataSafe", "HeadroomOK", ""));
        let soon = condition(Finding::no("DataSafe", "ExpiringSoon", ""));
        let lost = condition(Finding::no("DataSafe", "DataLost", ""));
        assert!(turned(&[], &safe).is_empty());
        assert_eq!(turned(&safe, &soon).len(), 1);
        assert!(turned(&soon, &lost).is_empty(), "told with its offsets");
        assert_eq!(turned(&lost, &safe).len(), 1);
    }

    #[test]
    fn a_refused_topic_is_news_at_once() {
        let refused = condition(Finding::no("Accepted", "NameConflict", ""));
        assert_eq!(turned(&[], &refused).len(), 1);
    }
}
