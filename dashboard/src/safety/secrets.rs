//! Random values that only pages of this dashboard know, and how secrets are compared.

use subtle::ConstantTimeEq;

/// Values that are made when the router is made, so they end with the process.
pub(crate) struct Secrets {
    /// Every form contains it. A foreign page cannot read it.
    pub form: String,
    /// The cookie of those who have entered the token.
    pub session: String,
}

impl Secrets {
    pub fn new() -> Self {
        Self { form: random(), session: random() }
    }
}

/// 32 random bytes, in hexadecimal.
fn random() -> String {
    let mut bytes = [0; 32];
    // Without random numbers nothing here is safe, and no platform that the crate runs on is without them.
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares in a time that depends only on the lengths.
pub(crate) fn equal(given: &str, secret: &str) -> bool {
    given.as_bytes().ct_eq(secret.as_bytes()).into()
}
