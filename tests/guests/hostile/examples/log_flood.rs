//! Logs as many lines as its payload says: terminal escapes, line breaks, text that turns round, 100 kB at a time.

use millpond_guest::{Result, error, info};

#[millpond_guest::handler]
fn flood(lines: u32) -> Result<u32> {
    let long = "\u{7}long ".repeat(16 * 1024);
    for n in 0..lines {
        match n % 4 {
            0 => info!("\x1b]0;owned\x07\x1b[2J\x1b[31mred {n}"),
            1 => info!("one\r\nERROR forged line {n}\n\0"),
            2 => error!("\u{202e}desrever {n}\u{2028}\u{9b}31m"),
            _ => info!("{n} {long}"),
        }
    }
    Ok(lines)
}
