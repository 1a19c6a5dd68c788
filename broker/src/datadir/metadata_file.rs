//! The metadata file: what this broker goes on with while the controller is away.

use std::path::PathBuf;

use prost::Message as _;
use taffrail_api::v1::BrokerMetadataFile;

use super::{
    DataDir,
    framed::{self, Kind},
};
use crate::{cluster::known::Known, error::BrokerError};

const KIND: Kind = Kind {
    name: "metadata",
    format: 1,
};

/// Where the metadata is kept.
#[derive(Debug, Clone)]
pub(crate) struct MetadataFile {
    path: PathBuf,
}

impl MetadataFile {
    pub(crate) fn of(dir: &DataDir) -> Self {
        Self {
            path: dir.path().join("metadata"),
        }
    }

    /// Nothing is known if there is no file, and no partition in `dir`.
    pub(crate) fn load(&self, dir: &DataDir) -> Result<Known, BrokerError> {
        let Some(payload) = framed::read(&self.path, KIND)? else {
            dir.missing(&self.path)?;
            return Ok(Known::default());
        };
        let unreadable = |reason: String| BrokerError::Unreadable {
            path: self.path.clone(),
            reason,
        };
        let file =
            BrokerMetadataFile::decode(&payload[..]).map_err(|e| unreadable(e.to_string()))?;
        Known::from_file(file).map_err(|e| unreadable(e.message))
    }

    /// Durable when this returns. Blocking.
    pub(crate) fn save(&self, known: &Known) -> Result<(), BrokerError> {
        framed::replace(&self.path, KIND, &known.to_file().encode_to_vec())
    }
}
