//! From where partitions are read.

use std::collections::BTreeMap;

use bytes::Bytes;
use taffrail_api::{
    WireError, convert,
    stream::Route,
    v1::{ListOffsetsRequest, OffsetQuery, offset_query::Position},
};
use taffrail_core::{ErrorCode, Offset};

use super::{super::find_topic, Subscription};
use crate::rpc::offsets;

impl Subscription {
    pub(super) fn partitions(&self) -> Result<Vec<u32>, WireError> {
        let (id, _, all) = find_topic(&self.broker, &self.topic_name)?;
        if id != self.topic {
            return Err(WireError::new(
                ErrorCode::UnknownTopic,
                format!(
                    "topic {} was deleted and created anew; subscribe again",
                    self.topic_name
                ),
            ));
        }
        let all = all.into_iter().map(|p| p.partition.0);
        Ok(all
            .filter(|p| self.chosen.is_empty() || self.chosen.contains(p))
            .collect())
    }

    pub(super) async fn find(&mut self, partitions: &[u32]) -> Result<(), WireError> {
        let missing: Vec<_> = partitions
            .iter()
            .copied()
            .filter(|p| !self.next.contains_key(p))
            .collect();
        let found = self.offsets(&missing, self.start).await?;
        self.next.extend(found);
        Ok(())
    }

    pub(super) async fn offsets(
        &self,
        partitions: &[u32],
        position: Position,
    ) -> Result<BTreeMap<u32, Offset>, WireError> {
        let query = |partition: &u32| OffsetQuery {
            topic_id: Bytes::copy_from_slice(self.topic.as_bytes()),
            partition: *partition,
            leader_epoch: -1,
            position: Some(position),
        };
        let request = ListOffsetsRequest {
            queries: partitions.iter().map(query).collect(),
        };
        let response = offsets::list(&self.broker, request, Route::Through)
            .await
            .map_err(|status| WireError::from(&status))?;
        response
            .answers
            .into_iter()
            .map(|answer| match answer.error {
                Some(error) => Err(error.into()),
                None => Ok((answer.partition, convert::offset_from_wire(answer.offset)?)),
            })
            .collect()
    }
}
