//! The tour's claims, each checked where it is made.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

#[derive(Default)]
pub struct Claims {
    held: usize,
    broken: Vec<String>,
}

impl Claims {
    /// Prints whether `claim` holds; `seen` is the evidence.
    pub fn check(&mut self, holds: bool, claim: &str, seen: impl Display) {
        println!("  {} {claim}\n      {seen}", if holds { "✓" } else { "✗ BROKEN:" });
        if holds {
            self.held += 1;
        } else {
            self.broken.push(format!("{claim} ({seen})"));
        }
    }

    /// Fails if a claim did not hold.
    pub fn conclude(self, took: Duration) -> Result<ExitCode> {
        if self.broken.is_empty() {
            println!("\nAll {} claims hold. The tour took {:.1} s.", self.held, took.as_secs_f64());
            return Ok(ExitCode::SUCCESS);
        }
        println!("\n{} claims are broken:", self.broken.len());
        for line in &self.broken {
            println!("  ✗ {line}");
        }
        Ok(ExitCode::FAILURE)
    }
}
