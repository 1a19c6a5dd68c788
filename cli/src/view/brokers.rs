//! Brokers: where they are and what they hold.

use serde::Serialize;
use taffrail_api::v1;

use super::Listing;
use crate::table::{Table, human_bytes};

/// A list of brokers.
pub(crate) struct Brokers(pub(crate) Vec<BrokerView>);

/// One broker. Field names are API.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BrokerView {
    number: u32,
    name: String,
    state: String,
    address: String,
    leads: u32,
    follows: u32,
    disk_total_bytes: u64,
    disk_free_bytes: u64,
    version: String,
    uuid: String,
    incarnation: String,
    rack: String,
    process_id: u32,
}

impl From<v1::BrokerStatus> for BrokerView {
    fn from(status: v1::BrokerStatus) -> Self {
        let endpoint = status.client.map(|e| format!("{}:{}", e.host, e.port));
        let incarnation = status.incarnation.unwrap_or_default();
        Self {
            number: status.number,
            name: status.name,
            state: status.state,
            address: endpoint.unwrap_or_default(),
            leads: status.leads,
            follows: status.follows,
            disk_total_bytes: status.disk_total_bytes,
            disk_free_bytes: status.disk_free_bytes,
            version: status.version,
            uuid: status.uuid,
            incarnation: format!("{}-{:016x}", incarnation.generation, incarnation.random),
            rack: status.rack,
            process_id: status.process_id,
        }
    }
}

impl Listing for Brokers {
    type Item = BrokerView;
    const NOTHING: &'static str = "no brokers have registered yet";

    fn items(&self) -> &[BrokerView] {
        &self.0
    }

    fn table(&self, wide: bool, _now_ms: i64) -> Table {
        let mut heads = vec![
            "NUMBER", "NAME", "STATE", "PID", "ADDRESS", "LEADS", "FOLLOWS", "FREE", "VERSION",
        ];
        if wide {
            heads.extend(["DISK", "RACK", "INCARNATION", "UUID"]);
        }
        let mut table = Table::new(&heads);
        for broker in &self.0 {
            table.row(broker.cells(wide));
        }
        table
    }
}

impl BrokerView {
    fn cells(&self, wide: bool) -> Vec<String> {
        let or_dash = |text: &str| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text.to_owned()
            }
        };
        let mut cells = vec![
            self.number.to_string(),
            self.name.clone(),
            self.state.clone(),
            self.process_id.to_string(),
            or_dash(&self.address),
            self.leads.to_string(),
            self.follows.to_string(),
            human_bytes(self.disk_free_bytes),
            or_dash(&self.version),
        ];
        if wide {
            cells.extend([
                human_bytes(self.disk_total_bytes),
                or_dash(&self.rack),
                self.incarnation.clone(),
                self.uuid.clone(),
            ]);
        }
        cells
    }
}
