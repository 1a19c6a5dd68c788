//! A cluster as the commands see it: clients, lists, and failures in the user's words.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use taffrail_api::{
    WireError,
    v1::{self, move_replicas_request::What},
};
use taffrail_client::{
    ApplyOutcome, Client, ClientConfig, ClientError, FlushError, ProduceError, Start, Topic,
};
use taffrail_core::{ErrorCode, PartitionIndex, TopicSpec, rules};
use tokio::task::JoinError;

use crate::{
    cli::ServerArgs,
    failure::{Exit, Failure, Outcome},
    time::From,
    view::{BrokerView, MoveView, PartitionView, TopicView},
};

/// How long a call may take: somebody sits before the screen.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How often somebody who waits asks.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Topics, partitions and brokers.
pub(crate) struct Admin(taffrail_client::Admin);

/// Connects to the cluster of the command line.
pub(crate) async fn client(server: &ServerArgs) -> Outcome<Client> {
    client_at(&server.server).await
}

/// Connects to the cluster of which these are brokers.
pub(crate) async fn client_at(addresses: &[String]) -> Outcome<Client> {
    Client::connect(ClientConfig {
        bootstrap: addresses.to_vec(),
        call_timeout: CALL_TIMEOUT,
        ..ClientConfig::default()
    })
    .await
    .map_err(|error| client_failure(&error))
}

/// Administers the cluster of the command line.
pub(crate) async fn admin(server: &ServerArgs) -> Outcome<Admin> {
    admin_at(&server.server).await
}

/// Administers the cluster of which these are brokers.
pub(crate) async fn admin_at(addresses: &[String]) -> Outcome<Admin> {
    Ok(Admin(client_at(addresses).await?.admin()))
}

/// A topic as kubectl names it too: `topic/flights` is `flights`.
pub(crate) fn topic_name(argument: &str) -> Result<String, &'static str> {
    match plain(argument) {
        "" => Err("name a topic, such as flights"),
        name => Ok(name.to_owned()),
    }
}

/// The same for several.
pub(crate) fn topic_names(arguments: &[String]) -> Vec<String> {
    arguments
        .iter()
        .map(|name| plain(name).to_owned())
        .collect()
}

fn plain(argument: &str) -> &str {
    argument.strip_prefix("topic/").unwrap_or(argument)
}

/// A group's name, if it can be one.
pub(crate) fn group_name(argument: &str) -> Result<String, &'static str> {
    match rules::check_group_name(argument).first() {
        Some(violation) => Err(violation.message),
        None => Ok(argument.to_owned()),
    }
}

/// ` -f FILE` for each file.
pub(crate) fn file_flags(files: &[PathBuf]) -> String {
    files.iter().fold(String::new(), |mut flags, file| {
        // Writing to a String does not fail.
        let _ = write!(flags, " -f {}", file.display());
        flags
    })
}

impl Admin {
    /// The status of these topics, or of all.
    ///
    /// # Errors
    /// One of them is not there.
    pub(crate) async fn topics(&self, names: &[String]) -> Outcome<Vec<TopicView>> {
        let listed = self.0.list_topics(names).await;
        let listed = listed.map_err(|error| client_failure(&error))?;
        let missing = names
            .iter()
            .find(|name| !listed.iter().any(|topic| topic.name == **name));
        if let Some(name) = missing {
            return Err(unknown_topic(name));
        }
        let views = listed.into_iter().map(TopicView::try_from);
        views
            .collect::<Result<_, WireError>>()
            .map_err(|error| Failure::of(error.code, error.message))
    }

    /// The partitions of these topics, or of all.
    ///
    /// # Errors
    /// One of them is not there.
    pub(crate) async fn partitions(&self, topics: &[String]) -> Outcome<Vec<PartitionView>> {
        if !topics.is_empty() {
            self.topics(topics).await?;
        }
        let listed = self.0.list_partitions(topics).await;
        let listed = listed.map_err(|error| client_failure(&error))?;
        Ok(listed.into_iter().map(PartitionView::from).collect())
    }

