//! Producers: records that are unique, sent again until they are acknowledged. Some are idempotent: theirs are stored once.

use taffrail_api::WireError;
use taffrail_broker::sim::Input;
use taffrail_core::{ErrorCode, LeaderEpoch, Offset, TopicPartition, replica::Acks};
use taffrail_record::{BatchBuilder, Compression, NewRecord, ProducerStamp};

use super::PRODUCERS;
use crate::{
    ledger::RecordId,
    world::{MS, SECOND, Step, World},
};

const TIMEOUT: u64 = 4 * SECOND;
const IN_FLIGHT_MAX: usize = 4;
const TRIES_MAX: u32 = 40;
/// The first so many producers are idempotent where they want to be acknowledged by all.
const IDEMPOTENT: usize = 2;

/// Where an idempotent producer is in a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sequence {
    producer_id: i64,
    next: i32,
}

/// Records on their way.
#[derive(Debug, Clone)]
pub(super) struct Request {
    producer: usize,
    partition: TopicPartition,
    records: Vec<RecordId>,
    acks: Acks,
    /// Of an idempotent producer.
    stamp: ProducerStamp,
    /// In which the leader took it.
    epoch: LeaderEpoch,
    tries: u32,
}

impl World {
    pub(super) fn begin_producers(&mut self) {
        for producer in 0..PRODUCERS {
            let delay = self.chance.between(SECOND, 3 * SECOND);
            self.plan(delay, move |w| w.produce(producer));
        }
    }

    fn produce(&mut self, producer: usize) -> Step {
        if self.clients.is_over {
            return Ok(());
        }
        let pause = self.chance.between(50 * MS, 400 * MS);
        self.plan(pause, move |w| w.produce(producer));
        if self.chance.happens(50) {
            self.refresh(producer);
        }
        let busy = self
            .clients
            .requests
            .values()
            .filter(|r| r.producer == producer);
        if busy.count() >= IN_FLIGHT_MAX {
            return Ok(());
        }
        let known = self.known_to(producer);
        if known.is_empty() {
            self.refresh(producer);
            return Ok(());
        }
        let count = self.chance.between(1, 5);
        let first = self.clients.records_made + 1;
        self.clients.records_made += count;
        let acks = match self.chance.below(20) {
            0 => Acks::None,
            1 | 2 => Acks::Leader,
            _ => Acks::All,
        };
        let partition = self.chance.pick(&known);
        let stamp = if acks == Acks::All && producer < IDEMPOTENT {
            self.next_stamp(producer, partition, count as i32)
        } else {
            ProducerStamp::NONE
        };
        let request = Request {
            producer,
            partition,
            records: (first..first + count).collect(),
            acks,
            stamp,
            epoch: LeaderEpoch(0),
            tries: 0,
        };
        self.clients.operations += 1;
        self.send_request(request);
        Ok(())
    }

    fn next_stamp(
        &mut self,
        producer: usize,
        partition: TopicPartition,
        records: i32,
    ) -> ProducerStamp {
        let new_id = self.clients.producer_ids + 1;
        let sequences = &mut self.clients.sequences;
        let sequence = sequences.entry((producer, partition)).or_insert_with(|| {
            self.clients.producer_ids = new_id;
            Sequence {
                producer_id: new_id,
                next: 0,
            }
        });
        let base_sequence = sequence.next;
        sequence.next += records;
        ProducerStamp {
            id: sequence.producer_id,
            epoch: 0,
            base_sequence,
        }
    }

    fn send_request(&mut self, request: Request) {
        self.clients.requests_made += 1;
        let id = self.clients.requests_made;
        let leader = self.leader_of(request.producer, request.partition);
        self.clients.requests.insert(id, request);
        let Some((node, placed)) = leader else {
            return self.retry_later(id);
        };
        let delay = self.delay();
        self.plan(delay, move |w| {
            w.request_arrives(id, node, Some(placed.leader_epoch))
        });
        self.plan(TIMEOUT, move |w| {
            if w.clients.requests.contains_key(&id) {
                w.count("answer lost");
                w.retry_later(id);
            }
            Ok(())
        });
    }

    fn request_arrives(&mut self, id: u64, node: usize, epoch: Option<LeaderEpoch>) -> Step {
        let Some(request) = self.clients.requests.get(&id).cloned() else {
            return Ok(());
        };
        if self.brokers[node].process.is_none() {
            self.retry_later(id);
            return Ok(());
        }
        let is_once = request.stamp != ProducerStamp::NONE;
        for record in &request.records {
            self.ledger.sent(request.partition, *record, is_once);
        }
        let batches = self.batch(&request.records, request.stamp);
        let produce = Input::Produce {
            id,
            partition: request.partition,
            epoch,
            acks: request.acks,
            batches,
        };
        let run = self.brokers[node].run;
        self.broker_input(node, run, produce)
    }

