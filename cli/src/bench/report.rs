//! What a run measured, for people and, as stable JSON, for scripts.

use std::{
    fmt,
    io::Write,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::cpu::process_cpu;
use crate::{
    failure::{Failure, Outcome},
    table::human_count,
};

/// One run. Field names are API.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    bench: &'static str,
    topic: String,
    records: u64,
    /// Payload bytes; a MB is 10^6 of them.
    bytes: u64,
    seconds: f64,
    mb_per_s: f64,
    records_per_s: f64,
    /// Absent where nothing was timed.
    latency_ms: Option<LatencyMs>,
    /// Between two acknowledgements; absent where none were awaited.
    longest_gap_ms: Option<f64>,
    client_cpu_s_per_gb: f64,
}

/// Percentiles.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct LatencyMs {
    p50: f64,
    p95: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// Latencies with three significant digits, up to ten minutes.
pub(super) struct Latencies(Histogram<u64>);

const LATENCY_NS_MAX: u64 = 600_000_000_000;

impl Latencies {
    /// None yet.
    pub(super) fn new() -> Outcome<Self> {
        Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3)
            .map(Self)
            .map_err(|error| {
                Failure::new(crate::failure::Exit::Failed, "INTERNAL", error.to_string())
            })
    }

    /// Adds one.
    pub(super) fn add(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos() as u64);
    }

    /// The percentiles, if there were any.
    pub(super) fn percentiles(&self) -> Option<LatencyMs> {
        let at = |quantile| round(self.0.value_at_quantile(quantile) as f64 / 1e6, 4);
        (!self.0.is_empty()).then(|| LatencyMs {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: round(self.0.max() as f64 / 1e6, 4),
        })
    }
}

/// Wall and CPU clocks of a run.
pub(super) struct Run {
    started: Instant,
    cpu: Duration,
}

impl Run {
    /// Starts both clocks.
    pub(super) fn start() -> Self {
        Self {
            started: Instant::now(),
            cpu: process_cpu(),
        }
    }

    /// Stops both clocks.
    pub(super) fn report(
        &self,
        bench: &'static str,
        topic: &str,
        records: u64,
        bytes: u64,
        latency_ms: Option<LatencyMs>,
    ) -> Report {
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let cpu = process_cpu().saturating_sub(self.cpu).as_secs_f64();
        Report {
            bench,
            topic: topic.to_owned(),
            records,
            bytes,
            seconds: round(seconds, 3),
            mb_per_s: round(bytes as f64 / 1e6 / seconds, 3),
            records_per_s: round(records as f64 / seconds, 1),
            latency_ms,
            longest_gap_ms: None,
            client_cpu_s_per_gb: round(cpu / (bytes.max(1) as f64 / 1e9), 3),
        }
    }
}

impl Report {
    /// With the longest time between two acknowledgements.
    #[must_use]
    pub(super) fn with_longest_gap(mut self, gap: Duration) -> Self {
        self.longest_gap_ms = Some(round(gap.as_secs_f64() * 1e3, 3));
        self
    }

    /// Prints it.
    pub(super) fn print(&self, json: bool) -> Outcome {
        if json {
            return print_json(self);
        }
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "{} {}: {} records, {:.1} MB in {:.2} s",
            self.bench,
            self.topic,
            human_count(self.records),
            self.bytes as f64 / 1e6,
            self.seconds
        )?;
        writeln!(
            out,
            "  {:.1} MB/s, {} records/s, client CPU {:.2} s/GB",
            self.mb_per_s,
            human_count(self.records_per_s as u64),
            self.client_cpu_s_per_gb
        )?;
        if let Some(latency) = self.latency_ms {
            writeln!(out, "  {latency}")?;
        }
        if let Some(gap) = self.longest_gap_ms {
            writeln!(
                out,
                "  longest time between two acknowledgements: {gap:.1} ms"
            )?;
        }
        Ok(())
    }
}

/// One object, on a line.
pub(super) fn print_json(report: &impl Serialize) -> Outcome {
    let text = serde_json::to_string(report).map_err(std::io::Error::from)?;
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

impl fmt::Display for LatencyMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            p50,
            p95,
            p99,
            p999,
            max,
        } = self;
        write!(
            f,
            "latency ms: p50 {p50:.3}, p95 {p95:.3}, p99 {p99:.3}, p99.9 {p999:.3}, max {max:.3}"
        )
    }
}

pub(super) fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_milliseconds() {
        let mut latencies = Latencies::new().expect("bounds");
        for ms in 1..=1000 {
            latencies.add(Duration::from_millis(ms));
        }
        let p = latencies.percentiles().expect("there are some");
        for (value, expected) in [
            (p.p50, 500.0),
            (p.p95, 950.0),
            (p.p99, 990.0),
            (p.p999, 999.0),
        ] {
            assert!(
                (value / expected - 1.0).abs() < 0.002,
                "{value} for {expected}"
            );
        }
        assert!((p.max / 1000.0 - 1.0).abs() < 0.002);
    }

    #[test]
    fn no_latencies_have_no_percentiles() {
        assert_eq!(Latencies::new().expect("bounds").percentiles(), None);
    }

    #[test]
    fn the_json_fields_are_those_that_scripts_read() {
        let mut latencies = Latencies::new().expect("bounds");
        latencies.add(Duration::from_millis(1));
        let report = Run::start().report("produce", "t", 10, 1000, latencies.percentiles());
        let json = serde_json::to_value(report).expect("serializable");
        for pointer in [
            "/mb_per_s",
            "/records_per_s",
            "/client_cpu_s_per_gb",
            "/latency_ms/p50",
            "/latency_ms/p95",
            "/latency_ms/p99",
            "/latency_ms/p999",
            "/latency_ms/max",
        ] {
            assert!(
                json.pointer(pointer)
                    .is_some_and(serde_json::Value::is_number),
                "{pointer}"
            );
        }
    }
}
