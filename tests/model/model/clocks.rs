//! The invariant: a job is not due before its time. A delay counts the time of the engine, which follows the wall clock
//! forward and never goes back; a time counts by the wall clock. An age is time that has passed, whatever the wall clock
//! is set to; it also grows while the file is closed, as far as that can be known.

use super::{CLOCKS_SET_FROM, Due, Line, Model};

impl Model {
    pub fn advance(&mut self, millis: u64) {
        self.now.wall += millis;
        self.now.mono += millis;
        self.now.engine += millis;
        self.now.age += millis;
        self.now.counted += millis;
        self.follow_the_wall_clock();
    }

    pub fn set_wall(&mut self, wall: u64) {
        self.now.wall = wall;
        self.follow_the_wall_clock();
    }

    /// The engine's time follows the wall clock forward, and never goes back.
    fn follow_the_wall_clock(&mut self) {
        if self.now.wall > self.now.engine + 1_000 {
            self.now.engine = self.now.wall;
        }
        self.now.counted = self.now.counted.max(self.now.wall);
    }

    /// The file was closed for `down` milliseconds, and then the wall clock shows `wall`.
    pub(super) fn was_away(&mut self, down: u64, wall: u64) {
        let is_set = |wall| wall >= CLOCKS_SET_FROM;
        let last = self.now.wall;
        // It is unknown how much time lies between a clock that has been set and one that has not.
        let passed = if is_set(last) == is_set(wall) { wall.saturating_sub(last) } else { 0 };
        self.now.engine = (self.now.engine + passed).max(wall);
        if is_set(wall) && is_set(self.now.counted) {
            self.now.age += wall.saturating_sub(self.now.counted);
        }
        self.now.counted = self.now.counted.max(wall);
        self.now.wall = wall;
        self.now.mono += down;
    }

    pub(super) fn is_due(&self, due: Due) -> bool {
        due.at <= self.on(due.line)
    }

    pub(super) fn on(&self, line: Line) -> u64 {
        match line {
            Line::Wall => self.now.wall,
            Line::Engine => self.now.engine,
            Line::Age => self.now.age,
        }
    }

    pub(super) fn waits(&self, id: u64) -> bool {
        self.jobs[&id].due.is_some_and(|due| !self.is_due(due))
    }
}
