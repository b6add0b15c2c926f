//! The `klamm-sim` binary.

fn main() -> std::process::ExitCode {
    klamm_sim::cli::main()
}
