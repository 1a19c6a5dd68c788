//! Which faults happen, how often, and how far numbers count: small enough to be explored.

mod named;

use anyhow::{Context as _, Result, bail};

pub use named::NAMES;

use crate::mutant::Mutants;

/// One configuration. Counts are of the whole run.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says whether one kind of event happens"
)]
pub struct Config {
    /// Broken rules.
    pub mutants: Mutants,
    /// Bit mask of the first in-sync replicas.
    pub isr: u8,
    /// Records produced.
    pub records: u8,
    /// The highest leader epoch.
    pub leader_epochs: u8,
    /// The highest controller epoch.
    pub controller_epochs: u8,
    /// The highest partition epoch.
    pub partition_epochs: u8,
    /// Crashes of brokers.
    pub crashes: u8,
    /// A leader that lives may be deposed.
    pub suspicion: bool,
    /// ISR requests sent.
    pub isr_requests: u8,
    /// An election may also drop the old leader from the ISR.
    pub election_drops: bool,
    /// Volumes wiped.
    pub wipes: u8,
    /// Older volumes that come back.
    pub restores: u8,
    /// The store goes back once.
    pub rollback: bool,
    /// Fetches may be delayed for any time.
    pub delayed_fetches: bool,
    /// Answers too.
    pub delayed_answers: bool,
    /// A leader was just deposed whose record one follower has.
    pub deposed: bool,
    /// Restarted members are unconfirmed until the leader confirms them; without it, for good.
    pub confirmations: bool,
    /// The topic does not exist at first or, with a rollback, in the backup.
    pub creation: bool,
    /// The topic may be deleted.
    pub deletion: bool,
    /// Broker 2 held a replica, with a record, until it went down.
    pub former_holder: bool,
    /// A copy of broker 1's volume from before the first record may come back.
    pub old_copy: bool,
    /// Leaders ask for confirmations only.
    pub only_confirmations: bool,
    /// Records count before they are synced, and crashes of processes keep them.
    pub page_cache: bool,
    /// Crashes of nodes, which lose what was not synced.
    pub node_crashes: u8,
    /// Records sent again.
    pub retries: u8,
}

impl Config {
    /// A name and changes of its numbers, such as `crashes crashes=1 records=1`.
    ///
    /// # Errors
    /// Names or settings that there are not.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut words = words.into_iter();
        let name = words.next().context("no configuration is named")?;
        let mut config = Self::named(name)
            .with_context(|| format!("{name} is no configuration; --help lists them"))?;
        words.try_for_each(|setting| config.set(setting))?;
        Ok(config)
    }

    /// The same with these rules broken.
    #[must_use]
    pub fn mutated(self, mutants: Mutants) -> Self {
        Self { mutants, ..self }
    }

    /// Applies one `NAME=NUMBER`.
    fn set(&mut self, setting: &str) -> Result<()> {
        let (name, value) = setting
            .split_once('=')
            .context("settings look like crashes=1")?;
        let number: u8 = value
            .parse()
            .with_context(|| format!("{setting}: the value is a number below 256"))?;
        match name {
            "isr" => self.isr = number,
            "records" => self.records = number,
            "leader-epochs" => self.leader_epochs = number,
            "controller-epochs" => self.controller_epochs = number,
            "partition-epochs" => self.partition_epochs = number,
            "crashes" => self.crashes = number,
            "suspicion" => self.suspicion = number != 0,
            "isr-requests" => self.isr_requests = number,
            "election-drops" => self.election_drops = number != 0,
            "wipes" => self.wipes = number,
            "restores" => self.restores = number,
            "delayed-fetches" => self.delayed_fetches = number != 0,
            "delayed-answers" => self.delayed_answers = number != 0,
            "node-crashes" => self.node_crashes = number,
            "only-confirmations" => self.only_confirmations = number != 0,
            "retries" => self.retries = number,
            _ => bail!("{name} is no setting; they are the fields of Config, with dashes"),
        }
        Ok(())
    }

    /// Two crashes and nothing else.
    fn base() -> Self {
        Self {
            mutants: Mutants::NONE,
            isr: 0b111,
            records: 2,
            leader_epochs: 3,
            controller_epochs: 1,
            partition_epochs: 9,
            crashes: 2,
            suspicion: false,
            isr_requests: 0,
            election_drops: false,
            wipes: 0,
            restores: 0,
            rollback: false,
            delayed_fetches: false,
            delayed_answers: false,
            deposed: false,
            confirmations: false,
            creation: false,
            deletion: false,
            former_holder: false,
            old_copy: false,
            only_confirmations: false,
            page_cache: false,
            node_crashes: 0,
            retries: 0,
        }
    }
}
