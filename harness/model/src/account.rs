//! What a target says of its own stack.

/// One frame of a target's own account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFrame {
    /// `co_qualname`.
    pub function: String,
    /// `co_filename`.
    pub file: String,
    /// `f_lineno`; absent on an artificial instruction.
    pub line: Option<i32>,
    /// End line, column and end column of its instruction in `co_positions()`; absent where the program does not tell them.
    pub place: Option<Place>,
}

/// End line, column and end column.
pub type Place = (Option<i32>, Option<u32>, Option<u32>);
