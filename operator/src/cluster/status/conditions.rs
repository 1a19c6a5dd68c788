//! A cluster's conditions. Pure. Types and reasons are API; messages hold names, no times and no counters.

use taffrail_api::v1;
use taffrail_crds::{broker_cluster::Rack, conditions::Finding};

use super::Sight;
use crate::cluster::volumes::Volumes;

pub(super) fn ready(sight: &Sight, wanted: u32) -> Finding {
    if sight.paused {
        return Finding::unknown(
            "Ready",
            "Paused",
            "the operator leaves this cluster alone; remove the annotation taffrail.dev/paused to go on",
        );
    }
    if !sight.invalid.is_empty() {
        return Finding::no("Ready", "InvalidSpec", sight.invalid.join("; "));
    }
    if let Some(error) = &sight.controller_error {
        return Finding::no("Ready", "ControllerUnavailable", error.clone());
    }
    if let Some(error) = &sight.apply_error {
        return Finding::no("Ready", "ApplyFailed", error.clone());
    }
    if sight.online() >= wanted {
        Finding::yes(
            "Ready",
            "AllBrokersOnline",
            "every broker is in session with the controller",
        )
    } else {
        Finding::no(
            "Ready",
            "BrokersOffline",
            "some brokers are not in session with the controller",
        )
    }
}

pub(super) fn available(sight: &Sight) -> Finding {
    if sight.online() > 0 {
        Finding::yes(
            "Available",
            "BrokersServing",
            "at least one broker is in session with the controller",
        )
    } else {
        Finding::no(
            "Available",
            "NoBrokerOnline",
            "no broker is in session with the controller",
        )
    }
}

pub(super) fn progressing(sight: &Sight, wanted: u32) -> Finding {
    let status = sight
        .stateful_set
        .as_ref()
        .and_then(|set| set.status.as_ref());
    let pods = status.map_or(0, |s| u32::try_from(s.replicas).unwrap_or(0));
    let current = status.map_or(0, |s| {
        u32::try_from(s.updated_replicas.unwrap_or(0)).unwrap_or(0)
    });
    let volumes = match &sight.volumes {
        Volumes::Fit => None,
        Volumes::Expanding => Some("volumes are being enlarged to storage.size".to_owned()),
        Volumes::Refused(why) => Some(why.clone()),
    };
    if let Some(message) = volumes {
        Finding::yes("Progressing", "ExpandingVolumes", message)
    } else if pods < wanted {
        Finding::yes("Progressing", "Scaling", "pods are being made")
    } else if current < wanted {
        Finding::yes(
            "Progressing",
            "Rolling",
            "some pods run an older template; delete them one at a time, each when the one before is Ready and SafeToStop is True again, if it was",
        )
    } else {
        Finding::no("Progressing", "Idle", "")
    }
}

/// Does every broker say where it stands, if it was asked to?
pub(super) fn racks_known(sight: &Sight, rack: Option<&Rack>) -> Finding {
    let Some(rack) = rack else {
        return Finding::yes(
            "RacksKnown",
            "NotAsked",
            "the cluster names no rack.topologyKey",
        );
    };
    let unknown = names(sight, |b| b.state == "ONLINE" && b.rack.is_empty());
    if !unknown.is_empty() {
        let key = &rack.topology_key;
        let message = format!(
            "{unknown}: no rack, since the pod had no label {key} when it started. Kubernetes 1.35 and newer gives pods the labels topology.kubernetes.io/zone and topology.kubernetes.io/region of their nodes; what else is to be a rack must be put on the pods as they are made. Then delete these pods one at a time"
        );
        return Finding::no("RacksKnown", "BrokersWithoutRack", message);
    }
    if sight.online() == 0 {
        return Finding::unknown(
            "RacksKnown",
            "NoBrokerOnline",
            "no broker has said where it stands",
        );
    }
    Finding::yes(
        "RacksKnown",
        "Known",
        "every broker that is online says where it stands",
    )
}

/// Can any one broker be stopped while everything stays served?
pub(super) fn safe_to_stop(sight: &Sight) -> Finding {
    let type_ = "SafeToStop";
    if sight.brokers.is_empty() {
        return Finding::unknown(type_, "NoBrokerOnline", "no broker has registered");
    }
    let blocked = names(sight, |broker| {
        broker.state == "ONLINE" && !broker.safe_to_stop
    });
    if blocked.is_empty() {
        let message = "any one broker can be stopped, and all partitions stay served";
        return Finding::yes(type_, "EveryBroker", message);
    }
    let message = format!(
        "{blocked}: some partition would not stay served; kubectl get brokers says which and why"
    );
    Finding::no(type_, "BrokersNeeded", message)
}

/// Have the brokers room?
pub(super) fn capacity_ok(sight: &Sight) -> Finding {
    let type_ = "CapacityOK";
    let full = names(sight, |broker| broker.disk_full);
    let pressed = names(sight, |broker| broker.disk_pressure);
    if !full.is_empty() {
        let message = format!(
            "{full}: the disk is full and writes are refused; raise storage.size or shorten retention of topics"
        );
        return Finding::no(type_, "WritesRefused", message);
    }
    if !pressed.is_empty() {
        let message = format!(
            "{pressed}: less than a tenth of the disk is left; raise storage.size or shorten retention of topics"
        );
        return Finding::no(type_, "DiskPressure", message);
    }
    if sight.online() == 0 {
        return Finding::unknown(
            type_,
            "NoBrokerOnline",
            "no broker says how full its disk is",
        );
    }
    Finding::yes(
        type_,
        "RoomLeft",
        "every broker that is online has a tenth of its disk left",
    )
}

/// Of the brokers that are so.
fn names(sight: &Sight, are: impl Fn(&v1::BrokerStatus) -> bool) -> String {
    let found = sight.brokers.iter().filter(|broker| are(broker));
    let names: Vec<_> = found.map(|broker| broker.name.as_str()).collect();
    names.join(", ")
}
