//! A cluster of fake brokers with one topic, held in memory.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use taffrail_api::{transport, v1};
use taffrail_client::{Client, ClientConfig, ErrorCode, Offset};
use taffrail_core::{
    LeaderEpoch,
    producers::{ProducerTable, SequenceCheck, SequencedBatch},
};
use taffrail_record::{BatchHeader, records, split, stamp, verify};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
};
use tokio_stream::wrappers::TcpListenerStream;

use crate::{
    coordinator::{Coordinator, FakeGroups, OFFSETS, OFFSETS_PARTITIONS},
    cut::Forwarder,
    service::FakeBroker,
};

pub(crate) const TOPIC: &str = "flights";
pub(crate) const TOPIC_ID: [u8; 16] = [7; 16];

/// What the next produce request meets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// It is refused with this code, and so are those behind it of the same chain if that is retriable.
    Refuse(ErrorCode),
    /// It is appended, then the connection breaks before the answer.
    CutAfterAppend,
    /// The same, and the leader forgets all producers.
    CutAfterAppendAndForget,
    /// The connection breaks before it is appended.
    CutBeforeAppend,
    /// It is neither appended nor answered.
    Silence,
}

pub(crate) struct Cluster {
    pub(crate) state: Mutex<State>,
    pub(crate) appended: Notify,
    /// Metadata changed.
    pub(crate) changed: watch::Sender<()>,
}

pub(crate) struct State {
    pub(crate) partitions: Vec<Partition>,
    pub(crate) faults: VecDeque<Fault>,
    /// What metadata says of each broker.
    pub(crate) advertised: Vec<String>,
    /// Produce requests that came through another broker than the leader.
    pub(crate) routed: usize,
    pub(crate) sequence: u64,
    /// Producer ids that were given, the last one.
    pub(crate) producer_ids: i64,
    /// So many calls to InitProducer are refused.
    pub(crate) ids_refused: usize,
    /// Offsets that were fetched from, in the order of the requests.
    pub(crate) fetched_from: Vec<u64>,
    /// Calls to GetMetadata.
    pub(crate) asked: usize,
    /// Calls to WatchMetadata.
    pub(crate) watched: usize,
    /// Calls to WatchMetadata are refused.
    pub(crate) unwatchable: bool,
    /// Of all groups.
    pub(crate) coordinator: Coordinator,
    /// A broker that hears no controller, and what it goes on saying.
    deaf: Option<(usize, v1::Metadata)>,
    /// A leader that does not know that it was replaced, and what it goes on serving.
    replaced: Option<(usize, Vec<Partition>)>,
    forwarders: Vec<Forwarder>,
}

#[derive(Clone, Default)]
pub(crate) struct Partition {
    pub(crate) leader: usize,
    pub(crate) epoch: u32,
    pub(crate) log_start: u64,
    /// Stamped batches, in order.
    pub(crate) log: Vec<Bytes>,
    /// Of those that are idempotent.
    pub(crate) producers: ProducerTable,
}

impl Partition {
    pub(crate) fn end(&self) -> u64 {
        let last = self.log.last();
        last.map_or(self.log_start, |b| header(b).next_offset().0)
    }

    /// As a broker does: each batch of an idempotent producer once, and after those before it.
    pub(crate) fn produce(&mut self, batch: &Bytes) -> Result<u64, ErrorCode> {
        if let Some(sequenced) = sequenced(&header(batch)) {
            match self.producers.check(&sequenced, 0) {
                SequenceCheck::New => {
                    let base = Offset(self.end());
                    self.producers.note(&sequenced, base, 0);
                }
                SequenceCheck::Duplicate(stored) => return Ok(stored.base_offset.0),
                SequenceCheck::OutOfOrder { .. } => return Err(ErrorCode::OutOfOrderSequence),
                SequenceCheck::StaleEpoch { .. } => return Err(ErrorCode::ProducerFenced),
                SequenceCheck::Unknown => return Err(ErrorCode::UnknownProducer),
            }
        }
        Ok(self.append(batch))
    }

    pub(crate) fn append(&mut self, batches: &Bytes) -> u64 {
        let base = self.end();
        for batch in split(batches) {
            let (_, batch) = batch.expect("the client sends sound batches");
            verify(&batch).expect("the client sends sound batches");
            let mut stamped = BytesMut::from(&batch[..]);
            stamp(&mut stamped, Offset(self.end()), LeaderEpoch(self.epoch));
            self.log.push(stamped.freeze());
        }
        base
    }

    /// All values, as text.
    pub(crate) fn values(&self) -> Vec<String> {
        let all = self.log.iter().flat_map(|batch| {
            let records = records(batch.clone(), 1 << 20).expect("sound");
            records.map(|r| r.expect("sound").value.expect("has a value"))
        });
        all.map(|v| String::from_utf8(v.to_vec()).expect("text"))
            .collect()
    }
}

fn sequenced(header: &BatchHeader) -> Option<SequencedBatch> {
    (header.producer_id >= 0).then_some(SequencedBatch {
        producer_id: header.producer_id,
        epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        records: header.record_count,
    })
}

pub(crate) fn header(batch: &Bytes) -> BatchHeader {
    BatchHeader::parse(batch).expect("sound")
}

impl State {
    /// The partitions as a broker has them, or as they are.
    pub(crate) fn seen_by(&self, broker: Option<usize>) -> &[Partition] {
        match &self.replaced {
            Some((replaced, partitions)) if broker == Some(*replaced) => partitions,
            _ => &self.partitions,
        }
    }
}

