//! The keys that are pressed.

use std::time::Duration;

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use tokio::sync::mpsc;

/// How long the thread waits for a key before it looks whether anybody still reads.
const WAIT: Duration = Duration::from_millis(200);

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Up,
    Down,
    /// The size of the terminal has changed.
    Redraw,
}

/// The keys from now on. The thread that reads them ends when nobody receives them any more.
pub(super) fn keys() -> mpsc::Receiver<Key> {
    let (tell, told) = mpsc::channel(16);
    std::thread::spawn(move || {
        while !tell.is_closed() {
            let key = match poll(WAIT) {
                Ok(true) => read().ok().and_then(|event| meaning(&event)),
                Ok(false) => None,
                Err(_) => return,
            };
            if let Some(key) = key
                && tell.blocking_send(key).is_err()
            {
                return;
            }
        }
    });
    told
}

fn meaning(event: &Event) -> Option<Key> {
    match event {
        Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) => match code {
            KeyCode::Char('q') | KeyCode::Esc => Some(Key::Quit),
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
            KeyCode::Up | KeyCode::Char('k') => Some(Key::Up),
            KeyCode::Down | KeyCode::Char('j') => Some(Key::Down),
            _ => None,
        },
        Event::Resize(..) => Some(Key::Redraw),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_control_c_end_the_view() {
        let press = |code, modifiers| meaning(&Event::Key(KeyEvent::new(code, modifiers)));
        for key in [KeyCode::Char('q'), KeyCode::Esc] {
            assert_eq!(press(key, KeyModifiers::NONE), Some(Key::Quit));
        }
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Quit));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::NONE), None);
    }
}
