//! The real input: 27,004 flights that left New York in January 2013.

use std::{collections::HashMap, fs::File, path::PathBuf};

use flate2::read::GzDecoder;
use taffrail_xtask::workspace_root;

/// How many there are.
pub const COUNT: usize = 27_004;

/// The file, as shipped.
pub fn file() -> PathBuf {
    workspace_root().join("examples/flights-2013-01.csv.gz")
}

/// One flight as a record would carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    /// The tail number; a few flights have none.
    pub tail_number: String,
    /// The line of the file, as fields.
    pub fields: HashMap<String, String>,
}

/// All of them, in the file's order.
///
/// # Panics
/// If the file is not what it should be.
pub fn all() -> Vec<Flight> {
    let file = File::open(file()).expect("the example is shipped");
    let mut reader = csv::Reader::from_reader(GzDecoder::new(file));
    let flights: Vec<Flight> = reader
        .deserialize()
        .map(|row| {
            let fields: HashMap<String, String> = row.expect("the file is CSV");
            Flight {
                tail_number: fields["tailnum"].clone(),
                fields,
            }
        })
        .collect();
    assert_eq!(flights.len(), COUNT);
    flights
}