impl Cluster {
    /// Starts `brokers` brokers; broker 0 leads all `partitions`.
    pub(crate) async fn start(brokers: usize, partitions: usize) -> Arc<Self> {
        let cluster = Arc::new(Self {
            state: Mutex::new(State {
                partitions: (0..partitions).map(|_| Partition::default()).collect(),
                faults: VecDeque::new(),
                advertised: Vec::new(),
                deaf: None,
                replaced: None,
                coordinator: Coordinator::default(),
                routed: 0,
                fetched_from: Vec::new(),
                sequence: 0,
                producer_ids: 0,
                ids_refused: 0,
                asked: 0,
                watched: 0,
                unwatchable: false,
                forwarders: Vec::new(),
            }),
            appended: Notify::new(),
            changed: watch::Sender::default(),
        });
        for number in 0..brokers {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("bound");
            let service = FakeBroker::server(number, Arc::clone(&cluster));
            let serve = transport::server()
                .add_service(service)
                .add_service(FakeGroups::server(number, Arc::clone(&cluster)))
                .serve_with_incoming(TcpListenerStream::new(listener));
            tokio::spawn(serve);
            let forwarder = Forwarder::start(address).await;
            let mut state = cluster.state();
            state.advertised.push(forwarder.address.to_string());
            state.forwarders.push(forwarder);
        }
        cluster
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panicked with it")
    }

    pub(crate) fn values(&self, partition: usize) -> Vec<String> {
        self.state().partitions[partition].values()
    }

    pub(crate) fn next_meets(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    /// Another broker leads from now on.
    pub(crate) fn move_leader(&self, partition: usize, to: usize) {
        let mut state = self.state();
        state.sequence += 1;
        state.partitions[partition].leader = to;
        state.partitions[partition].epoch += 1;
        self.changed.send_replace(());
    }

    /// The same, but the leader before is cut off from all other brokers and does not hear of it.
    pub(crate) fn replace_leader(&self, partition: usize, by: usize) {
        let mut state = self.state();
        let before = state.partitions[partition].leader;
        state.replaced = Some((before, state.partitions.clone()));
        drop(state);
        self.deafen(before);
        self.move_leader(partition, by);
    }

    /// Broker 0 leads it.
    pub(crate) fn add_partition(&self) {
        let mut state = self.state();
        state.sequence += 1;
        state.partitions.push(Partition::default());
        self.changed.send_replace(());
    }

    /// Breaks every connection to a broker; new ones are accepted.
    pub(crate) fn cut(&self, broker: usize) {
        self.state().forwarders[broker].cut();
    }

    /// A broker stands still, its connections open.
    pub(crate) fn freeze(&self, broker: usize) {
        self.state().forwarders[broker].freeze();
    }

    /// The broker's real address, whatever metadata says.
    pub(crate) fn address(&self, broker: usize) -> String {
        self.state().forwarders[broker].address.to_string()
    }

    pub(crate) async fn client(&self) -> Client {
        let config = ClientConfig {
            bootstrap: vec![self.address(0)],
            unknown_topic_wait: Duration::from_millis(200),
            backoff_min: Duration::from_millis(2),
            backoff_max: Duration::from_millis(50),
            ..ClientConfig::default()
        };
        Client::connect(config).await.expect("broker 0 answers")
    }

    /// A broker says from now on what is true now.
    pub(crate) fn deafen(&self, broker: usize) {
        let now = self.metadata(broker, &[]);
        self.state().deaf = Some((broker, now));
    }

    /// What a broker knows.
    pub(crate) fn metadata(&self, broker: usize, asked: &[String]) -> v1::Metadata {
        let deaf = self.state().deaf.clone();
        if let Some((_, heard)) = deaf.filter(|(deaf, _)| *deaf == broker) {
            return heard;
        }
        self.truth(asked)
    }

    fn truth(&self, asked: &[String]) -> v1::Metadata {
        let state = self.state();
        let broker = |(number, address): (usize, &String)| v1::BrokerInfo {
            number: number as u32,
            client: v1::Endpoint::parse(address).ok(),
            alive: true,
            ..v1::BrokerInfo::default()
        };
        let partition = |(index, partition): (usize, &Partition)| v1::PartitionInfo {
            partition: index as u32,
            leader: Some(partition.leader as u32),
            leader_epoch: partition.epoch as i32,
            ..v1::PartitionInfo::default()
        };
        let topic = v1::TopicInfo {
            topic_id: Bytes::from_static(&TOPIC_ID),
            name: TOPIC.to_owned(),
            partitions: state.partitions.iter().enumerate().map(partition).collect(),
            max_batch_bytes: 1 << 20,
            internal: false,
        };
        let mut topics = vec![topic];
        if let Some(leader) = state
            .coordinator
            .here
            .filter(|_| asked.contains(&OFFSETS.to_owned()))
        {
            let partition = |partition| v1::PartitionInfo {
                partition,
                leader: Some(leader as u32),
                leader_epoch: state.coordinator.moves,
                ..v1::PartitionInfo::default()
            };
            topics.push(v1::TopicInfo {
                topic_id: Bytes::from_static(&[9; 16]),
                name: OFFSETS.to_owned(),
                partitions: (0..OFFSETS_PARTITIONS).map(partition).collect(),
                max_batch_bytes: 1 << 20,
                internal: true,
            });
        }
        let is_there = |name: &String| topics.iter().any(|topic| topic.name == *name);
        let unknown_topics = asked.iter().filter(|t| !is_there(t)).cloned().collect();
        v1::Metadata {
            cluster_id: "fake".to_owned(),
            stamp: Some(v1::ControllerStamp {
                controller_epoch: 1,
                sequence: state.sequence,
            }),
            brokers: state.advertised.iter().enumerate().map(broker).collect(),
            topics,
            unknown_topics,
        }
    }
}
