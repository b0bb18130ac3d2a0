//! The `framediff` command.
fn main() {}
