//! The tables of docs/ say what the code says.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;
use taffrail_api::status::grpc_code;
use taffrail_broker::BrokerConfig;
use taffrail_core::ErrorCode;

/// The cells of the table rows of a document, without backticks.
fn rows(document: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(document);
    let text = fs::read_to_string(path).expect("the document is there");
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| {
            line.split(" | ")
                .map(|cell| cell.replace('`', ""))
                .collect()
        })
        .collect()
}

/// Leaves of nested objects by their path.
fn leaves(prefix: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if prefix.is_empty() { "" } else { "." };
                leaves(&format!("{prefix}{dot}{name}"), value, into);
            }
        }
        leaf => {
            into.insert(prefix.to_owned(), leaf.clone());
        }
    }
}

#[test]
fn every_error_code_is_in_the_protocols_table() {
    let table = rows("PROTOCOL.md");
    for code in ErrorCode::ALL {
        let retry = if code.is_retriable() { "yes" } else { "no" };
        let expected = [
            code.number().to_string(),
            code.name().to_owned(),
            format!("{:?}", grpc_code(*code)),
            retry.to_owned(),
        ];
        assert!(
            table.iter().any(|row| row.starts_with(&expected)),
            "docs/PROTOCOL.md lacks the row {expected:?}"
        );
    }
}

#[test]
fn every_setting_of_a_broker_is_in_the_table_with_its_default() {
    let table = rows("OPERATIONS.md");
    let defaults = serde_json::to_value(BrokerConfig::default()).expect("serializable");
    let mut settings = BTreeMap::new();
    leaves("", &defaults, &mut settings);
    for (name, default) in settings {
        let row = table.iter().find(|row| row[0] == name);
        let row = row.unwrap_or_else(|| panic!("docs/OPERATIONS.md lacks {name}"));
        let expected = match default {
            Value::Null => continue,
            Value::String(text) => text,
            other => other.to_string(),
        };
        assert_eq!(row[1], expected, "the default of {name}");
    }
}
