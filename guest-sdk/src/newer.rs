//! Calls of functions that the contract has gained after its first version.
//!
//! A host of an older version refuses a plugin that imports a function which it does not have. So a plugin must import only what
//! it uses: such a function is called through a pointer that is set by the methods which need it, and nowhere else.

use std::fmt;

/// A function that a newer version of the contract has. All are equal, so that values which differ only in this are equal.
#[derive(Clone, Copy)]
pub(crate) struct Newer<F>(pub F);

impl<F> PartialEq for Newer<F> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<F> Eq for Newer<F> {}

impl<F> fmt::Debug for Newer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Newer")
    }
}