    /// A broker is about to take in a request, perhaps long after that came to it: only now is it known in which epoch.
    pub(in crate::world) fn is_taken(&mut self, broker: usize, id: u64, partition: TopicPartition) {
        let process = self.brokers[broker].process.as_ref();
        let replica = process.and_then(|process| process.seen.get(&partition));
        if let Some((replica, request)) = replica.zip(self.clients.requests.get_mut(&id)) {
            request.epoch = replica.leader_epoch;
        }
    }

    fn batch(&mut self, records: &[RecordId], stamp: ProducerStamp) -> bytes::Bytes {
        let mut builder = BatchBuilder::new(Compression::None).with_producer(stamp);
        for record in records {
            let len = 8 + self.chance.below(600);
            let mut value = vec![*record as u8; len];
            value[..8].copy_from_slice(&record.to_be_bytes());
            builder.push(&NewRecord {
                value: Some(&value),
                timestamp_ms: (self.now_us / MS) as i64,
                ..NewRecord::default()
            });
        }
        builder.build().expect("not empty")
    }

    /// A broker answers. What it promises counts from now on, whether the producer hears of it or not.
    pub(in crate::world) fn produced(
        &mut self,
        broker: usize,
        id: u64,
        outcome: Result<i64, WireError>,
    ) -> Step {
        let said = match &outcome {
            Ok(base) => format!("stored at {base}"),
            Err(error) => error.code.name().to_owned(),
        };
        self.note(format!("b{broker} answers {id}: {said}"));
        let Some(request) = self.clients.requests.get(&id) else {
            return Ok(());
        };
        if let (Ok(base), Acks::All) = (&outcome, request.acks) {
            let base = u64::try_from(*base).map_err(|e| e.to_string())?;
            let (partition, epoch) = (request.partition, request.epoch);
            let end = Offset(base + request.records.len() as u64);
            let is_again = self
                .ledger
                .acknowledges(partition, epoch, base, &request.records)?;
            self.check_committed(partition, end)?;
            if is_again {
                self.count("duplicate answered");
            }
        }
        if self.chance.happens(10) {
            return Ok(());
        }
        let delay = self.delay();
        self.plan(delay, move |w| {
            w.producer_hears(id, outcome);
            Ok(())
        });
        Ok(())
    }

    fn producer_hears(&mut self, id: u64, outcome: Result<i64, WireError>) {
        let Some(request) = self.clients.requests.get(&id) else {
            return;
        };
        match (outcome, request.acks) {
            (Ok(_), acks) => {
                self.clients.requests.remove(&id);
                match acks {
                    Acks::All => self.count("acknowledged by all"),
                    Acks::Leader => self.count("acknowledged by the leader"),
                    Acks::None => self.count("not acknowledged"),
                }
            }
            (Err(error), _) => {
                match error.code {
                    ErrorCode::NotEnoughReplicas => self.count("not enough replicas"),
                    ErrorCode::TimedOut => self.count("outcome unknown"),
                    ErrorCode::DiskFull => self.count("disk full refused"),
                    ErrorCode::NotLeader => self.count("not the leader"),
                    ErrorCode::StaleLeaderEpoch => self.count("stale leader epoch"),
                    ErrorCode::NotYetKnown => self.count("not yet known"),
                    ErrorCode::OutOfOrderSequence | ErrorCode::UnknownProducer => {
                        self.count("out of sequence");
                    }
                    _ => self.count("refused otherwise"),
                }
                self.retry_later(id);
            }
        }
    }

    /// The same records again, as another request, to whoever leads by then.
    fn retry_later(&mut self, id: u64) {
        let Some(mut request) = self.clients.requests.remove(&id) else {
            return;
        };
        request.tries += 1;
        if request.tries > TRIES_MAX || self.clients.is_over {
            // Nobody knows whether it is stored: what comes next is of a new producer.
            let stream = (request.producer, request.partition);
            let sequences = &mut self.clients.sequences;
            if sequences
                .get(&stream)
                .is_some_and(|s| s.producer_id == request.stamp.id)
            {
                sequences.remove(&stream);
            }
            return self.count("given up");
        }
        let pause = self.chance.between(30 * MS, 500 * MS);
        self.plan(pause, move |w| {
            w.refresh(request.producer);
            w.send_request(request);
            Ok(())
        });
    }
}
