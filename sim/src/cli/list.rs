//! `klamm-sim list`: what a run may break, and what a campaign must reach.

use crate::properties::{PROPERTIES, Property};
use crate::{direct, world};
use std::io::{self, Write};

pub(super) fn run() -> u8 {
    // Whoever reads may have seen enough.
    let _ = print(&mut io::stdout().lock());
    0
}

fn print(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "Properties:")?;
    for Property { name, says, source, file } in PROPERTIES {
        writeln!(out, "  {name:<28} {says}\n  {:<28} ({source}; {file})", "")?;
    }
    for (engine, states) in [("world", world::SOMETIMES), ("direct", direct::SOMETIMES)] {
        writeln!(out, "\nA large campaign of {engine} reaches:")?;
        for state in states {
            writeln!(out, "  {state}")?;
        }
    }
    Ok(())
}
