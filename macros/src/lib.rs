//! The derive macro of the Millpond job queue. Use it through `millpond`, whose documentation describes it.

mod duration;
mod implement;
mod kebab;
mod settings;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `millpond::Kind`, and `HasQueue` and `HasOutput` if `#[kind(...)]` gives a queue or an output.
#[proc_macro_derive(Kind, attributes(kind))]
pub fn derive_kind(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    implement::kind(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