    /// What a broker last heard of these topics, or of all, and of the brokers.
    ///
    /// # Errors
    /// It has not heard of one of them.
    pub(crate) async fn last_heard(&self, topics: &[String]) -> Outcome<v1::Metadata> {
        let heard = self.0.last_heard(topics).await;
        let heard = heard.map_err(|error| client_failure(&error))?;
        match heard.unknown_topics.first() {
            Some(name) => Err(unknown_topic(name)),
            None => Ok(heard),
        }
    }

    /// All brokers.
    pub(crate) async fn brokers(&self) -> Outcome<Vec<BrokerView>> {
        let listed = self.0.list_brokers().await;
        let listed = listed.map_err(|error| client_failure(&error))?;
        Ok(listed.brokers.into_iter().map(BrokerView::from).collect())
    }

    /// Creates or changes a topic, and says which in one word.
    pub(crate) async fn apply_topic(
        &self,
        name: &str,
        spec: &TopicSpec,
        dry_run: bool,
    ) -> Outcome<&'static str> {
        let applied = self.0.apply_topic(name, spec, dry_run).await;
        let applied = applied.map_err(|error| client_failure(&error))?;
        Ok(match applied.outcome {
            ApplyOutcome::Created => "created",
            ApplyOutcome::Configured => "configured",
            ApplyOutcome::Unchanged => "unchanged",
        })
    }

    /// Begins to move replicas, or says what would move.
    pub(crate) async fn move_replicas(&self, what: What, dry_run: bool) -> Outcome<Vec<MoveView>> {
        let moves = self.0.move_replicas(what, dry_run).await;
        let moves = moves.map_err(|error| client_failure(&error))?;
        Ok(moves.into_iter().map(MoveView::from).collect())
    }

    /// Ends a topic. Answers whether its data goes too.
    pub(crate) async fn delete_topic(&self, name: &str) -> Outcome<bool> {
        let deleted = self.0.delete_topic(name).await;
        deleted.map_err(|error| client_failure(&error))
    }
}

/// The topic, if it is there now. The client itself would wait for it a little.
pub(crate) async fn require_topic(client: &Client, name: &str) -> Outcome<Arc<Topic>> {
    let known = client.metadata(&[name.to_owned()]).await;
    let known = known.map_err(|error| client_failure(&error))?;
    known
        .topic(name)
        .cloned()
        .ok_or_else(|| unknown_topic(name))
}

