//! The seed of each broken rule shows it: the table in `docs/SIMULATION.md`.

use std::fs;

use taffrail_core::replica::Mutant;
use taffrail_sim::{
    Options,
    mutants::{document, name_of, seeds},
    run,
};

#[test]
fn a_broken_rule_is_noticed_by_the_seed_that_the_document_names() {
    let text = fs::read_to_string(document()).expect("the document is there");
    let seeds = seeds(&text);
    let has_seed = |mutant: &Mutant| seeds.iter().any(|(of, _)| of == mutant);
    let unknown: Vec<_> = Mutant::ALL.into_iter().filter(|m| !has_seed(m)).collect();
    assert!(
        unknown.is_empty(),
        "the document has no seed for {unknown:?}"
    );
    let is_missed = |(mutant, seed): &(_, _)| {
        let options = Options {
            shown: 0,
            mutant: Some(*mutant),
            ..Options::of(*seed)
        };
        run(options).is_ok()
    };
    let missed = seeds.into_iter().filter(is_missed);
    let missed: Vec<_> = missed.map(|(mutant, _)| name_of(mutant)).collect();
    assert!(
        missed.is_empty(),
        "not noticed: {}; a change of the simulation moves what seeds do: cargo xtask sim --mutants --save",
        missed.join(", ")
    );
}
