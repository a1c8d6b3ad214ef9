//! The implementations that the derive writes.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Error, Result};

use crate::settings::Settings;

pub fn kind(input: &DeriveInput) -> Result<TokenStream> {
    if let Some(parameter) = input.generics.params.first() {
        let reason = "a kind is one type without parameters, because its name stands for one payload: derive it for a type that has none";
        return Err(Error::new_spanned(parameter, reason));
    }
    let Settings { krate, name, queue, codec, output, options } = Settings::of(input)?;
    let ident = &input.ident;
    let codec = codec.map(|codec| quote!(const CODEC: #krate::Codec = #krate::Codec::#codec;));
    let options = (!options.is_empty()).then(|| {
        quote! {
            fn options() -> #krate::KindOptions {
                #krate::KindOptions::new() #(#options)*
            }
        }
    });
    let queue = queue.map(|queue| {
        quote! {
            #[automatically_derived]
            impl #krate::HasQueue for #ident {
                const QUEUE: &'static str = #queue;
            }
        }
    });
    let output = output.map(|output| {
        quote! {
            #[automatically_derived]
            impl #krate::HasOutput for #ident {
                type Output = #output;
            }
        }
    });
    Ok(quote! {
        #[automatically_derived]
        impl #krate::Kind for #ident {
            const KIND: &'static str = #name;
            #codec
            #options
        }
        #queue
        #output
    })
}
