//! The error of a plugin that was refused when it was registered.

use crate::job::PluginHash;
use crate::text::told;

/// Why a plugin was refused when it was registered. None of its code has run.
///
/// The names and messages in the fields are unchanged and can come from an untrusted plugin. The sentence that each variant
/// displays shows them [printable](crate::printable), and no more than 1 KiB of each.
///
/// ```
/// use millpond::{Error, Plugin, PluginError};
///
/// let refused = Plugin::from_bytes("junk", &b"not a module"[..]).unwrap_err();
/// assert!(matches!(refused, Error::Plugin { reason: PluginError::NotWasm, .. }));
/// assert_eq!(
///     refused.to_string(),
///     r#"plugin "junk" was refused: it is not WebAssembly: give the `.wasm` file that the build has made"#
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The bytes do not begin as a WebAssembly module or component does.
    #[error("it is not WebAssembly: give the `.wasm` file that the build has made")]
    NotWasm,
    /// The file is larger than the limit.
    #[error("it has {len} bytes, the limit is {max}")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// It is native code that was compiled ahead of time, which would run outside any sandbox.
    #[error("it is compiled already, which is native code and not sandboxed: give the `.wasm` file it was made from")]
    Precompiled,
    /// It is not valid WebAssembly, or uses a part of it that is switched off here.
    #[error("it is not valid here: {}", told(detail))]
    Invalid {
        /// The message of the validator.
        detail: String,
    },
    /// It is a module, which does not say for which interfaces it was made.
    #[error("it is a core module without interface types: build it with the guest SDK, or make it a component first")]
    NoInterface,
    /// Compiling it would take far too long or too much memory.
    #[error("compiling it would cost too much: {what} {found}, the limit is {max}")]
    TooComplex {
        /// What there is too much of.
        what: &'static str,
        /// How much of it.
        found: u64,
        /// The limit.
        max: u64,
    },
    /// It is made for another WIT world: it has no handler.
    #[error("it is no job handler: it does not export {export}")]
    NoHandler {
        /// What is missing.
        export: &'static str,
    },
    /// Its handler is of another type than this build's: it is made for another version of the contract.
    #[error(
        "its {} is of another type than this build calls: it is made for another version of the contract",
        told(export)
    )]
    OtherHandler {
        /// What it exports.
        export: String,
    },
    /// It needs something that this build does not have.
    #[error("it imports {}, which this build does not offer", told(import))]
    UnknownImport {
        /// What it needs.
        import: String,
    },
    /// It needs something that this build was compiled without.
    #[error("it imports {}, which was left out of this build: add the feature `{feature}` of `millpond`", told(import))]
    FeatureOff {
        /// What it needs.
        import: String,
        /// What to enable in the build.
        feature: &'static str,
    },
    /// It needs something that was not granted.
    #[error("it imports {}, which it was not granted: add `.grant({grant})`", told(import))]
    MissingGrant {
        /// What it needs.
        import: String,
        /// What would grant it.
        grant: &'static str,
    },
    /// It needs more at its start than its limits allow.
    #[error("it starts with {needs} {what}, its limit is {limit}")]
    OverLimits {
        /// Which resource.
        what: &'static str,
        /// How much it starts with.
        needs: u64,
        /// The limit.
        limit: u64,
    },
    /// A limit or a grant that cannot work.
    #[error("its {what} cannot work: {}", told(reason))]
    Misconfigured {
        /// Which limit or grant.
        what: &'static str,
        /// Why it cannot work.
        reason: String,
    },
    /// It is another version than the one that [`Plugin::expect`](crate::Plugin::expect) names.
    #[error("its SHA-256 is {found}, and {expected} is expected: give the file of that version, or expect this one")]
    UnexpectedVersion {
        /// The version that is expected.
        expected: PluginHash,
        /// The version that it is.
        found: PluginHash,
    },
    /// The compiler could not compile it.
    #[error("it could not be compiled: {}", told(detail))]
    NotCompiled {
        /// The message of the compiler.
        detail: String,
    },
}
