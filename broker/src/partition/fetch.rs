//! Reading: what is below the high watermark.

use taffrail_api::WireError;
use taffrail_core::{ErrorCode, Offset};
use taffrail_log::{LogError, LogReader, ReadBatches};

use super::{Fault, Partition};

impl Partition {
    /// Is there something to read at `offset`?
    ///
    /// # Errors
    /// The offset is below the log start or beyond the log end, where a leader that was just elected does not say so yet: it could not say where the valid
    /// range ends. Between the high watermark and the log end one waits.
    pub(crate) fn has_records_at(&self, offset: Offset) -> Result<bool, WireError> {
        let (start, end) = (self.progress.log_start(), self.progress.log_end());
        if offset > end && self.progress.latest().is_none() {
            return Err(self.end_not_known(offset));
        }
        if offset < start || offset > end {
            return Err(self.out_of_range(offset));
        }
        Ok(offset < self.progress.high_watermark())
    }

    /// Whole batches from the one that holds `offset` on. Waits for the disk.
    pub(crate) fn read(&self, offset: Offset, max_bytes: usize) -> Result<ReadBatches, WireError> {
        self.read_to(offset, max_bytes, self.progress.high_watermark())
    }

    /// As [`Self::read`], but without waiting. `None`: not all of it is in memory.
    pub(crate) fn read_cached(
        &self,
        offset: Offset,
        max_bytes: usize,
    ) -> Result<Option<ReadBatches>, WireError> {
        self.reader()?
            .read_cached(offset, max_bytes, self.progress.high_watermark())
            .map_err(|error| self.read_failed(offset, &error))
    }

    /// As [`Self::read`], up to `end` instead of the high watermark: for followers.
    pub(crate) fn read_to(
        &self,
        offset: Offset,
        max_bytes: usize,
        end: Offset,
    ) -> Result<ReadBatches, WireError> {
        self.reader()?
            .read(offset, max_bytes, end)
            .map_err(|error| self.read_failed(offset, &error))
    }

    /// About when the batch at `offset` was appended. May wait for the disk, unless the records are warm.
    pub(crate) fn append_time_ms(&self, offset: Offset) -> Result<i64, WireError> {
        let time = self.reader()?.append_time_ms(offset);
        let time = time.map_err(|error| self.read_failed(offset, &error))?;
        Ok(time.unwrap_or_default())
    }

    fn reader(&self) -> Result<&LogReader, WireError> {
        self.reader.as_ref().ok_or_else(|| {
            let fault = self.fault();
            self.offline(&fault.map_or_else(|| "no log".to_owned(), |f| f.message))
        })
    }

    /// Offset and record time of the first record of `timestamp_ms` or later. Waits for the disk.
    pub(crate) fn offset_at(&self, timestamp_ms: i64) -> Result<Option<(Offset, i64)>, WireError> {
        let Some(reader) = &self.reader else {
            return Ok(None);
        };
        let found = reader
            .offset_for_timestamp(timestamp_ms)
            .map_err(|error| self.read_failed(self.progress.log_start(), &error))?;
        Ok(found.filter(|(offset, _)| *offset < self.progress.high_watermark()))
    }

    fn read_failed(&self, offset: Offset, error: &LogError) -> WireError {
        match error {
            LogError::OffsetOutOfRange { .. } => self.out_of_range(offset),
            LogError::Damaged { .. } | LogError::Poisoned { .. } => {
                self.fail(Fault::of(error));
                self.offline(&error.to_string())
            }
            _ => WireError::new(error.code(), format!("{}: {error}", self.label())),
        }
    }

    fn end_not_known(&self, offset: Offset) -> WireError {
        WireError::new(
            ErrorCode::NotYetKnown,
            format!(
                "{}: offset {offset} is beyond what this leader has, and since its election it does not know the end yet; retry",
                self.label()
            ),
        )
    }

    fn out_of_range(&self, offset: Offset) -> WireError {
        WireError::new(
            ErrorCode::OffsetOutOfRange,
            format!(
                "{}: offset {offset} is out of range, records from {} to {} are there; start at earliest or latest",
                self.label(),
                self.progress.log_start(),
                self.progress.high_watermark(),
            ),
        )
    }
}
