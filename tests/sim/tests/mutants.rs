//! The seed of each broken rule shows it, and what notices it: the table in `docs/SIMULATION.md`.

use std::fs;

use taffrail_core::replica::Mutant;
use taffrail_sim::{
    Options,
    mutants::{Shown, document, name_of, shown},
    run,
};

/// How the run of this seed differs from what the document says of it.
fn difference(expected: &Shown) -> Option<String> {
    let outcome = run(Options {
        shown: 0,
        mutant: Some(expected.mutant),
        ..Options::of(expected.seed)
    });
    let name = name_of(expected.mutant);
    match outcome {
        Ok(_) => Some(format!("{name} is not noticed")),
        Err(failure) => {
            let found = Shown::of(expected.mutant, &failure);
            (found != *expected).then(|| format!("{name} is noticed by: {}", found.by))
        }
    }
}

#[test]
fn a_broken_rule_is_noticed_by_the_seed_and_the_invariant_that_the_document_names() {
    let text = fs::read_to_string(document()).expect("the document is there");
    let shown = shown(&text);
    let has_seed = |mutant: &Mutant| shown.iter().any(|shown| shown.mutant == *mutant);
    let unknown: Vec<_> = Mutant::ALL.into_iter().filter(|m| !has_seed(m)).collect();
    assert!(
        unknown.is_empty(),
        "the document has no seed for {unknown:?}"
    );
    let undue: Vec<_> = shown.iter().filter(|shown| !shown.is_due()).collect();
    assert!(undue.is_empty(), "not by their own invariants: {undue:?}");
    let differences: Vec<_> = shown.iter().filter_map(difference).collect();
    assert!(
        differences.is_empty(),
        "{}; a change of the simulation moves what seeds do: cargo xtask sim --mutants --save",
        differences.join(", ")
    );
}
