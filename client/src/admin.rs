//! Topics, partitions and brokers: what any broker passes on to the active controller. And groups, which their coordinators know.

mod groups;

use taffrail_api::{
    transport::CALL_MESSAGE_BYTES_MAX,
    v1::{self, admin_client::AdminClient, broker_client::BrokerClient},
};
use taffrail_core::{TopicId, TopicSpec};
use tonic::{Response, Status, transport::Channel};

use crate::{client::Client, connections::BOOTSTRAP_FIRST, error::ClientError};

pub use groups::{GroupList, GroupOffset};

/// Calls about topics, groups and the cluster's state.
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
}

/// What became, or would become, of an applied topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// It is new.
    Created,
    /// Its settings changed.
    Configured,
    /// Nothing to do.
    Unchanged,
}

/// An applied topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// What happened.
    pub outcome: ApplyOutcome,
    /// Its id; `None` in a dry run of a new topic.
    pub topic_id: Option<TopicId>,
    /// Of a dry run: the brokers of the partitions that are not placed yet, the first one leading. None, if there are not enough brokers just now.
    pub placement: Vec<v1::PlacedPartition>,
}

impl Admin {
    pub(crate) const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Creates or changes a topic. With `dry_run`: says what would happen.
    ///
    /// # Errors
    /// The spec breaks a rule, the cluster is managed by Kubernetes, no controller is active ...
    pub async fn apply_topic(
        &self,
        name: &str,
        spec: &TopicSpec,
        dry_run: bool,
    ) -> Result<Applied, ClientError> {
        let request = v1::ApplyTopicRequest {
            name: name.to_owned(),
            spec: Some(spec.into()),
            dry_run,
        };
        let answer = self
            .call(request, |mut admin, request| async move {
                admin.apply_topic(request).await
            })
            .await?;
        Ok(Applied {
            outcome: match answer.outcome() {
                v1::ApplyOutcome::Created => ApplyOutcome::Created,
                v1::ApplyOutcome::Configured => ApplyOutcome::Configured,
                v1::ApplyOutcome::Unchanged | v1::ApplyOutcome::Unspecified => {
                    ApplyOutcome::Unchanged
                }
            },
            topic_id: TopicId::try_from(&answer.topic_id[..]).ok(),
            placement: answer.placement,
        })
    }

    /// Ends a topic; says whether its data is deleted too, or stays.
    ///
    /// # Errors
    /// As [`Self::apply_topic`].
    pub async fn delete_topic(&self, name: &str) -> Result<bool, ClientError> {
        let request = v1::DeleteTopicRequest {
            name: name.to_owned(),
        };
        let answer = self
            .call(request, |mut admin, request| async move {
                admin.delete_topic(request).await
            })
            .await?;
        Ok(answer.data_deleted)
    }

    /// The status of these topics; empty `names`: of all.
    ///
    /// # Errors
    /// No broker answers, or no controller is active.
    pub async fn list_topics(&self, names: &[String]) -> Result<Vec<v1::TopicStatus>, ClientError> {
        let request = v1::ListTopicsRequest {
            names: names.to_vec(),
        };
        let answer = self
            .call(request, |mut admin, request| async move {
                admin.list_topics(request).await
            })
            .await?;
        Ok(answer.topics)
    }

    /// The partitions of these topics; empty `topics`: of all.
    ///
    /// # Errors
    /// As [`Self::list_topics`].
    pub async fn list_partitions(
        &self,
        topics: &[String],
    ) -> Result<Vec<v1::PartitionStatus>, ClientError> {
        let request = v1::ListPartitionsRequest {
            topics: topics.to_vec(),
        };
        let answer = self
            .call(request, |mut admin, request| async move {
                admin.list_partitions(request).await
            })
            .await?;
        Ok(answer.partitions)
    }

    /// How these groups fare, as of some seconds ago; empty `groups`: all.
    ///
    /// # Errors
    /// No broker answers, or no controller is active.
    pub async fn list_group_statuses(
        &self,
        groups: &[String],
    ) -> Result<Vec<v1::GroupStatus>, ClientError> {
        let request = v1::ListGroupStatusesRequest {
            groups: groups.to_vec(),
        };
        let answer = self
            .call(request, |mut admin, request| async move {
                admin.list_group_statuses(request).await
            })
            .await?;
        Ok(answer.groups)
    }

    /// The brokers, and the cluster's id.
    ///
    /// # Errors
    /// As [`Self::list_topics`].
    pub async fn list_brokers(&self) -> Result<v1::ListBrokersResponse, ClientError> {
        self.call(v1::ListBrokersRequest {}, |mut admin, request| async move {
            admin.list_brokers(request).await
        })
        .await
    }

    /// Begins to move replicas, or with `dry_run` says what would move.
    ///
    /// # Errors
    /// What is asked for cannot be, or no controller is active.
    pub async fn move_replicas(
        &self,
        what: v1::move_replicas_request::What,
        dry_run: bool,
    ) -> Result<Vec<v1::ReplicaMove>, ClientError> {
        let request = v1::MoveReplicasRequest {
            what: Some(what),
            dry_run,
        };
        let answer = self
            .call(request, |mut admin, request| async move {
                admin.move_replicas(request).await
            })
            .await?;
        Ok(answer.moves)
    }

    /// What some broker last heard from the controller of these topics, or of all, and of all brokers. Brokers answer while no controller is active, too.
    ///
    /// # Errors
    /// No broker answers.
    pub async fn last_heard(&self, topics: &[String]) -> Result<v1::Metadata, ClientError> {
        let request = v1::GetMetadataRequest {
            topics: topics.to_vec(),
        };
        let what = "asking a broker what it last heard";
        self.ask(what, |channel| {
            let mut broker =
                BrokerClient::new(channel).max_decoding_message_size(CALL_MESSAGE_BYTES_MAX);
            let request = request.clone();
            async move { broker.get_metadata(request).await }
        })
        .await
    }

    async fn call<R, T, F>(
        &self,
        request: R,
        call: impl Fn(AdminClient<Channel>, R) -> F + Send + Sync,
    ) -> Result<T, ClientError>
    where
        R: Clone + Send + Sync,
        T: Send,
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        self.ask("an admin call", |channel| {
            let admin = AdminClient::new(channel);
            call(
                admin.max_decoding_message_size(CALL_MESSAGE_BYTES_MAX),
                request.clone(),
            )
        })
        .await
    }

    async fn ask<T, F>(
        &self,
        what: &'static str,
        call: impl Fn(Channel) -> F + Send + Sync,
    ) -> Result<T, ClientError>
    where
        T: Send,
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let known = self.client.known();
        let others = known.brokers.values().map(|b| b.address.clone()).collect();
        let after = self.client.config().call_timeout;
        let any = self
            .client
            .connections()
            .any_broker(BOOTSTRAP_FIRST, others, |channel| {
                let answer = call(channel);
                async { Ok(answer.await?.into_inner()) }
            });
        match tokio::time::timeout(after, any).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ClientError::TimedOut {
                what,
                after,
                last: "no answer".to_owned(),
            }),
        }
    }
}
