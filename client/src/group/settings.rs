//! Joining a group: which one, what it reads, and how.

use std::{sync::Arc, time::Duration};

use taffrail_api::{WireError, v1};
use taffrail_core::rules;

use super::{Group, standing::Joining};
use crate::{client::Client, config::ConsumerConfig, consumer::Start, error::ClientError};

/// When offsets are committed: what a crash repeats, or loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeliveryMode {
    /// After processing: what was handed out counts as processed when the application asks for the next event, and is committed every commit interval, before a
    /// partition goes to another member, and on close. A crash repeats what was processed since.
    #[default]
    AtLeastOnce,
    /// Before processing: a batch is handed out once its offsets are committed, which costs a round trip to the coordinator for each. A crash loses
    /// what was handed out and not processed.
    AtMostOnce,
    /// The application commits. Only where reading began by the start policy is committed by itself.
    Manual,
}

/// What to do if the committed offset is not there (any more), as after retention was faster than the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutOfRange {
    /// The partition waits, and [`Group::next`] says so once: somebody is to decide, and to reset the group's offset. Other partitions go on.
    #[default]
    Stop,
    /// Go on with the first record that is there.
    Earliest,
    /// Go on with the next record to come.
    Latest,
}

/// See [`Client::group`].
#[derive(Debug, Clone)]
#[must_use = "join it"]
pub struct GroupBuilder {
    client: Client,
    settings: Settings,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) group: String,
    topics: Vec<String>,
    patterns: Vec<String>,
    pub(super) instance_id: Option<String>,
    client_name: String,
    rack: String,
    session_timeout: Duration,
    pub(super) start: Start,
    pub(super) out_of_range: OutOfRange,
    pub(super) delivery: DeliveryMode,
    /// By hand only if the group's policy does not say at most once.
    pub(super) yields: bool,
    pub(super) commit_interval: Duration,
    pub(super) poll_interval_max: Duration,
    pub(super) consumer: ConsumerConfig,
}

impl GroupBuilder {
    pub(crate) fn new(client: Client, group: String) -> Self {
        Self {
            client,
            settings: Settings {
                group,
                topics: Vec::new(),
                patterns: Vec::new(),
                instance_id: None,
                client_name: String::new(),
                rack: String::new(),
                session_timeout: Duration::ZERO,
                start: Start::Earliest,
                out_of_range: OutOfRange::Stop,
                delivery: DeliveryMode::AtLeastOnce,
                yields: false,
                commit_interval: Duration::from_secs(5),
                poll_interval_max: Duration::from_mins(5),
                consumer: ConsumerConfig::default(),
            },
        }
    }

    /// Reads this topic, as soon as it is there. May be called several times. A group's policy may name topics: then a member reads no others, and all of them if
    /// it names none.
    pub fn topic(mut self, name: impl Into<String>) -> Self {
        self.settings.topics.push(name.into());
        self
    }

    /// Reads every topic whose whole name matches this regular expression (RE2's syntax), also those to come. `orders.*` are all that begin with `orders`.
    pub fn pattern(mut self, pattern: impl Into<String>) -> Self {
        self.settings.patterns.push(pattern.into());
        self
    }

    /// Makes the member a static one: its partitions wait for it while it restarts within the session timeout. Every member has another id, as the
    /// pods of a StatefulSet have their names.
    pub fn instance_id(mut self, id: impl Into<String>) -> Self {
        self.settings.instance_id = Some(id.into());
        self
    }

    /// What the member is called in lists, for people.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.settings.client_name = name.into();
        self
    }

    /// Where the member runs. Of partitions that are as good otherwise it gets those that are led there.
    pub fn rack(mut self, rack: impl Into<String>) -> Self {
        self.settings.rack = rack.into();
        self
    }

    /// Not heard of for this long, the member loses its partitions. By default the cluster says.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.settings.session_timeout = timeout;
        self
    }

    /// Where a partition begins of which nothing is committed: `Earliest` by default, so that nothing is skipped. That it began there is committed at once.
    pub fn start(mut self, start: Start) -> Self {
        self.settings.start = start;
        self
    }

    /// What to do if the committed offset is not there.
    pub fn out_of_range(mut self, out_of_range: OutOfRange) -> Self {
        self.settings.out_of_range = out_of_range;
        self
    }

    /// When offsets are committed, if the group's policy does not say it. A policy that says `AtMostOnce` ends a member that is set to `Manual`.
    pub fn delivery(mut self, delivery: DeliveryMode) -> Self {
        self.settings.delivery = delivery;
        self
    }

    /// As [`DeliveryMode::Manual`]; but where the group's policy says `AtMostOnce` the member commits before handing out, rather than being ended by it.
    pub fn manual_unless_at_most_once(mut self) -> Self {
        self.settings.delivery = DeliveryMode::Manual;
        self.settings.yields = true;
        self
    }

    /// How often offsets are committed. 5 s by default.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.settings.commit_interval = interval;
        self
    }

    /// An application that does not come back to [`Group::next`] for this long hangs: the member leaves, so that others get its partitions. 5 min by
    /// default. Partitions that are to go to another member wait for the application for at most as long.
    pub fn poll_interval_max(mut self, interval: Duration) -> Self {
        self.settings.poll_interval_max = interval;
        self
    }

    /// How records are fetched.
    pub fn consumer(mut self, config: ConsumerConfig) -> Self {
        self.settings.consumer = config;
        self
    }

    /// Joins, and returns when the member was told what to read. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The settings make no sense, the coordinator refuses the member, or it could not be found within the client's call timeout.
    pub async fn join(self) -> Result<Group, ClientError> {
        self.settings.check()?;
        Group::join(self.client, self.settings).await
    }
}

impl Settings {
    fn check(&self) -> Result<(), WireError> {
        if let Some(violation) = rules::check_group_name(&self.group).first() {
            return Err(WireError::invalid(violation.message));
        }
        if matches!(self.start, Start::Offset(_)) {
            return Err(WireError::invalid(
                "each partition counts its own offsets; a group starts at Earliest, Latest or a Timestamp, and is moved with taffrail groups reset",
            ));
        }
        Ok(())
    }

    /// As the member introduces itself.
    pub(super) fn join(&self, joining: &Joining) -> v1::JoinGroup {
        v1::JoinGroup {
            group: self.group.clone(),
            member_id: joining.member.as_bytes().to_vec().into(),
            instance_id: self.instance_id.clone().unwrap_or_default(),
            client_name: self.client_name.clone(),
            rack: self.rack.clone(),
            topics: self.topics.clone(),
            patterns: self.patterns.clone(),
            session_timeout_ms: self.session_timeout.as_millis() as u32,
            epoch: joining.epoch.0,
        }
    }
}

impl Client {
    /// A member of the consumer group `name`, to be set up and joined.
    ///
    /// ```no_run
    /// # async fn example(client: taffrail_client::Client) -> Result<(), taffrail_client::ClientError> {
    /// let mut group = client.group("billing").topic("orders").pattern("payments.*").join().await?;
    /// loop {
    ///     let batch = group.next_batch().await?;
    ///     for record in batch.records()? {
    ///         println!("{:?}", record?.value);
    ///     }
    /// }
    /// # }
    /// ```
    pub fn group(&self, name: impl Into<String>) -> GroupBuilder {
        GroupBuilder::new(self.clone(), name.into())
    }
}

/// Shared by pull loop and session.
pub(super) type SharedSettings = Arc<Settings>;
