//! The attribute of `millpond-guest`: use it through that crate.
//!
//! It reads only as much of the function as it needs, its name, so that it needs no parser of Rust and a plugin builds in
//! seconds.

use proc_macro::{Group, Ident, Span, TokenStream, TokenTree};

/// What stands beside the function: the component's export, and on any other target the check that it could be one.
const BESIDE: &str = "
    const _: () = {
        #[cfg(target_arch = \"wasm32\")]
        struct Exported;
        #[cfg(target_arch = \"wasm32\")]
        impl ::millpond_guest::__private::Guest for Exported {
            fn handle(
                payload: ::millpond_guest::__private::Vec<u8>,
            ) -> ::core::result::Result<::millpond_guest::__private::Vec<u8>, ::millpond_guest::__private::HandleError> {
                ::millpond_guest::__private::run(payload, HANDLER)
            }
        }
        #[cfg(target_arch = \"wasm32\")]
        ::millpond_guest::__private::export!(Exported with_types_in ::millpond_guest::__private::bindings);
        #[cfg(not(target_arch = \"wasm32\"))]
        const _: fn() = || ::millpond_guest::__private::is_handler(HANDLER);
    };
";

/// Makes a function the handler that this plugin exports. See `millpond_guest`.
#[proc_macro_attribute]
pub fn handler(arguments: TokenStream, function: TokenStream) -> TokenStream {
    let beside = match arguments.into_iter().next() {
        Some(argument) => Err((argument.span(), "`#[handler]` takes no arguments")),
        None => name(function.clone()),
    };
    let beside = match beside {
        Ok(name) => filled_in(BESIDE.parse().expect("the template is Rust"), &name),
        Err((at, what)) => refusal(at, what),
    };
    // The function stays also where it is refused, or each of its names would be one more error.
    function.into_iter().chain(beside).collect()
}

/// The name of a plain function.
fn name(function: TokenStream) -> Result<Ident, (Span, &'static str)> {
    let mut tokens = function.into_iter();
    while let Some(token) = tokens.next() {
        let TokenTree::Ident(word) = &token else { continue };
        match word.to_string().as_str() {
            "async" => {
                return Err((word.span(), "a handler is not `async`: the calls of millpond_guest simply wait"));
            }
            "fn" => return named(&mut tokens).ok_or((word.span(), "a handler is a function with a name")),
            "struct" | "enum" | "impl" | "mod" | "trait" | "use" => break,
            _ => {}
        }
    }
    Err((Span::call_site(), "`#[handler]` belongs on a function: `fn(Payload) -> millpond_guest::Result<Reply>`"))
}

fn named(rest: &mut impl Iterator<Item = TokenTree>) -> Option<Ident> {
    match rest.next() {
        Some(TokenTree::Ident(name)) => Some(name),
        _ => None,
    }
}

/// The template with the function's name in it, where the function has it: so errors point at the function.
fn filled_in(template: TokenStream, name: &Ident) -> TokenStream {
    template
        .into_iter()
        .map(|token| match token {
            TokenTree::Ident(word) if word.to_string() == "HANDLER" => name.clone().into(),
            TokenTree::Group(group) => Group::new(group.delimiter(), filled_in(group.stream(), name)).into(),
            other => other,
        })
        .collect()
}

fn refusal(at: Span, what: &str) -> TokenStream {
    let error: TokenStream = format!("::core::compile_error!({what:?});").parse().expect("a string is Rust");
    error
        .into_iter()
        .map(|mut token| {
            token.set_span(at);
            token
        })
        .collect()
}
