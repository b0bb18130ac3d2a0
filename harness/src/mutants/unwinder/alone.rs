//! What an unwinder cannot get wrong where the interpreter stores in a certain order.

use super::Fault;

/// Why no lane can tell an unwinder with `fault` from the original, if none can. `anchor_first` says that the interpreter stores
/// the anchor before it counts, at every site of its own code.
#[must_use]
pub fn equivalent(fault: Fault, anchor_first: bool) -> Option<String> {
    (fault == Fault::NoSequenceCheckOnSecondLook && anchor_first).then(|| {
        "this build stores the anchor before it counts, at every site: between the two looks of a sample the anchor can have \
         changed without the sequence, and not the other way round, so that to compare the anchor is enough; unless another \
         profiler sets it back meanwhile, and no lane has two samples at a time"
            .to_owned()
    })
}
