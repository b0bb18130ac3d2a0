//! The command line: arguments, exit codes, verbs.
