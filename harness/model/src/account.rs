//! A target's own account of its stack.

/// One frame of a target's own account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFrame {
    /// The code object's `co_qualname`, as the target reports it.
    pub function: String,
    /// The code object's `co_filename`, as the target reports it.
    pub file: String,
    /// `f_lineno`; `None` for an artificial instruction.
    pub line: Option<i32>,
    /// End line, column and end column of its instruction in `co_positions()`; `None` if the program does not report
    /// them.
    pub place: Option<AccountColumns>,
}

/// End line, column and end column.
pub type AccountColumns = (Option<i32>, Option<u32>, Option<u32>);
