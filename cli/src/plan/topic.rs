//! Where partitions would go.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use taffrail_api::v1;
use taffrail_client::ClientError;
use taffrail_core::TopicSpec;

use crate::{
    cli::ServerArgs,
    connect::{self, client_failure},
    failure::Outcome,
    table::Table,
    time::now_ms,
    view::{self, Listing, Output},
};

/// Where the partitions of a new topic would go, or those that an existing one would get
///
/// Asks the controller, which places them as it would now: leaders spread evenly, replicas in different racks, where the fewest are.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  taffrail plan topic orders --partitions 12 --replicas 3
  taffrail plan topic flights --partitions 24")]
pub(super) struct TopicArgs {
    /// Of which topic, whether it is there or not
    #[arg(value_parser = connect::topic_name)]
    topic: String,
    /// How many partitions it would have [default: as it has, or the cluster's default]
    #[arg(long, value_name = "NUMBER")]
    partitions: Option<u32>,
    /// Copies of each [default: as it has, or the cluster's default]
    #[arg(long, value_name = "NUMBER")]
    replicas: Option<u32>,
    /// How to print it
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: &TopicArgs) -> Outcome {
    let admin = connect::client(&args.server).await?.admin();
    let known = admin.list_topics(std::slice::from_ref(&args.topic)).await;
    let known = known.map_err(|error| client_failure(&error))?;
    let spec = spec(args, known.into_iter().next())?;
    let applied = admin.apply_topic(&args.topic, &spec, true).await;
    let applied = applied.map_err(|error| client_failure(&error))?;
    let brokers = admin.list_brokers().await;
    let brokers = brokers.map_err(|error| client_failure(&error))?.brokers;
    let names = brokers.into_iter().map(|broker| (broker.number, broker));
    let rows = rows(applied.placement, &names.collect());
    view::print(
        &Placement(rows),
        args.output,
        now_ms(),
        &mut std::io::stdout(),
    )?;
    Ok(())
}

/// What the topic is, with what was asked for.
fn spec(args: &TopicArgs, known: Option<v1::TopicStatus>) -> Outcome<TopicSpec> {
    let known = known.and_then(|status| status.spec);
    let mut spec = match known {
        Some(spec) => {
            TopicSpec::try_from(spec).map_err(|error| client_failure(&ClientError::from(error)))?
        }
        None => TopicSpec::default(),
    };
    spec.partitions = args.partitions.or(spec.partitions);
    spec.replicas = args.replicas.or(spec.replicas);
    Ok(spec)
}

fn rows(
    placement: Vec<v1::PlacedPartition>,
    brokers: &BTreeMap<u32, v1::BrokerStatus>,
) -> Vec<PlacedView> {
    let name = |number: &u32| {
        let broker = brokers.get(number);
        broker.map_or_else(|| number.to_string(), |broker| broker.name.clone())
    };
    let rack = |number: &u32| Some(brokers.get(number)?.rack.clone());
    let placed = placement.into_iter().map(|placed| PlacedView {
        partition: placed.partition,
        leader: placed.replicas.first().map(name),
        brokers: placed.replicas.iter().map(name).collect(),
        racks: placed.replicas.iter().filter_map(rack).collect(),
    });
    placed.collect()
}

/// One partition's place. Field names are API.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlacedView {
    partition: u32,
    leader: Option<String>,
    /// The leader among them.
    brokers: Vec<String>,
    racks: Vec<String>,
}

struct Placement(Vec<PlacedView>);

impl Listing for Placement {
    type Item = PlacedView;
    const NOTHING: &'static str = "nothing would be placed now: all partitions have their brokers, or too few brokers are there; see taffrail get brokers";

    fn items(&self) -> &[PlacedView] {
        &self.0
    }

    fn table(&self, _wide: bool, _now_ms: i64) -> Table {
        let mut table = Table::new(&["PARTITION", "LEADER", "BROKERS", "RACKS"]);
        for row in &self.0 {
            let racks: Vec<&str> = (row.racks.iter())
                .filter(|rack| !rack.is_empty())
                .map(String::as_str)
                .collect();
            table.row(vec![
                row.partition.to_string(),
                row.leader.clone().unwrap_or_else(|| "-".to_owned()),
                row.brokers.join(","),
                if racks.is_empty() {
                    "-".to_owned()
                } else {
                    racks.join(",")
                },
            ]);
        }
        table
    }
}
