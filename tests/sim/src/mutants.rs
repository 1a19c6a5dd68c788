//! Rules that are broken, and the seed that shows each: the table in `docs/SIMULATION.md`.

use std::{fmt::Write as _, path::PathBuf};

use taffrail_core::replica::Mutant;

/// Where the table is.
pub fn document() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/SIMULATION.md"
    ))
}

/// `FsyncSkipped` is `fsync-skipped`.
pub fn name_of(mutant: Mutant) -> String {
    let mut name = String::new();
    for letter in format!("{mutant:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

/// The mutant of this name.
pub fn named(name: &str) -> Option<Mutant> {
    Mutant::ALL.into_iter().find(|m| name_of(*m) == name)
}

/// Mutants and their seeds, as `text` has them: rows that begin with a mutant and a seed.
pub fn seeds(text: &str) -> Vec<(Mutant, u64)> {
    let rows = text.lines().filter_map(row);
    rows.filter_map(|(mutant, seed, _)| Some((mutant, seed.trim().parse().ok()?)))
        .collect()
}

/// `text` with these seeds. Rows of other mutants, and what is said of each, stay.
pub fn with_seeds(text: &str, seeds: &[(Mutant, u64)]) -> String {
    let mut changed = String::with_capacity(text.len());
    for line in text.lines() {
        let found = row(line);
        let new = found.and_then(|(mutant, _, rest)| {
            let seed = seeds.iter().find(|(of, _)| *of == mutant)?.1;
            Some((name_of(mutant), seed, rest))
        });
        let _ = match new {
            Some((name, seed, rest)) => writeln!(changed, "| `{name}` | {seed} |{rest}"),
            None => writeln!(changed, "{line}"),
        };
    }
    changed
}

/// Its mutant, its seed if there is one, and the rest.
fn row(line: &str) -> Option<(Mutant, &str, &str)> {
    let (name, rest) = line.strip_prefix("| `")?.split_once("` |")?;
    let (seed, rest) = rest.split_once('|')?;
    Some((named(name)?, seed, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_of_the_table_are_replaced_and_nothing_else_is() {
        let text = "| mutant | seed | what |\n| `fsync-skipped` | | no fsync |\n| `no-epoch-check` | 4 | x |\nA line.\n";
        assert_eq!(seeds(text), [(Mutant::NoEpochCheck, 4)]);
        let changed = with_seeds(text, &[(Mutant::FsyncSkipped, 17)]);
        assert_eq!(changed, text.replace("| | no", "| 17 | no"));
    }
}
