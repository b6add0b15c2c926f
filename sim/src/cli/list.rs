//! `klamm-sim list`: what a run may break, and what a campaign must reach.

use crate::properties::PROPERTIES;
use crate::{direct, world};

pub(super) fn run() -> u8 {
    println!("Properties:");
    for (name, sentence) in PROPERTIES {
        println!("  {name:<28} {sentence}");
    }
    for (engine, states) in [("world", world::SOMETIMES), ("direct", direct::SOMETIMES)] {
        println!("\nA large campaign of {engine} reaches:");
        for state in states {
            println!("  {state}");
        }
    }
    0
}
