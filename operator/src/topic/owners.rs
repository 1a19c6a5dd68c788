//! Which resource a topic belongs to. A resource that was deleted and made again is another one: its topic ended with the first, and the data
//! that was kept is adopted only if the new one says so, however fast it came.
//!
//! A topic carries its owner: a new one's id is derived from the uid of its resource, and the status of a resource has the id of the topic that it
//! was accepted for. So another term of the operator, which remembers nothing, decides the same.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::ResourceExt as _;
use taffrail_controller::ControllerHandle;
use taffrail_core::TopicId;
use taffrail_crds::Topic;
use uuid::Uuid;

use crate::engines::ClusterKey;

/// Whose the active topic of a name is, from a resource's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The resource's own.
    Own,
    /// It was made for another resource.
    Anothers,
    /// There is none.
    Nobodys,
}

/// The uid of the resource that each topic was accepted for, as far as this operator saw it in this term.
#[derive(Debug, Default)]
pub(crate) struct Owners(Mutex<HashMap<(ClusterKey, String), String>>);

impl Owners {
    /// Notes whose the topic is.
    pub(crate) fn note(&self, cluster: &ClusterKey, name: &str, uid: &str) {
        self.lock()
            .insert((cluster.clone(), name.to_owned()), uid.to_owned());
    }

    /// The topic is nobody's any more.
    pub(crate) fn forget(&self, cluster: &ClusterKey, name: &str) {
        self.lock().remove(&(cluster.clone(), name.to_owned()));
    }

    /// Whose is the topic of this name, `active` if there is one?
    pub(crate) fn whose(
        &self,
        topic: &Topic,
        cluster: &ClusterKey,
        name: &str,
        active: Option<TopicId>,
    ) -> Whose {
        let owners = self.lock();
        let is_own = match (owners.get(&(cluster.clone(), name.to_owned())), active) {
            (Some(owner), _) => topic.uid().as_ref() == Some(owner),
            (None, Some(id)) => made_for(topic, id) || was_accepted_as(topic, cluster, id),
            (None, None) => return Whose::Nobodys,
        };
        if is_own { Whose::Own } else { Whose::Anothers }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(ClusterKey, String), String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the ids of topics are derived under (RFC 9562, version 5). Persisted ids depend on it: never change it.
const ID_NAMESPACE: Uuid = Uuid::from_bytes(*b"taffrail.dev/tpc");

/// The id that a topic made for this resource gets. Derived, never the uid itself: an id is the cluster's, not Kubernetes'.
pub(super) fn id_for(topic: &Topic) -> Option<TopicId> {
    let uid = topic.uid()?;
    let id = Uuid::new_v5(&ID_NAMESPACE, uid.as_bytes());
    Some(TopicId::from_bytes(id.into_bytes()))
}

/// The id of the active topic of this name.
pub(super) fn active_id(handle: &ControllerHandle, name: &str) -> Option<TopicId> {
    let status = handle.topic_status(name)?;
    TopicId::try_from(&status.topic_id[..]).ok()
}

fn made_for(topic: &Topic, id: TopicId) -> bool {
    id_for(topic) == Some(id)
}

fn was_accepted_as(topic: &Topic, cluster: &ClusterKey, id: TopicId) -> bool {
    topic.status.as_ref().is_some_and(|status| {
        status.cluster.as_deref() == Some(&*cluster.to_string())
            && status.topic_id.as_deref() == Some(&*id.to_string())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FIRST: &str = "6f1c5c6a-0123-4567-89ab-cdef00112233";
    const SECOND: &str = "00000000-0123-4567-89ab-cdef00112233";

    fn cluster() -> ClusterKey {
        ClusterKey {
            namespace: "streams".to_owned(),
            name: "main".to_owned(),
        }
    }

    fn topic(uid: &str, topic_id: Option<&str>) -> Topic {
        serde_json::from_value(json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "Topic",
            "metadata": { "name": "flights", "namespace": "streams", "uid": uid },
            "spec": {},
            "status": { "cluster": "streams/main", "topicId": topic_id },
        }))
        .expect("valid")
    }

    fn whose(owners: &Owners, topic: &Topic, active: Option<&str>) -> Whose {
        let active = active.map(|id| id.parse().expect("valid"));
        owners.whose(topic, &cluster(), "flights", active)
    }

    #[test]
    fn a_resource_made_again_is_another_one() {
        let owners = Owners::default();
        assert_eq!(whose(&owners, &topic(FIRST, None), None), Whose::Nobodys);
        owners.note(&cluster(), "flights", FIRST);
        let active = Some(FIRST);
        assert_eq!(whose(&owners, &topic(FIRST, None), active), Whose::Own);
        assert_eq!(
            whose(&owners, &topic(SECOND, None), active),
            Whose::Anothers
        );
        owners.forget(&cluster(), "flights");
        assert_eq!(whose(&owners, &topic(SECOND, None), None), Whose::Nobodys);
    }

    #[test]
    fn an_operator_that_remembers_nothing_knows_a_topic_by_the_uid_that_it_was_made_for() {
        let owners = Owners::default();
        let made = id_for(&topic(FIRST, None))
            .expect("it has a uid")
            .to_string();
        assert_ne!(made, FIRST, "an id is never the uid itself");
        let active = Some(&*made);
        assert_eq!(whose(&owners, &topic(FIRST, None), active), Whose::Own);
        assert_eq!(
            whose(&owners, &topic(SECOND, None), active),
            Whose::Anothers
        );
    }

    #[test]
    fn an_operator_that_remembers_nothing_knows_an_adopted_topic_by_its_owners_status() {
        let owners = Owners::default();
        let adopter = topic(SECOND, Some(FIRST));
        assert_eq!(whose(&owners, &adopter, Some(FIRST)), Whose::Own);
        let made = id_for(&adopter).expect("it has a uid").to_string();
        assert_eq!(whose(&owners, &adopter, Some(&made)), Whose::Own);
        let other = "11111111-0123-4567-89ab-cdef00112233";
        assert_eq!(whose(&owners, &adopter, Some(other)), Whose::Anothers);
    }
}
