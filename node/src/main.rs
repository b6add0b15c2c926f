//! The `klamm` binary.

// A produce is two dozen small allocations, which this allocator makes for less than half of what the system's takes. It
// stands in for `malloc` itself: the Rust wrapper would take its slower aligned path.
extern crate mimalloc as _;

fn main() -> std::process::ExitCode {
    klamm::cli::main()
}
