//! The attribute `#[kind(...)]`: what it can say, and what is refused.

use std::time::Duration;

use millpond_rules::{NAME_BYTES_MAX, PRIORITIES, is_name};
use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{DeriveInput, Error, Expr, ExprCall, Ident, Lit, LitInt, LitStr, Path, Result, Type, parse_quote};

use crate::duration;
use crate::kebab::kebab_case;

/// What `#[kind(...)]` may contain, for the errors.
const KNOWN: &str =
    "name, queue, codec, priority, max_attempts, at_most_once, backoff, timeout, weight, expires_in, output, crate";

/// The ways to write a back-off, for the errors.
const BACKOFFS: &str = "a back-off is `fixed(\"10s\")`, `exponential(\"2s\", \"1h\")` (the first wait and the longest), `list(\"1s\", \"1m\")`, or an expression of the type `Backoff`";

/// What is said about a kind. Values are checked where they are literals; others are expressions of the type that the method
/// of that name takes.
pub struct Settings {
    /// The path of the crate `millpond`.
    pub krate: Path,
    pub name: String,
    pub queue: Option<String>,
    /// The variant of `Codec`.
    pub codec: Option<Ident>,
    pub output: Option<Type>,
    /// Calls of the methods of `KindOptions`.
    pub options: Vec<TokenStream>,
}

impl Settings {
    pub fn of(input: &DeriveInput) -> Result<Self> {
        let mut given = Given::default();
        for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("kind")) {
            attribute.parse_nested_meta(|meta| given.take(&meta))?;
        }
        given.check(input)
    }
}

/// The values of the attribute.
#[derive(Default)]
struct Given {
    krate: Option<Path>,
    name: Option<LitStr>,
    queue: Option<LitStr>,
    codec: Option<LitStr>,
    priority: Option<Expr>,
    max_attempts: Option<Expr>,
    at_most_once: Option<Path>,
    backoff: Option<Expr>,
    timeout: Option<Expr>,
    weight: Option<Expr>,
    expires_in: Option<Expr>,
    output: Option<Type>,
}

