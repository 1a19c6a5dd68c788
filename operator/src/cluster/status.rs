//! What a cluster's status says. Pure.

mod conditions;

use std::collections::BTreeSet;

use k8s_openapi::{api::apps::v1::StatefulSet, jiff::Timestamp};
use kube::ResourceExt as _;
use taffrail_api::v1;
use taffrail_crds::{
    BrokerCluster, BrokerClusterStatus,
    broker_cluster::BrokerCounts,
    conditions::{Finding, find, next as next_conditions},
};

use super::volumes::Volumes;

/// Conditions that stay as they are while the resource cannot be read.
const BESIDE_READY: [&str; 5] = [
    "Available",
    "Progressing",
    "SafeToStop",
    "CapacityOK",
    "RacksKnown",
];

/// What one look found.
#[derive(Debug, Default)]
pub(super) struct Sight {
    pub(super) paused: bool,
    pub(super) invalid: Vec<String>,
    /// Why there is no controller.
    pub(super) controller_error: Option<String>,
    /// Why something that the cluster consists of is not as it should be.
    pub(super) apply_error: Option<String>,
    pub(super) cluster_id: Option<String>,
    pub(super) brokers: Vec<v1::BrokerStatus>,
    pub(super) stateful_set: Option<StatefulSet>,
    pub(super) volumes: Volumes,
}

impl Sight {
    fn online(&self) -> u32 {
        let online = self.brokers.iter().filter(|b| b.state == "ONLINE").count();
        u32::try_from(online).unwrap_or(u32::MAX)
    }

    fn versions(&self) -> Option<String> {
        let online = self.brokers.iter().filter(|b| b.state == "ONLINE");
        let versions: BTreeSet<_> = online
            .map(|b| b.version.as_str())
            .filter(|v| !v.is_empty())
            .collect();
        let versions: Vec<_> = versions.into_iter().collect();
        (!versions.is_empty()).then(|| versions.join(", "))
    }
}

/// The status after this look.
pub(super) fn next(cluster: &BrokerCluster, sight: &Sight, now: Timestamp) -> BrokerClusterStatus {
    let before = cluster.status.clone().unwrap_or_default();
    let wanted = cluster.spec.brokers;
    let findings = [
        conditions::ready(sight, wanted),
        conditions::available(sight),
        conditions::progressing(sight, wanted),
        conditions::safe_to_stop(sight),
        conditions::capacity_ok(sight),
        conditions::racks_known(sight, cluster.spec.rack.as_ref()),
    ];
    let observed_generation = cluster.metadata.generation;
    let bootstrap = format!(
        "{}-client.{}.svc:{}",
        cluster.name_any(),
        cluster.namespace().unwrap_or_default(),
        cluster.spec.client_port()
    );
    BrokerClusterStatus {
        observed_generation,
        cluster_id: sight
            .cluster_id
            .clone()
            .filter(|id| !id.is_empty())
            .or(before.cluster_id),
        bootstrap: Some(bootstrap),
        brokers: Some(BrokerCounts {
            wanted,
            online: sight.online(),
        }),
        version: sight.versions().or(before.version),
        conditions: next_conditions(&before.conditions, &findings, observed_generation, now),
    }
}

