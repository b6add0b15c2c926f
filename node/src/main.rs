//! The `klamm` binary.

// A produce makes some small allocations, which this allocator makes for less than half of what the system's takes. It
// stands in for `malloc` itself: the Rust wrapper would take its slower aligned path. Without huge pages: a broker at rest
// is smaller than a few of them.
use libmimalloc_sys::mi_collect;

fn main() -> std::process::ExitCode {
    // SAFETY: any thread may call it at any time: it gives back what nobody uses.
    klamm::cli::main(|| unsafe { mi_collect(true) })
}