impl Given {
    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let key = meta.path.get_ident().map(|key| key.unraw().to_string()).unwrap_or_default();
        match key.as_str() {
            "name" => once(&mut self.name, meta, |meta| meta.value()?.parse()),
            "queue" => once(&mut self.queue, meta, |meta| meta.value()?.parse()),
            "codec" => once(&mut self.codec, meta, |meta| meta.value()?.parse()),
            "priority" => once(&mut self.priority, meta, |meta| meta.value()?.parse()),
            "max_attempts" => once(&mut self.max_attempts, meta, |meta| meta.value()?.parse()),
            "at_most_once" => once(&mut self.at_most_once, meta, |meta| Ok(meta.path.clone())),
            "backoff" => once(&mut self.backoff, meta, |meta| meta.value()?.parse()),
            "timeout" => once(&mut self.timeout, meta, |meta| meta.value()?.parse()),
            "weight" => once(&mut self.weight, meta, |meta| meta.value()?.parse()),
            "expires_in" => once(&mut self.expires_in, meta, |meta| meta.value()?.parse()),
            "output" => once(&mut self.output, meta, |meta| meta.value()?.parse()),
            "crate" => once(&mut self.krate, meta, |meta| meta.value()?.call(Path::parse_mod_style)),
            _ => Err(meta.error(format!("`#[kind(...)]` has no such setting: it can contain {KNOWN}"))),
        }
    }

    fn check(self, input: &DeriveInput) -> Result<Settings> {
        let krate = self.krate.unwrap_or_else(|| parse_quote!(::millpond));
        let mut options = Vec::new();
        if let Some(priority) = &self.priority {
            options.push(priority_call(priority, &krate)?);
        }
        if let Some(attempts) = &self.max_attempts {
            check_attempts(attempts, self.at_most_once.is_some())?;
            options.push(quote!(.max_attempts(#attempts)));
        }
        if self.at_most_once.is_some() {
            options.push(quote!(.at_most_once()));
        }
        if let Some(backoff) = &self.backoff {
            let backoff = backoff_value(backoff, &krate)?;
            options.push(quote!(.backoff(#backoff)));
        }
        if let Some(timeout) = &self.timeout {
            let timeout = positive(timeout, "a timeout of zero would fail every attempt")?;
            options.push(quote!(.timeout(#timeout)));
        }
        if let Some(weight) = &self.weight {
            options.push(quote!(.weight(#weight)));
        }
        if let Some(expires_in) = &self.expires_in {
            let expires_in = positive(expires_in, "with an expiry of zero no job would run")?;
            options.push(quote!(.expires_in(#expires_in)));
        }
        Ok(Settings {
            name: kind_name(self.name.as_ref(), &input.ident)?,
            queue: self.queue.as_ref().map(|queue| checked_name("queue", &queue.value(), queue)).transpose()?,
            codec: self.codec.as_ref().map(codec).transpose()?,
            output: self.output,
            options,
            krate,
        })
    }
}

/// Reads the value of one setting, which must not be given twice.
fn once<T>(
    into: &mut Option<T>,
    meta: &ParseNestedMeta<'_>,
    read: impl FnOnce(&ParseNestedMeta<'_>) -> Result<T>,
) -> Result<()> {
    if into.is_some() {
        return Err(meta.error("it is given twice"));
    }
    *into = Some(read(meta)?);
    Ok(())
}

fn kind_name(given: Option<&LitStr>, ident: &Ident) -> Result<String> {
    if let Some(name) = given {
        return checked_name("kind", &name.value(), name);
    }
    let name = kebab_case(&ident.unraw().to_string());
    match is_name(&name) {
        true => Ok(name),
        false => Err(Error::new(
            ident.span(),
            format!(
                "the name of this type makes no valid name of a kind ({name:?}): give one with `#[kind(name = \"...\")]`"
            ),
        )),
    }
}

fn checked_name(what: &str, name: &str, at: &impl Spanned) -> Result<String> {
    match is_name(name) {
        true => Ok(name.to_owned()),
        false => Err(Error::new(
            at.span(),
            format!("{name:?} is no valid name of a {what}: use 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . _ : -"),
        )),
    }
}

fn codec(name: &LitStr) -> Result<Ident> {
    let variant = match name.value().as_str() {
        "json" => "Json",
        "postcard" => "Postcard",
        _ => return Err(Error::new(name.span(), "the codec of a type is \"json\" or \"postcard\"")),
    };
    Ok(Ident::new(variant, name.span()))
}

fn priority_call(priority: &Expr, krate: &Path) -> Result<TokenStream> {
    let Some(level) = integer(priority) else { return Ok(quote!(.priority(#priority))) };
    match level.base10_parse::<u8>() {
        // The default stands for a level that was checked here.
        Ok(value) if value < PRIORITIES => Ok(quote!(.priority(#krate::Priority::new(#level).unwrap_or_default()))),
        _ => Err(Error::new(level.span(), "a priority is from 0 (first) to 9 (last)")),
    }
}

fn check_attempts(attempts: &Expr, at_most_once: bool) -> Result<()> {
    let Some(number) = integer(attempts) else { return Ok(()) };
    match number.base10_parse::<u32>()? {
        0 => Err(Error::new(number.span(), "0 attempts would never run the job: the least is 1")),
        2.. if at_most_once => {
            let reason = "a job that runs at most once has one attempt: leave out `max_attempts` or `at_most_once`";
            Err(Error::new(number.span(), reason))
        }
        _ => Ok(()),
    }
}

/// A duration as text, or an expression of the type `Duration`.
fn duration_value(value: &Expr) -> Result<(TokenStream, Option<Duration>)> {
    let Expr::Lit(literal) = value else { return Ok((quote!(#value), None)) };
    let Lit::Str(text) = &literal.lit else {
        return Err(Error::new(
            value.span(),
            "a duration is a text such as \"30s\", or an expression of the type `Duration`",
        ));
    };
    let duration = duration::parse(&text.value()).map_err(|error| Error::new(text.span(), error))?;
    let (seconds, nanoseconds) = (duration.as_secs(), duration.subsec_nanos());
    Ok((quote!(::core::time::Duration::new(#seconds, #nanoseconds)), Some(duration)))
}

fn positive(value: &Expr, if_zero: &str) -> Result<TokenStream> {
    match duration_value(value)? {
        (_, Some(Duration::ZERO)) => Err(Error::new(value.span(), if_zero)),
        (value, _) => Ok(value),
    }
}

/// `fixed("10s")`, `exponential("2s", "1h")`, `list("1s", "1m")`, or an expression of the type `Backoff`.
fn backoff_value(value: &Expr, krate: &Path) -> Result<TokenStream> {
    let (name, arguments) = match value {
        Expr::Call(ExprCall { func, args, .. }) => match &**func {
            Expr::Path(path) => (path.path.get_ident().map(Ident::to_string).unwrap_or_default(), args),
            _ => return Ok(quote!(#value)),
        },
        Expr::Lit(_) => return Err(Error::new(value.span(), BACKOFFS)),
        _ => return Ok(quote!(#value)),
    };
    if !["fixed", "exponential", "list"].contains(&name.as_str()) {
        return Ok(quote!(#value));
    }
    let waits: Vec<TokenStream> = arguments.iter().map(|wait| Ok(duration_value(wait)?.0)).collect::<Result<_>>()?;
    match (name.as_str(), &waits[..]) {
        ("fixed", [wait]) => Ok(quote!(#krate::Backoff::Fixed(#wait))),
        ("exponential", [base, cap]) => Ok(quote!(#krate::Backoff::Exponential { base: #base, cap: #cap })),
        ("list", [_, ..]) => Ok(quote!(#krate::Backoff::List(::std::vec![#(#waits),*]))),
        _ => Err(Error::new(value.span(), BACKOFFS)),
    }
}

fn integer(value: &Expr) -> Option<&LitInt> {
    match value {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(number) => Some(number),
            _ => None,
        },
        _ => None,
    }
}
