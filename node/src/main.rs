//! The `klamm` binary.

fn main() -> std::process::ExitCode {
    klamm::cli::main()
}
