//! What is on the screen.

use std::collections::VecDeque;

use millpond::dashboard::api::{LiveEvent, Overview, Problem, Queue};
use millpond::printable;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table, TableState};

use super::super::queues::state;
use crate::output::{count, seconds};
use crate::units::size;

/// Events that are kept.
const EVENTS_MAX: usize = 200;

/// Looks whose rates the sparkline shows.
const RATES_MAX: usize = 240;

/// The state of the view.
pub(super) struct View {
    is_coloured: bool,
    overview: Option<Overview>,
    trouble: Option<String>,
    events: VecDeque<LiveEvent>,
    /// Jobs that were completed between two looks.
    rates: VecDeque<u64>,
    completed: Option<u64>,
    table: TableState,
}

impl View {
    pub fn new(is_coloured: bool) -> Self {
        Self {
            is_coloured,
            overview: None,
            trouble: None,
            events: VecDeque::new(),
            rates: VecDeque::new(),
            completed: None,
            table: TableState::default(),
        }
    }

    pub fn look(&mut self, overview: Overview) {
        let completed = overview.queues.iter().map(|queue| queue.counts.completed_total).sum::<u64>();
        if let Some(before) = self.completed.replace(completed) {
            push(&mut self.rates, completed.saturating_sub(before), RATES_MAX);
        }
        self.trouble = None;
        self.overview = Some(overview);
    }

    pub fn lose(&mut self, problem: &Problem) {
        self.trouble = Some(problem.to_string());
    }

    pub fn hear(&mut self, event: LiveEvent) {
        push(&mut self.events, event, EVENTS_MAX);
    }

    pub fn scroll(&mut self, by: isize) {
        let last = self.overview.as_ref().map_or(0, |overview| overview.queues.len().saturating_sub(1));
        let row = self.table.selected().unwrap_or(0).saturating_add_signed(by).min(last);
        self.table.select(Some(row));
    }

    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let parts = [Constraint::Length(2), Constraint::Length(4), Constraint::Min(4), Constraint::Length(9)];
        let [head, rate, queues, events] = Layout::vertical(parts).areas(frame.area());
        frame.render_widget(Paragraph::new(self.head()), head);
        self.draw_rate(frame, rate);
        self.draw_queues(frame, queues);
        self.draw_events(frame, events);
    }

    fn style(&self, color: Color) -> Style {
        if self.is_coloured { Style::new().fg(color) } else { Style::new() }
    }

    fn head(&self) -> Vec<Line<'static>> {
        let Some(overview) = &self.overview else {
            let why = self.trouble.as_deref().map(printable).unwrap_or("…".into());
            return vec![Line::raw(why.into_owned())];
        };
        let mut lines = vec![Line::raw(totals(overview))];
        let pause = overview.is_paused.then(|| "all queues are paused".to_owned());
        let degraded = overview.degraded.as_ref().map(|reason| format!("degraded: {}", printable(reason)));
        let trouble = self.trouble.as_ref().map(|why| printable(why).into_owned());
        if let Some(why) = trouble.or(degraded).or(pause) {
            lines.push(Line::styled(why, self.style(Color::Red).add_modifier(Modifier::BOLD)));
        }
        lines
    }

    fn draw_rate(&self, frame: &mut Frame<'_>, area: Rect) {
        let width = usize::from(area.width.saturating_sub(2));
        let shown: Vec<u64> = self.rates.iter().rev().take(width).rev().copied().collect();
        let title = format!(" completed at each look, {} at the latest ", count(shown.last().copied().unwrap_or(0)));
        let line = Sparkline::default().data(shown).style(self.style(Color::Green));
        frame.render_widget(line.block(Block::bordered().title(title)), area);
    }

    fn draw_queues(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let numbers = ["pending", "running", "later", "retry", "dead", "in/s", "out/s", "oldest"];
        let numbers = numbers.map(|name| Line::raw(name).right_aligned());
        let names = [Line::raw("queue")].into_iter().chain(numbers).chain([Line::raw("state")]);
        let queues = self.overview.as_ref().map(|overview| &overview.queues[..]).unwrap_or_default();
        let rows: Vec<_> = queues.iter().map(|queue| self.row(queue)).collect();
        let widths = [
            Constraint::Min(12),
            Constraint::Length(11),
            Constraint::Length(8),
            Constraint::Length(10),
            Constraint::Length(8),
            Constraint::Length(8),
            Constraint::Length(9),
            Constraint::Length(9),
            Constraint::Length(8),
            Constraint::Min(10),
        ];
        let table = Table::new(rows, widths)
            .header(Row::new(names).style(bold))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
            .block(Block::bordered().title(" queues "));
        frame.render_stateful_widget(table, area, &mut self.table);
    }

    fn row(&self, queue: &Queue) -> Row<'static> {
        let counts = &queue.counts;
        let dead = if counts.dead > 0 { self.style(Color::Red) } else { Style::new() };
        Row::new([
            Cell::from(printable(&queue.name).into_owned()),
            number(count(counts.pending)),
            number(count(counts.running)),
            number(count(counts.scheduled)),
            number(count(counts.retrying)),
            number(count(counts.dead)).style(dead),
            number(format!("{:.1}", queue.enqueued_per_second)),
            number(format!("{:.1}", queue.completed_per_second)),
            number(queue.oldest_ready_seconds.map(seconds).unwrap_or_default()),
            Cell::from(printable(&state(queue)).into_owned()),
        ])
    }

    fn draw_events(&self, frame: &mut Frame<'_>, area: Rect) {
        let height = usize::from(area.height.saturating_sub(2));
        let lines = self.events.iter().rev().take(height).rev().map(|event| {
            let job = event.job.as_deref().unwrap_or_default();
            let text =
                format!("{:<14} {:<12} {job} {}", event.kind, event.queue.as_deref().unwrap_or_default(), event.detail);
            Line::raw(printable(&text).into_owned())
        });
        let block = Block::bordered().title(" events ").title_bottom(" q ends, arrows scroll ");
        frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()).block(block), area);
    }
}