/// The status of a cluster whose resource cannot be read: its brokers go on as they are.
pub(crate) fn refused_status(
    cluster: &BrokerCluster,
    message: String,
    now: Timestamp,
) -> BrokerClusterStatus {
    let before = cluster.status.clone().unwrap_or_default();
    let ready = Finding::no("Ready", "InvalidSpec", message);
    let observed_generation = cluster.metadata.generation;
    let mut conditions = next_conditions(&before.conditions, &[ready], observed_generation, now);
    for type_ in BESIDE_READY {
        let unknown = Finding::unknown(type_, "InvalidSpec", "see the condition Ready");
        conditions.extend(match find(&before.conditions, type_) {
            Some(known) => vec![known.clone()],
            None => next_conditions(&[], &[unknown], observed_generation, now),
        });
    }
    BrokerClusterStatus {
        observed_generation,
        conditions,
        ..before
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use taffrail_crds::broker_cluster::Rack;

    use super::*;

    fn cluster() -> BrokerCluster {
        serde_json::from_value(json!({
            "apiVersion": "taffrail.dev/v1alpha1", "kind": "BrokerCluster",
            "metadata": { "name": "main", "namespace": "streams", "generation": 4 },
            "spec": { "brokers": 2, "storage": { "size": "1Gi" } },
        }))
        .expect("valid")
    }

    fn broker(state: &str) -> v1::BrokerStatus {
        v1::BrokerStatus {
            state: state.to_owned(),
            version: "0.1.0".to_owned(),
            ..v1::BrokerStatus::default()
        }
    }

    fn reason_of(sight: &Sight, type_: &str) -> (String, String) {
        let status = next(&cluster(), sight, Timestamp::UNIX_EPOCH);
        let condition = find(&status.conditions, type_).expect("is there");
        (condition.status.clone(), condition.reason.clone())
    }

    #[test]
    fn a_cluster_is_ready_when_every_broker_is_in_session() {
        let mut sight = Sight {
            brokers: vec![broker("ONLINE"), broker("OFFLINE")],
            ..Sight::default()
        };
        assert_eq!(
            reason_of(&sight, "Ready"),
            ("False".to_owned(), "BrokersOffline".to_owned())
        );
        assert_eq!(reason_of(&sight, "Available").0, "True");
        sight.brokers[1] = broker("ONLINE");
        assert_eq!(
            reason_of(&sight, "Ready"),
            ("True".to_owned(), "AllBrokersOnline".to_owned())
        );
        let status = next(&cluster(), &sight, Timestamp::UNIX_EPOCH);
        assert_eq!(status.version.as_deref(), Some("0.1.0"));
        assert_eq!(status.observed_generation, Some(4));
        assert_eq!(
            status.bootstrap.as_deref(),
            Some("main-client.streams.svc:9640")
        );
    }

    #[test]
    fn pods_of_an_older_template_are_said() {
        let mut sight = Sight::default();
        let set = |updated: i32| -> StatefulSet {
            serde_json::from_value(
                json!({ "status": { "replicas": 2, "updatedReplicas": updated } }),
            )
            .expect("valid")
        };
        assert_eq!(reason_of(&sight, "Progressing").1, "Scaling");
        sight.stateful_set = Some(set(1));
        assert_eq!(reason_of(&sight, "Progressing").1, "Rolling");
        sight.stateful_set = Some(set(2));
        assert_eq!(reason_of(&sight, "Progressing").1, "Idle");
        sight.volumes = Volumes::Expanding;
        assert_eq!(reason_of(&sight, "Progressing").1, "ExpandingVolumes");
    }

    #[test]
    fn brokers_without_the_rack_that_was_asked_for_are_named() {
        let mut sight = Sight::default();
        assert_eq!(reason_of(&sight, "RacksKnown").1, "NotAsked");
        let mut cluster = cluster();
        let topology_key = "topology.kubernetes.io/zone".to_owned();
        cluster.spec.rack = Some(Rack { topology_key });
        let racks_known = |sight: &Sight| {
            let status = next(&cluster, sight, Timestamp::UNIX_EPOCH);
            let found = find(&status.conditions, "RacksKnown").cloned();
            found.expect("is there")
        };
        assert_eq!(racks_known(&sight).status, "Unknown");
        let in_rack = |name: &str, rack: &str| v1::BrokerStatus {
            name: name.to_owned(),
            rack: rack.to_owned(),
            ..broker("ONLINE")
        };
        sight.brokers = vec![in_rack("main-0", "zone-1"), in_rack("main-1", "")];
        let found = racks_known(&sight);
        assert_eq!(
            (&*found.status, &*found.reason),
            ("False", "BrokersWithoutRack")
        );
        assert!(found.message.starts_with("main-1: "), "{}", found.message);
        sight.brokers[1] = in_rack("main-1", "zone-2");
        assert_eq!(racks_known(&sight).reason, "Known");
    }

    #[test]
    fn brokers_that_are_needed_and_full_disks_are_named() {
        let mut sight = Sight::default();
        let of = |sight: &Sight, type_| {
            let status = next(&cluster(), sight, Timestamp::UNIX_EPOCH);
            let found = find(&status.conditions, type_).cloned();
            let found = found.expect("is there");
            (found.status, found.reason, found.message)
        };
        for type_ in ["SafeToStop", "CapacityOK"] {
            assert_eq!(of(&sight, type_).0, "Unknown");
        }
        let named = |name: &str| v1::BrokerStatus {
            name: name.to_owned(),
            safe_to_stop: true,
            ..broker("ONLINE")
        };
        sight.brokers = vec![named("main-0"), named("main-1")];
        for type_ in ["SafeToStop", "CapacityOK"] {
            assert_eq!(of(&sight, type_).0, "True");
        }
        sight.brokers[1].safe_to_stop = false;
        sight.brokers[1].disk_pressure = true;
        let (status, reason, message) = of(&sight, "SafeToStop");
        assert_eq!((&*status, &*reason), ("False", "BrokersNeeded"));
        assert!(message.starts_with("main-1: "), "{message}");
        assert_eq!(of(&sight, "CapacityOK").1, "DiskPressure");
        sight.brokers[0].disk_full = true;
        let (status, reason, message) = of(&sight, "CapacityOK");
        assert_eq!((&*status, &*reason), ("False", "WritesRefused"));
        assert!(message.starts_with("main-0: "), "{message}");
    }

    #[test]
    fn an_object_that_cannot_be_applied_is_said() {
        let sight = Sight {
            apply_error: Some("cannot apply Service streams/main: forbidden".to_owned()),
            ..Sight::default()
        };
        let status = next(&cluster(), &sight, Timestamp::UNIX_EPOCH);
        let ready = find(&status.conditions, "Ready").expect("is there");
        assert_eq!((&*ready.status, &*ready.reason), ("False", "ApplyFailed"));
        assert!(ready.message.contains("forbidden"), "{}", ready.message);
    }

    #[test]
    fn a_cluster_that_cannot_be_read_keeps_what_it_said_of_its_brokers() {
        let mut cluster = cluster();
        let now = Timestamp::UNIX_EPOCH;
        let fresh = refused_status(&cluster, "spec.brokers: wrong".to_owned(), now);
        let reason = |status: &BrokerClusterStatus, type_| {
            let found = find(&status.conditions, type_).expect("is there");
            (found.status.clone(), found.reason.clone())
        };
        let invalid = |status: &str| (status.to_owned(), "InvalidSpec".to_owned());
        assert_eq!(reason(&fresh, "Ready"), invalid("False"));
        assert_eq!(reason(&fresh, "Available"), invalid("Unknown"));
        let sight = Sight {
            brokers: vec![broker("ONLINE"), broker("ONLINE")],
            ..Sight::default()
        };
        cluster.status = Some(next(&cluster, &sight, now));
        let later = refused_status(&cluster, "spec.brokers: wrong".to_owned(), now);
        assert_eq!(reason(&later, "Ready"), invalid("False"));
        assert_eq!(reason(&later, "Available").0, "True");
        assert_eq!(later.brokers.expect("kept").wanted, 2);
    }

    #[test]
    fn a_paused_cluster_says_so() {
        let sight = Sight {
            paused: true,
            ..Sight::default()
        };
        assert_eq!(
            reason_of(&sight, "Ready"),
            ("Unknown".to_owned(), "Paused".to_owned())
        );
    }
}
