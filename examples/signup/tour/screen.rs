//! Live progress: on a terminal rows that are drawn over each other, elsewhere a line from time to time.

use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, Instant};

/// Time between two lines if the output is not a terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(2);

/// Short enough for the counts to fit into 80 columns: a line that wraps cannot be drawn over.
const BAR_CELLS: u64 = 16;

/// The progress of one row.
pub struct Row {
    pub name: &'static str,
    pub done: u64,
    pub failed: u64,
    pub total: u64,
    pub note: String,
}

impl Row {
    fn drawn(&self) -> String {
        let cells = |share: u64| ((share * BAR_CELLS).checked_div(self.total).unwrap_or(0).min(BAR_CELLS)) as usize;
        let (done, failed) = (cells(self.done), cells(self.done + self.failed) - cells(self.done));
        let bar = "█".repeat(done) + &"▒".repeat(failed) + &"·".repeat(BAR_CELLS as usize - done - failed);
        let count = format!("{}/{}", grouped(self.done), grouped(self.total));
        format!("  {:<9}  {bar}  {count:>11}  {}", self.name, self.note)
    }

    fn plain(&self) -> String {
        let note = if self.note.is_empty() { String::new() } else { format!(" ({})", self.note) };
        format!("{} {}/{}{note}", self.name, grouped(self.done), grouped(self.total))
    }
}

pub struct Screen {
    draws: bool,
    lines_drawn: usize,
    chapters: u32,
    chapter_begun: Instant,
    plain_at: Instant,
}

impl Screen {
    pub fn new() -> Self {
        let now = Instant::now();
        Self { draws: stdout().is_terminal(), lines_drawn: 0, chapters: 0, chapter_begun: now, plain_at: now }
    }

    pub fn chapter(&mut self, title: &str) {
        self.chapters += 1;
        let title = format!("{}. {title}", self.chapters);
        println!("\n{}\n", if self.draws { format!("\x1b[1m{title}\x1b[0m") } else { title });
        self.chapter_begun = Instant::now();
        self.plain_at = self.chapter_begun;
    }

    /// Shows rows in place of those shown before.
    pub fn show(&mut self, rows: &[Row]) {
        if self.draws {
            self.draw(rows);
        } else if self.plain_at.elapsed() >= PLAIN_EVERY {
            self.plain_at = Instant::now();
            let line: Vec<String> = rows.iter().map(Row::plain).collect();
            println!("  {:>4.1} s  {}", self.chapter_begun.elapsed().as_secs_f64(), line.join(", "));
        }
    }

    /// Shows rows that stay: the next ones are below.
    pub fn settle(&mut self, rows: &[Row]) {
        self.draw(rows);
        self.lines_drawn = 0;
        println!();
    }

    fn draw(&mut self, rows: &[Row]) {
        let mut frame = String::new();
        if self.lines_drawn > 0 {
            frame += &format!("\x1b[{}A", self.lines_drawn);
        }
        for row in rows {
            frame += &row.drawn();
            frame += if self.draws { "\x1b[K\n" } else { "\n" };
        }
        self.lines_drawn = if self.draws { rows.len() } else { 0 };
        print!("{frame}");
        // The tour continues if the terminal is gone.
        let _ = stdout().flush();
    }
}

/// `12345` as `12,345`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
