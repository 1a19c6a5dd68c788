//! Consumers: from the first record to the last, without a gap or a repeat.

use taffrail_core::{ErrorCode, Offset, TopicPartition};

use super::{CONSUMERS, PRODUCERS};
use crate::world::{MS, SECOND, Step, World};

impl World {
    pub(super) fn begin_consumers(&mut self) {
        for consumer in PRODUCERS..PRODUCERS + CONSUMERS {
            let delay = self.chance.between(SECOND, 3 * SECOND);
            self.plan(delay, move |w| w.consume(consumer));
        }
    }

    fn consume(&mut self, consumer: usize) -> Step {
        let pause = self.chance.between(100 * MS, 800 * MS);
        self.plan(pause, move |w| w.consume(consumer));
        if self.chance.happens(200) {
            self.refresh(consumer);
        }
        let known = self.known_to(consumer);
        if known.is_empty() {
            self.refresh(consumer);
        }
        for partition in known {
            self.fetch(consumer, partition)?;
        }
        Ok(())
    }

    fn fetch(&mut self, consumer: usize, partition: TopicPartition) -> Step {
        let Some((node, placed)) = self.leader_of(consumer, partition) else {
            self.refresh(consumer);
            return Ok(());
        };
        if !self.is_reachable(node) {
            self.refresh(consumer);
            return Ok(());
        }
        let Some(process) = &self.brokers[node].process else {
            return Ok(());
        };
        let position = self
            .clients
            .positions
            .entry((consumer, partition))
            .or_default();
        self.clients.operations += 1;
        let max_bytes = 1 << 15;
        let epoch = Some(placed.leader_epoch);
        match process
            .sim
            .fetch(partition, epoch, Offset(*position), max_bytes)
        {
            Ok(fetched) => {
                let named = |broken| format!("consumer {consumer} at b{node}: {broken}");
                *position = self
                    .ledger
                    .consumed(partition, *position, &fetched.batches)
                    .map_err(named)?;
            }
            Err(error) if error.code == ErrorCode::OffsetOutOfRange => {
                let replicas = process.sim.replicas();
                let start = replicas
                    .iter()
                    .find(|r| r.partition == partition)
                    .map_or(0, |r| r.log_start.0);
                if start <= *position {
                    if !self.is_believed(consumer, &placed) {
                        return Ok(());
                    }
                    return Err(format!(
                        "no OFFSET_OUT_OF_RANGE by a fail-over: consumer {consumer} at b{node} in epoch {}: {error}",
                        placed.leader_epoch
                    ));
                }
                self.clients.positions.insert((consumer, partition), start);
                self.count("consumer overtaken by retention");
            }
            Err(_) => self.refresh(consumer),
        }
        Ok(())
    }
}
