//! One thing, a field on each line.

use super::screen::{bold, is_coloured, line, safe};
use crate::Result;

/// Names with their values, in the order in which they are added.
#[derive(Default)]
pub struct Fields {
    fields: Vec<(&'static str, String)>,
}

impl Fields {
    pub fn add(&mut self, name: &'static str, value: impl Into<String>) -> &mut Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Adds a field if there is a value.
    pub fn maybe(&mut self, name: &'static str, value: Option<impl Into<String>>) -> &mut Self {
        if let Some(value) = value {
            self.add(name, value);
        }
        self
    }

    /// Prints them. The lines of a value are aligned.
    pub fn print(&self) -> Result<()> {
        let width = self.fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let is_coloured = is_coloured();
        for (name, value) in &self.fields {
            let mut name = bold(&format!("{name:width$}"), is_coloured);
            for text in value.split('\n') {
                line(format!("{name}  {}", safe(text)).trim_end())?;
                name = " ".repeat(width);
            }
        }
        Ok(())
    }
}
