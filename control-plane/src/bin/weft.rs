//! The control plane and CLI of Weft.

use std::process::ExitCode;

fn main() -> ExitCode {
    weft_control_plane::cli::main()
}
