//! Who this volume is. An incarnation is made durable as a candidate before the controller hears of it (KIP-903).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use taffrail_core::{BrokerUuid, ClusterId, Incarnation};

use super::{
    DataDir,
    framed::{self, Kind},
};
use crate::error::BrokerError;

const KIND: Kind = Kind {
    name: "identity",
    format: 1,
};
/// Starts that never reached a controller before the oldest candidates are given up.
const CANDIDATES_MAX: usize = 1_000;

/// The identity file.
///
/// Invariants: `candidates` is not empty and its generations rise; the last one is the running process's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// `None` until a controller has taken the volume in.
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) broker: BrokerUuid,
    /// All incarnations since the last confirmed one, that one included.
    pub(crate) candidates: Vec<Incarnation>,
    path: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    cluster_id: Option<String>,
    broker_uuid: String,
    /// `generation-random`, the random part in hex.
    candidates: Vec<String>,
}

impl Identity {
    /// Reads the identity, or makes one for a volume without partitions, and makes the next incarnation durable as its last candidate.
    pub(crate) fn next_start(dir: &DataDir, random: &dyn Fn() -> u64) -> Result<Self, BrokerError> {
        let path = dir.path().join("identity");
        let mut identity = if let Some(payload) = framed::read(&path, KIND)? {
            Self::parse(&payload, path)?
        } else {
            dir.missing(&path)?;
            Self {
                cluster: None,
                broker: new_uuid(random),
                candidates: Vec::new(),
                path,
            }
        };
        identity.begin_run(random());
        identity.save()?;
        Ok(identity)
    }

    /// The next incarnation, as the last candidate.
    pub(crate) fn begin_run(&mut self, random: u64) {
        let generation = self.candidates.last().map_or(0, |i| i.generation) + 1;
        self.candidates.push(Incarnation { generation, random });
        let surplus = self.candidates.len().saturating_sub(CANDIDATES_MAX);
        self.candidates.drain(..surplus);
    }

    /// The running process's incarnation.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.candidates.last().copied().unwrap_or_default()
    }

    /// The controller took this incarnation in: older candidates are history.
    pub(crate) fn confirm(&mut self, cluster: ClusterId) -> Result<(), BrokerError> {
        if self.take_in(cluster) {
            self.save()?;
        }
        Ok(())
    }

    /// True if that is news.
    pub(crate) fn take_in(&mut self, cluster: ClusterId) -> bool {
        if self.cluster == Some(cluster) && self.candidates.len() == 1 {
            return false;
        }
        self.cluster = Some(cluster);
        self.candidates = vec![self.incarnation()];
        true
    }

    /// Of a volume without files.
    #[cfg(feature = "sim")]
    pub(crate) fn simulated(broker: BrokerUuid) -> Self {
        Self {
            cluster: None,
            broker,
            candidates: Vec::new(),
            path: PathBuf::new(),
        }
    }

    fn save(&self) -> Result<(), BrokerError> {
        let text = Text {
            cluster_id: self.cluster.map(|c| c.to_string()),
            broker_uuid: self.broker.to_string(),
            candidates: self.candidates.iter().map(ToString::to_string).collect(),
        };
        let text = toml::to_string(&text).map_err(|e| BrokerError::Unreadable {
            path: self.path.clone(),
            reason: e.to_string(),
        })?;
        framed::replace(&self.path, KIND, text.as_bytes())
    }

    fn parse(payload: &[u8], path: PathBuf) -> Result<Self, BrokerError> {
        let parsed = std::str::from_utf8(payload)
            .map_err(|e| e.to_string())
            .and_then(|text| toml::from_str::<Text>(text).map_err(|e| e.to_string()))
            .and_then(|text| {
                let cluster = text.cluster_id.map(|c| c.parse::<ClusterId>()).transpose();
                let candidates: Option<Vec<_>> = text
                    .candidates
                    .iter()
                    .map(|c| parse_incarnation(c))
                    .collect();
                Ok((
                    cluster.map_err(|e| e.to_string())?,
                    text.broker_uuid
                        .parse::<BrokerUuid>()
                        .map_err(|e| e.to_string())?,
                    candidates.ok_or("an incarnation is malformed")?,
                ))
            });
        match parsed {
            Ok((cluster, broker, candidates)) => Ok(Self {
                cluster,
                broker,
                candidates,
                path,
            }),
            Err(reason) => Err(BrokerError::Unreadable { path, reason }),
        }
    }
}

fn parse_incarnation(text: &str) -> Option<Incarnation> {
    let (generation, random) = text.split_once('-')?;
    Some(Incarnation {
        generation: generation.parse().ok()?,
        random: u64::from_str_radix(random, 16).ok()?,
    })
}

/// A version 4 UUID.
fn new_uuid(random: &dyn Fn() -> u64) -> BrokerUuid {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random().to_be_bytes());
    bytes[8..].copy_from_slice(&random().to_be_bytes());
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    BrokerUuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn every_start_is_a_new_candidate_until_one_is_confirmed() {
        let temp = tempfile::tempdir().expect("temp dir");
        let dir = DataDir::open(temp.path()).expect("opens");
        let next = Cell::new(100);
        let random = || {
            next.set(next.get() + 1);
            next.get()
        };
        let first = Identity::next_start(&dir, &random).expect("starts");
        let mut second = Identity::next_start(&dir, &random).expect("starts");
        assert_eq!(second.broker, first.broker);
        assert_eq!(second.candidates.len(), 2);
        assert_eq!(second.incarnation().generation, 2);

        let cluster = ClusterId::from_bytes([9; 16]);
        second.confirm(cluster).expect("confirms");
        let third = Identity::next_start(&dir, &random).expect("starts");
        assert_eq!(third.cluster, Some(cluster));
        assert_eq!(third.candidates[0], second.incarnation());
        assert_eq!(third.incarnation().generation, 3);
    }
}
