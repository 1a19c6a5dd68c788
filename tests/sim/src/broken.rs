//! Rules that are broken on purpose, and the seeds that show it.

use std::{fs, io, process::ExitCode};

use taffrail_core::replica::Mutant;
use taffrail_sim::{
    batch::{self, Plan},
    mutants::{self, Shown},
};

use crate::args::Args;

/// Each rule has to be seen broken by one of so many.
const SEEDS_OF_CI: u64 = 300;

/// Breaks every rule until a seed shows it.
pub(crate) fn break_all(args: &Args) -> io::Result<ExitCode> {
    let (mut caught, mut missed, mut undue) = (Vec::new(), 0, 0);
    for mutant in Mutant::ALL {
        let found = batch::run_all(Plan {
            count: args.count.max(SEEDS_OF_CI),
            failures_max: 1,
            shown: 0,
            mutant: Some(mutant),
            ..args.plan()
        });
        let name = mutants::name_of(mutant);
        if let Some(failure) = found.failures.first() {
            let (seed, shown) = (failure.seed, Shown::of(mutant, failure));
            // Whatever else fails may fail without the rule's own invariant.
            let how = if shown.is_due() { "caught" } else { "undue" };
            println!("{how:<6}  {name:<34} seed {seed:>4}: {}", failure.broken);
            undue += u32::from(!shown.is_due());
            caught.push(shown);
        } else {
            println!("missed  {name}");
            missed += 1;
        }
    }
    println!("{missed} missed, {undue} noticed by what is not for them");
    if args.save {
        let document = mutants::document();
        let text = fs::read_to_string(&document)?;
        fs::write(&document, mutants::with_shown(&text, &caught))?;
    }
    Ok(if missed == 0 && undue == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
