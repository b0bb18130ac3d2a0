//! What is said about a user's program that ended with an error.

use model::workload::user_program::UserProgram;
use process::target::{ChildEnd, Ended};

/// A hint at what may be wrong with a program that ended with an error.
pub(super) fn advice(ended: &Ended, program: &UserProgram) -> String {
    let is_no_python =
        ["SyntaxError:", "IndentationError:", "TabError:"].iter().any(|name| ended.stderr.contains(name));
    match ended.end {
        ChildEnd::Exited(_) if is_no_python => "; this interpreter cannot compile it".to_owned(),
        ChildEnd::Exited(_) if !program.file.exists() => {
            "; its file is gone, and each walker starts the program anew: did the program remove it?".to_owned()
        }
        ChildEnd::Exited(_) if ended.stderr.contains("EOFError:") => "; a program gets no input here".to_owned(),
        ChildEnd::Exited(_) if program.arguments.is_empty() => "; if it needs arguments, give them after --".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_gets_the_advice_that_fits() {
        let ended = |end, stderr: &str| Ended { pid: 7, end, stderr: stderr.to_owned(), failed_in: None };
        let program = |arguments: &[&str]| UserProgram {
            file: concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into(),
            source: Vec::new(),
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
        };
        let failed = |stderr| ended(ChildEnd::Exited(1), stderr);
        assert!(advice(&failed("SyntaxError: invalid syntax"), &program(&["a"])).contains("cannot compile"));
        assert!(advice(&failed("usage: p.py X"), &program(&[])).contains("after --"));
        assert_eq!(advice(&failed("usage: p.py X"), &program(&["a"])), "");
        assert!(advice(&failed("EOFError: EOF when reading a line"), &program(&[])).contains("no input"));
        let removed = UserProgram { file: "/no/such/p.py".into(), ..program(&[]) };
        assert!(advice(&failed("can't open file '/no/such/p.py'"), &removed).contains("remove it"));
        let killed = ended(ChildEnd::Killed(nix::sys::signal::Signal::SIGSEGV), "");
        assert_eq!(advice(&killed, &program(&[])), "");
    }
}