/// Connects, once a broker answers and the topic, if one is named, is there. Until `patience` is over that is waited for.
pub(crate) async fn client_of_topic(
    server: &ServerArgs,
    topic: Option<&str>,
    patience: Duration,
) -> Outcome<Client> {
    let deadline = Instant::now() + patience;
    loop {
        let found = async {
            let client = client(server).await?;
            if let Some(topic) = topic {
                require_topic(&client, topic).await?;
            }
            Ok(client)
        };
        match found.await {
            Err(failure) if may_come(&failure) && Instant::now() < deadline => {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            outcome => return outcome,
        }
    }
}

/// Is it a failure that ends when brokers have started and the topic was made?
fn may_come(failure: &Failure) -> bool {
    [
        ErrorCode::LeaderUnreachable,
        ErrorCode::UnknownTopic,
        ErrorCode::TimedOut,
    ]
    .iter()
    .any(|code| failure.code() == code.name())
}

/// Where reading begins, by partition.
///
/// # Errors
/// There is no such topic or partition, or the offset is out of range.
pub(crate) async fn starts(
    client: &Client,
    topic: &str,
    partition: Option<u32>,
    from: From,
) -> Outcome<BTreeMap<u32, u64>> {
    let found = require_topic(client, topic).await?;
    let count = found.partitions.len() as u32;
    let partitions: Vec<u32> = match partition {
        Some(partition) if partition < count => vec![partition],
        Some(partition) => {
            return Err(Failure::of(
                ErrorCode::UnknownPartition,
                format!("topic {topic:?} has no partition {partition}"),
            )
            .hint(format!("it has {count}, numbered from 0")));
        }
        None => (0..count).collect(),
    };
    if let Some(start) = from.start() {
        return offsets(client, topic, &partitions, start).await;
    }
    let (From::Offset(offset), [partition]) = (from, &partitions[..]) else {
        return Err(Failure::usage(
            "--from OFFSET needs --partition: each partition counts its own offsets",
        ));
    };
    check_range(client, topic, *partition, offset).await?;
    Ok(BTreeMap::from([(*partition, offset)]))
}

/// Where each partition ends now.
pub(crate) async fn ends(client: &Client, topic: &str) -> Outcome<BTreeMap<u32, u64>> {
    starts(client, topic, None, From::Latest).await
}

/// The offsets of one position in several partitions.
pub(crate) async fn offsets(
    client: &Client,
    topic: &str,
    partitions: &[u32],
    start: Start,
) -> Outcome<BTreeMap<u32, u64>> {
    let queries: Vec<_> = partitions
        .iter()
        .map(|partition| (topic.to_owned(), PartitionIndex(*partition), start))
        .collect();
    let found = client.offsets(&queries).await;
    let found = found.map_err(|error| client_failure(&error))?;
    Ok(partitions
        .iter()
        .copied()
        .zip(found.into_iter().map(|offset| offset.0))
        .collect())
}

async fn check_range(client: &Client, topic: &str, partition: u32, offset: u64) -> Outcome {
    let first = offsets(client, topic, &[partition], Start::Earliest).await?[&partition];
    let end = offsets(client, topic, &[partition], Start::Latest).await?[&partition];
    if (first..=end).contains(&offset) {
        return Ok(());
    }
    Err(out_of_range(topic, partition, offset, first..=end))
}

/// The failure of an offset that somebody asked for.
pub(crate) fn out_of_range(
    topic: &str,
    partition: u32,
    offset: u64,
    valid: std::ops::RangeInclusive<u64>,
) -> Failure {
    let (first, end) = valid.into_inner();
    Failure::of(
        ErrorCode::OffsetOutOfRange,
        format!("offset {offset} of {topic}/{partition} is out of range"),
    )
    .hint(format!(
        "it has {first} to {end}, and {end} is the next one to be written"
    ))
}

/// The failure of a call.
pub(crate) fn client_failure(error: &ClientError) -> Failure {
    match error {
        ClientError::Unreachable { addresses, reason } => Failure::of(
            ErrorCode::LeaderUnreachable,
            format!("no broker answers at {addresses}: {reason}"),
        )
        .hint(
            "start one with: taffrail dev\n  or say where one is: --server HOST:PORT, or TAFFRAIL_SERVER in the environment",
        ),
        ClientError::UnknownTopic { topic } => unknown_topic(topic),
        ClientError::Refused(error) if error.code == ErrorCode::UnknownGroup => {
            Failure::of(error.code, error.message.clone()).hint("see: taffrail groups list")
        }
        ClientError::Refused(error) => Failure::of(error.code, error.message.clone()),
        error => Failure::of(error.code(), error.to_string()),
    }
}

/// The failure of a record.
pub(crate) fn produce_failure(error: &ProduceError) -> Failure {
    match error {
        ProduceError::Topic(error) => client_failure(error),
        error => Failure::of(error.code(), error.to_string()),
    }
}

/// The failure of records that nobody awaited one by one.
pub(crate) fn flush_failure(error: &FlushError) -> Failure {
    produce_failure(&error.first).note(format!("{} records were not acknowledged", error.records))
}

/// The failure of a task of this process.
pub(crate) fn join_failure(error: &JoinError) -> Failure {
    Failure::new(Exit::Failed, "INTERNAL", error.to_string())
}

fn unknown_topic(name: &str) -> Failure {
    Failure::of(
        ErrorCode::UnknownTopic,
        format!("there is no topic {name:?}"),
    )
    .hint("see: taffrail get topics; create one with: taffrail apply -f FILE")
}
