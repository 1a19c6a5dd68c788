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
    safe_to_stop: bool,
    stop_blocked_by: String,
}

impl BrokerView {
    /// By name, or by number.
    pub(crate) fn is_called(&self, wanted: &str) -> bool {
        self.name == wanted || wanted.parse() == Ok(self.number)
    }
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
            safe_to_stop: status.safe_to_stop,
            stop_blocked_by: status.stop_blocked_by,
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
            "NUMBER",
            "NAME",
            "STATE",
            "PID",
            "ADDRESS",
            "LEADS",
            "FOLLOWS",
            "SAFE-TO-STOP",
            "FREE",
            "VERSION",
        ];
        if wide {
            heads.extend(["DISK", "RACK", "INCARNATION", "UUID"]);
        }
        let says_why = self
            .0
            .iter()
            .any(|broker| !broker.stop_blocked_by.is_empty());
        if says_why {
            heads.push("STOP-BLOCKED-BY");
        }
        let mut table = Table::new(&heads);
        for broker in &self.0 {
            table.row(broker.cells(wide, says_why));
        }
        table
    }
}

impl BrokerView {
    fn cells(&self, wide: bool, says_why: bool) -> Vec<String> {
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
            if self.safe_to_stop { "yes" } else { "no" }.to_owned(),
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
        if says_why {
            cells.push(or_dash(&self.stop_blocked_by));
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fields_of_a_broker_are_what_they_were() {
        let status = v1::BrokerStatus {
            number: 2,
            name: "main-1".into(),
            client: Some(v1::Endpoint {
                host: "main-1.streams".into(),
                port: 9640,
            }),
            safe_to_stop: true,
            ..v1::BrokerStatus::default()
        };
        let expected = json!({
            "number": 2,
            "name": "main-1",
            "state": "",
            "address": "main-1.streams:9640",
            "leads": 0,
            "follows": 0,
            "diskTotalBytes": 0,
            "diskFreeBytes": 0,
            "version": "",
            "uuid": "",
            "incarnation": "0-0000000000000000",
            "rack": "",
            "processId": 0,
            "safeToStop": true,
            "stopBlockedBy": "",
        });
        let view = serde_json::to_value(BrokerView::from(status));
        assert_eq!(view.expect("JSON"), expected);
    }

    #[test]
    fn a_broker_that_must_not_stop_says_why() {
        let status = v1::BrokerStatus {
            name: "main-0".into(),
            state: "ONLINE".into(),
            stop_blocked_by: "flights/3: it has the only copy".into(),
            ..v1::BrokerStatus::default()
        };
        let safe = v1::BrokerStatus {
            safe_to_stop: true,
            ..v1::BrokerStatus::default()
        };
        let print = |list: &[&v1::BrokerStatus], wide| {
            let list = list.iter().map(|status| (*status).clone().into());
            let mut out = Vec::new();
            let table = Brokers(list.collect()).table(wide, 0);
            table.print(&mut out, "").expect("memory");
            String::from_utf8(out).expect("text")
        };
        for wide in [false, true] {
            let text = print(&[&status, &safe], wide);
            let lines: Vec<_> = text.lines().collect();
            assert!(lines[0].contains("SAFE-TO-STOP"), "{text}");
            assert!(lines[0].ends_with("STOP-BLOCKED-BY"), "{text}");
            assert!(
                lines[1].contains("no ") && lines[1].ends_with("flights/3: it has the only copy"),
                "{text}"
            );
            assert!(lines[2].contains("yes "), "{text}");
        }
        let text = print(&[&safe], false);
        assert!(!text.contains("STOP-BLOCKED-BY"), "{text}");
    }
}