fn number(text: String) -> Cell<'static> {
    Cell::from(Line::raw(text).right_aligned())
}

fn totals(overview: &Overview) -> String {
    let sum = |of: fn(&Queue) -> u64| count(overview.queues.iter().map(of).sum());
    let file = overview.storage.file_bytes.map(|bytes| format!(", file {}", size(bytes))).unwrap_or_default();
    format!(
        "{} pending, {} running, {} scheduled, {} retrying, {} dead; {} commits{file}",
        sum(|queue| queue.counts.pending),
        sum(|queue| queue.counts.running),
        sum(|queue| queue.counts.scheduled),
        sum(|queue| queue.counts.retrying),
        sum(|queue| queue.counts.dead),
        count(overview.storage.commits),
    )
}

fn push<T>(kept: &mut VecDeque<T>, item: T, most: usize) {
    if kept.len() == most {
        kept.pop_front();
    }
    kept.push_back(item);
}

#[cfg(test)]
mod tests {
    use millpond::dashboard::api::{Code, Counts};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn screen(view: &mut View) -> String {
        let mut terminal = Terminal::new(TestBackend::new(120, 30)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn the_screen_shows_queues_rates_and_events_without_what_controls_a_terminal() {
        let mut view = View::new(false);
        assert!(screen(&mut view).contains('…'));
        let overview = |completed_total| Overview {
            queues: vec![Queue {
                name: "ma\u{1b}[2Jil".into(),
                counts: Counts { pending: 1_234, dead: 5, completed_total, ..Counts::default() },
                ..Queue::default()
            }],
            degraded: Some("the disk\u{9b} is full".into()),
            ..Overview::default()
        };
        view.look(overview(0));
        view.look(overview(77));
        view.hear(LiveEvent { kind: "dead".into(), detail: "reason \u{202e}x".into(), ..LiveEvent::default() });
        view.scroll(1);
        let shown = screen(&mut view);
        for text in
            ["1,234", "ma\\u{1b}[2Jil", "77 at the latest", "degraded: the disk\\u{9b} is full", "reason \\u{202e}x"]
        {
            assert!(shown.contains(text), "no {text:?} in\n{shown}");
        }
        view.lose(&Problem::new(Code::Unavailable, "gone"));
        assert!(screen(&mut view).contains("gone"));
    }

    #[test]
    fn a_small_terminal_is_no_error() {
        let mut view = View::new(true);
        view.look(Overview::default());
        let mut terminal = Terminal::new(TestBackend::new(5, 3)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
    }
}
