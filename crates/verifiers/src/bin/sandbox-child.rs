//! The child side of the sandbox alone, for tests: a program of ours has it as a subcommand.

fn main() {
    ruminate_verifiers::sandbox::child_main(std::env::args_os().skip(1));
}
