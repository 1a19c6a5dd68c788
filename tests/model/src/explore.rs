//! Runs the checker over a configuration and says what it found.

use std::{collections::BTreeMap, fmt, time::Duration};

use stateright::{Checker as _, HasDiscoveries, Model as _, Path};

use crate::{
    action::Action,
    config::Config,
    invariants::Invariant,
    state::State,
    system::{REACHED, System},
};

/// When to stop although there is more.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// States generated.
    pub states: usize,
    /// Wall-clock time.
    pub time: Duration,
}

impl Default for Limits {
    /// 25 million states: with some 200 bytes each, what fits in memory.
    fn default() -> Self {
        Self {
            states: 25_000_000,
            time: Duration::from_mins(10),
        }
    }
}

/// How an exploration ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Every reachable state was seen, and every invariant holds in each.
    Everything,
    /// No invariant is broken up to `Exploration::depth`; there is more.
    NothingUntilLimit,
    /// This invariant is broken.
    Broken(Invariant),
}

/// What an exploration saw.
#[derive(Clone, Debug)]
pub struct Exploration {
    /// How it ended.
    pub found: Found,
    /// States generated.
    pub generated: usize,
    /// States told apart.
    pub unique: usize,
    /// The longest sequence of events.
    pub depth: usize,
    /// Was a record acknowledged under a later leader epoch? If not, the configuration says little.
    pub reached_later_epoch: bool,
    /// The shortest way to the broken invariant.
    pub steps: Vec<String>,
}

impl Exploration {
    /// Explores `config`, breadth first on one thread: the first counterexample is a shortest one, and each run is the same.
    pub fn of(config: Config, limits: Limits) -> Self {
        let checker = System { config }
            .checker()
            .threads(1)
            .timeout(limits.time)
            .target_state_count(limits.states)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs();
        let started = std::time::Instant::now();
        let checker = checker.join();
        let mut discoveries: BTreeMap<_, _> = checker.discoveries().into_iter().collect();
        let reached_later_epoch = discoveries.remove(REACHED).is_some();
        let broken = Invariant::ALL
            .into_iter()
            .find_map(|invariant| Some((invariant, discoveries.remove(invariant.name())?)));
        let generated = checker.state_count();
        let (found, steps) = match broken {
            Some((invariant, path)) => (Found::Broken(invariant), steps(path)),
            None if generated >= limits.states || started.elapsed() >= limits.time => {
                (Found::NothingUntilLimit, Vec::new())
            }
            None => (Found::Everything, Vec::new()),
        };
        Self {
            found,
            generated,
            unique: checker.unique_state_count(),
            depth: checker.max_depth(),
            reached_later_epoch,
            steps,
        }
    }
}

impl fmt::Display for Exploration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            generated,
            unique,
            depth,
            ..
        } = self;
        match self.found {
            Found::Everything => write!(f, "explored completely")?,
            Found::NothingUntilLimit => write!(f, "explored in part, breadth first")?,
            Found::Broken(invariant) => write!(f, "BROKEN: {}", invariant.name())?,
        }
        write!(
            f,
            "; {unique} states ({generated} generated), depth {depth}"
        )?;
        if !self.reached_later_epoch && self.steps.is_empty() {
            write!(f, "; not reached: {REACHED}")?;
        }
        for (index, step) in self.steps.iter().enumerate() {
            write!(f, "\n{:4}. {step}", index + 1)?;
        }
        Ok(())
    }
}

fn steps(path: Path<State, Action>) -> Vec<String> {
    path.into_actions()
        .iter()
        .map(|action| format!("{action:?}"))
        .collect()
}
