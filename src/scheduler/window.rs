//! The next rows of one table range in dispatch order, as many as memory allows.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::limits::WindowLimits;
use crate::job::{IdSet, JobId, Order, ReadyJob, Refill};

/// What a window needs to know of a row.
pub(crate) trait Source {
    fn order(&self) -> Order;
    fn id(&self) -> JobId;
    fn bytes(&self) -> usize;
}

impl Source for Arc<ReadyJob> {
    fn order(&self) -> Order {
        self.order
    }

    fn id(&self) -> JobId {
        self.id
    }

    fn bytes(&self) -> usize {
        self.bytes as usize
    }
}

/// The next rows of one table range in dispatch order: as many as memory allows.
///
/// The rows up to and including `known` are accounted for: each is here, handed out, parked, or passed over. Behind `known`
/// the table can have rows that this window does not know of, unless `whole` is set. Only a page raises `known`: nothing
/// else shows which rows follow.
///
/// Rows are kept by their *places*: their positions in dispatch order, which are reversed if the newest rows come first.
#[derive(Debug)]
pub(crate) struct Window<E> {
    rows: BTreeMap<Place, E>,
    bytes: usize,
    known: Option<Place>,
    /// The window accounts for every row of the table.
    whole: bool,
    /// The size of the row that was dropped last, which is the first row that is only in the table. Reading it again is
    /// useless until it fits.
    dropped_bytes: usize,
    /// Set while a page is being read: commits in that time are noted here, because the page may or may not show them.
    reading: Option<Reading<E>>,
    /// Of equally urgent rows, the one with the highest position comes first.
    newest_first: bool,
    limits: WindowLimits,
}

/// [`Order::place`]. Places are always in dispatch order.
type Place = Order;

#[derive(Debug)]
struct Reading<E> {
    arrived: Vec<E>,
    gone: IdSet,
    /// The page must be ignored, because too many rows arrived while it was read or the window was restarted.
    void: bool,
}

impl<E: Source> Window<E> {
    pub fn new(limits: WindowLimits) -> Self {
        Self {
            rows: BTreeMap::new(),
            bytes: 0,
            known: None,
            whole: true,
            dropped_bytes: 0,
            reading: None,
            newest_first: false,
            limits,
        }
    }

    /// Sets whether the newest of equally urgent rows come first, and forgets all rows.
    pub fn set_newest_first(&mut self, newest_first: bool) {
        self.newest_first = newest_first;
        self.restart();
    }

    /// The place of an order, and the order of a place.
    fn turned(&self, order: Order) -> Place {
        order.place(self.newest_first)
    }

    fn place(&self, row: &E) -> Place {
        self.turned(row.order())
    }

    /// Whether the window is empty and the table may have rows.
    pub fn needs_page(&self) -> bool {
        self.rows.is_empty() && !self.whole
    }

    /// Whether the window accounts for every row of the table.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether a row that is less urgent than `priority` is here, or may be in the table behind these.
    pub fn may_have_behind(&self, priority: u8) -> bool {
        !self.whole || self.rows.last_key_value().is_some_and(|(order, _)| order.priority > priority)
    }

    /// A row was committed. `taken` says that a page has shown it before, and it was handed out.
    pub fn arrive(&mut self, row: E, taken: bool) {
        let place = self.place(&row);
        if taken || self.rows.contains_key(&place) {
            return;
        }
        if !self.accounts_for(place) {
            self.note_arrival(row);
            return;
        }
        self.insert(row);
        self.drop_excess();
    }

    fn note_arrival(&mut self, row: E) {
        let limit = self.limits.jobs_max;
        if let Some(reading) = &mut self.reading {
            if reading.arrived.len() < limit {
                // If the job has left the table before, it stays in `gone`: the page may show it at its old position.
                reading.arrived.push(row);
            } else {
                reading.void = true;
            }
        }
    }

    /// A row left the table.
    pub fn gone(&mut self, order: Order, id: JobId) {
        self.remove(order, id);
        if let Some(reading) = &mut self.reading {
            reading.arrived.retain(|row| row.id() != id);
            reading.gone.insert(id);
        }
    }

    /// A row that was popped, or that was chosen from elsewhere, left the table.
    pub fn settled(&mut self, id: JobId) {
        if let Some(reading) = &mut self.reading {
            reading.arrived.retain(|row| row.id() != id);
            reading.gone.insert(id);
        }
    }

    /// Removes a row. It stays accounted for if it was.
    pub fn remove(&mut self, order: Order, id: JobId) {
        let place = self.turned(order);
        if self.rows.get(&place).is_some_and(|row| row.id() == id) {
            let row = self.rows.remove(&place).expect("it was there a line ago");
            self.bytes -= row.bytes();
        }
    }

    /// Removes and returns the first row. It stays accounted for.
    pub fn pop(&mut self) -> Option<E> {
        let (_, row) = self.rows.pop_first()?;
        self.bytes -= row.bytes();
        Some(row)
    }

    pub fn first(&self) -> Option<&E> {
        self.rows.first_key_value().map(|(_, row)| row)
    }

    /// Puts back a row that was popped and did not start. If it lies behind `known`, it stays in the table only, and a later
    /// page shows it.
    pub fn put_back(&mut self, row: E) {
        if self.accounts_for(self.place(&row)) {
            self.insert(row);
            self.drop_excess();
        } else {
            tracing::trace!("a row that is put back stays in the table");
        }
    }

    /// Whether the row at this position is accounted for and is not in the window.
    pub fn has_passed(&self, order: Order) -> bool {
        let place = self.turned(order);
        self.accounts_for(place) && !self.rows.contains_key(&place)
    }

    fn accounts_for(&self, place: Place) -> bool {
        self.whole || self.known.is_some_and(|known| place <= known)
    }

    /// Forgets all rows: the table is read again from its start.
    pub fn restart(&mut self) {
        self.rows.clear();
        self.bytes = 0;
        self.known = None;
        self.whole = false;
        self.dropped_bytes = 0;
        if let Some(reading) = &mut self.reading {
            reading.void = true;
        }
    }

    /// Rows in memory, for tests.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.rows.len() + self.reading.as_ref().map_or(0, |reading| reading.arrived.len())
    }

    pub fn wants_refill(&mut self, limits: WindowLimits) -> Option<Refill> {
        let low = self.rows.len() <= limits.jobs_max / 2 && self.bytes <= limits.bytes_max / 2;
        let fits = self.rows.is_empty() || self.bytes + self.dropped_bytes <= limits.bytes_max;
        if self.whole || self.reading.is_some() || !low || !fits {
            return None;
        }
        self.reading = Some(Reading { arrived: Vec::new(), gone: IdSet::default(), void: false });
        Some(Refill {
            queue: 0,
            grouped: false,
            newest_first: self.newest_first,
            after: self.known.map(|place| self.turned(place)),
            jobs_max: limits.jobs_max - self.rows.len(),
            bytes_max: limits.bytes_max - self.bytes,
        })
    }

    pub fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    pub fn page_failed(&mut self) {
        self.reading = None;
    }

    /// Adds the page that was requested. `end` says that no row follows it.
    pub fn refilled(&mut self, page: Vec<E>, end: bool, taken: impl Fn(&E) -> bool) {
        let Some(reading) = self.reading.take() else { return };
        if reading.void {
            tracing::trace!("a page that was read meanwhile is ignored");
            return;
        }
        if self.known.is_some() {
            tracing::trace!("a window is filled behind the rows that it accounts for");
        }
        if let Some(last) = page.last() {
            self.known = Some(self.place(last));
        }
        self.whole = end;
        self.dropped_bytes = 0;
        let last = self.rows.last_key_value().map(|(place, _)| *place);
        let is_here = |row: &E| {
            let place = self.place(row);
            last.is_some_and(|last| place <= last) && self.rows.contains_key(&place)
        };
        let is_new = |row: &E| !taken(row) && !reading.gone.contains(&row.id()) && !is_here(row);
        let mut new: BTreeMap<_, _> = page.into_iter().filter(is_new).map(|row| (self.place(&row), row)).collect();
        self.bytes += new.values().map(E::bytes).sum::<usize>();
        // All at once: the page is in order, so no place has to be searched for.
        self.rows.append(&mut new);
        for row in reading.arrived {
            let handed_out = taken(&row);
            self.arrive(row, handed_out);
        }
        self.drop_excess();
    }

    fn insert(&mut self, row: E) {
        self.bytes += row.bytes();
        if let Some(before) = self.rows.insert(self.place(&row), row) {
            self.bytes -= before.bytes();
        }
    }

    /// Drops the last rows while there are too many: they stay in the table.
    fn drop_excess(&mut self) {
        while self.rows.len() > 1 && (self.rows.len() > self.limits.jobs_max || self.bytes > self.limits.bytes_max) {
            tracing::trace!("a window is full: its last row stays in the table");
            let (place, row) = self.rows.pop_last().expect("more than one");
            self.bytes -= row.bytes();
            // The rows before the dropped row stay accounted for, the row itself does not. `known` never rises here:
            // the rows between it and a row behind it were not read.
            let before = place.before();
            let known = if self.whole { before } else { self.known.min(before) };
            if known == before {
                // It is the first row that is only in the table.
                self.dropped_bytes = row.bytes();
            }
            self.known = known;
            self.whole = false;
            if let Some(reading) = &mut self.reading {
                // The page begins behind a position that is no longer the end of the accounted rows.
                reading.void = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Its position. The last two digits are the job.
    #[derive(Debug, Clone)]
    struct Row(u64);

    impl Source for Row {
        fn order(&self) -> Order {
            Order { priority: 0, position: self.0 }
        }
        fn id(&self) -> JobId {
            JobId::new(self.0 % 100)
        }
        fn bytes(&self) -> usize {
            1
        }
    }

    fn window(jobs_max: usize) -> Window<Row> {
        Window::new(WindowLimits { jobs_max, bytes_max: 1 << 20, mark_after: std::time::Duration::ZERO })
    }

    fn limits(jobs_max: usize) -> WindowLimits {
        WindowLimits { jobs_max, bytes_max: 1 << 20, mark_after: std::time::Duration::ZERO }
    }

    fn drain(window: &mut Window<Row>) -> Vec<u64> {
        std::iter::from_fn(|| window.pop()).map(|row| row.0).collect()
    }

    #[test]
    fn a_full_window_drops_its_last_rows_and_reads_them_again() {
        let mut w = window(2);
        for n in 1..=5 {
            w.arrive(Row(n), false);
        }
        assert_eq!(drain(&mut w), [1, 2]);
        let refill = w.wants_refill(limits(2)).expect("rows are behind the window");
        assert_eq!(refill.after, Some(Order { priority: 0, position: 2 }));
        w.refilled(vec![Row(3), Row(4)], false, |_| false);
        assert_eq!(drain(&mut w), [3, 4]);
    }

    #[test]
    fn rows_committed_during_a_read_are_neither_lost_nor_duplicated() {
        let mut w = window(4);
        w.restart();
        assert!(w.wants_refill(limits(4)).is_some());
        w.arrive(Row(9), false); // the page does not contain it
        w.arrive(Row(3), false); // the page contains it too
        w.gone(Order { priority: 0, position: 2 }, JobId::new(2)); // the page still contains it
        w.refilled(vec![Row(1), Row(2), Row(3)], true, |row| row.0 == 1);
        assert_eq!(drain(&mut w), [3, 9]);
    }

    #[test]
    fn a_job_that_returns_at_another_position_during_a_read_is_in_the_window_once() {
        let mut w = window(4);
        w.restart();
        assert!(w.wants_refill(limits(4)).is_some());
        w.gone(Row(1).order(), Row(1).id());
        w.arrive(Row(101), false);
        w.refilled(vec![Row(1), Row(2)], true, |_| false);
        assert_eq!(drain(&mut w), [2, 101]);
    }

    #[test]
    fn a_page_that_was_being_read_at_a_restart_is_ignored() {
        let mut w = window(4);
        w.restart();
        w.wants_refill(limits(4)).unwrap();
        w.restart();
        w.refilled(vec![Row(1)], true, |_| false);
        assert!(w.first().is_none());
        assert!(w.wants_refill(limits(4)).is_some(), "it must be read again");
    }

    #[test]
    fn a_row_that_does_not_fit_beside_the_first_is_read_again_only_after_the_first_is_gone() {
        /// Its position and its size.
        #[derive(Debug)]
        struct Sized(u64, usize);
        impl Source for Sized {
            fn order(&self) -> Order {
                Order { priority: 0, position: self.0 }
            }
            fn id(&self) -> JobId {
                JobId::new(self.0)
            }
            fn bytes(&self) -> usize {
                self.1
            }
        }
        let limits = WindowLimits { jobs_max: 8, bytes_max: 100, mark_after: std::time::Duration::ZERO };
        let mut w = Window::new(limits);
        w.restart();
        assert!(w.wants_refill(limits).is_some());
        w.refilled(vec![Sized(1, 20), Sized(2, 120)], false, |_| false);
        assert_eq!(w.wants_refill(limits), None, "it would be dropped again");
        assert_eq!(w.pop().map(|row| row.0), Some(1));
        let refill = w.wants_refill(limits).expect("now it fits, as any row does alone");
        assert_eq!(refill.after.unwrap().position, 1);
        w.refilled(vec![Sized(2, 120)], true, |_| false);
        assert_eq!(w.pop().map(|row| row.0), Some(2));
        assert!(w.first().is_none() && !w.needs_page());
    }

    #[test]
    fn the_newest_rows_come_first_if_that_is_set() {
        let mut w = window(2);
        w.set_newest_first(true);
        w.arrive(Row(4), false);
        let table: BTreeSet<u64> = [1, 2, 3, 4].into();
        let refill = w.wants_refill(limits(2)).expect("it was not read");
        let (rows, end) = page(&table, refill);
        assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), [4, 3]);
        w.refilled(rows, end, |_| false);
        w.arrive(Row(5), false);
        assert_eq!(drain(&mut w), [5, 4]);
        let refill = w.wants_refill(limits(2)).expect("rows are behind the window");
        assert_eq!(refill.after, Some(place(4)), "3 was dropped for 5, and is read again");
        let (rows, end) = page(&table, refill);
        w.refilled(rows, end, |_| false);
        assert_eq!(drain(&mut w), [3, 2]);
    }

    #[test]
    fn a_more_urgent_row_enters_a_window_that_does_not_have_the_whole_table() {
        let mut w = window(2);
        for n in [5, 6, 7] {
            w.arrive(Row(n), false);
        }
        w.arrive(Row(1), false);
        assert_eq!(drain(&mut w), [1, 5]);
        let refill = w.wants_refill(limits(2)).unwrap();
        assert_eq!(refill.after.unwrap().position, 5, "6 was dropped and must be read again");
    }

    /// A row for each job, so that ids do not repeat.
    fn place(position: u64) -> Order {
        Order { priority: 0, position }
    }

    /// The page of `table` that begins behind a position.
    fn page(table: &BTreeSet<u64>, refill: Refill) -> (Vec<Row>, bool) {
        let turned = |order: Order| order.place(refill.newest_first);
        let behind = |row: &&u64| refill.after.is_none_or(|after| turned(place(**row)) > turned(after));
        let mut rows: Vec<_> = table.iter().filter(behind).map(|row| Row(*row)).collect();
        rows.sort_by_key(|row| turned(row.order()));
        let end = rows.len() <= refill.jobs_max;
        (rows.into_iter().take(refill.jobs_max).collect(), end)
    }

    #[test]
    fn rows_that_are_put_back_into_a_full_window_are_all_popped_again() {
        let mut w = window(2);
        let table: BTreeSet<u64> = [1, 2, 3, 9].into();
        let mut parked = Vec::new();
        for row in &table {
            w.arrive(Row(*row), false);
            parked.extend(w.pop());
        }
        assert_eq!(parked.len(), 4);
        parked.into_iter().for_each(|row| w.put_back(row));
        let mut got = Vec::new();
        loop {
            match w.pop() {
                Some(row) => got.push(row.0),
                None => match w.wants_refill(limits(2)) {
                    Some(refill) => {
                        let (rows, end) = page(&table, refill);
                        w.refilled(rows, end, |row| got.contains(&row.0));
                    }
                    None => break,
                },
            }
        }
        assert_eq!(got, [1, 2, 3, 9]);
    }

    /// Rows arrive, are popped, put back and removed in any order, while pages are read and answered late. At the end, each
    /// row that is left is popped exactly once.
    #[test]
    fn each_row_is_popped_exactly_once_under_random_operations() {
        for seed in 0..4_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let size = rng.usize(1..6);
            let mut w = window(size);
            if seed % 2 == 1 {
                w.set_newest_first(true);
            }
            // All rows of the table, and those of them that were popped and not put back.
            let (mut table, mut popped) = (BTreeSet::new(), BTreeSet::new());
            let mut reading = None;
            for _ in 0..rng.usize(1..120) {
                match rng.u8(..12) {
                    0..=3 => {
                        let row = rng.u64(1..100);
                        if table.insert(row) {
                            w.arrive(Row(row), false);
                        }
                    }
                    4..=6 => popped.extend(w.pop().map(|row| row.0)),
                    7 | 8 => {
                        if let Some(row) = rng.choice(popped.clone()) {
                            popped.remove(&row);
                            w.put_back(Row(row));
                        }
                    }
                    9 => {
                        if let Some(row) = rng.choice(table.clone()) {
                            table.remove(&row);
                            match popped.remove(&row) {
                                true => w.settled(JobId::new(row)),
                                false => w.gone(place(row), JobId::new(row)),
                            }
                        }
                    }
                    10 if reading.is_none() => {
                        reading = w.wants_refill(limits(size)).map(|refill| page(&table, refill));
                    }
                    _ => {
                        if let Some((rows, end)) = reading.take() {
                            w.refilled(rows, end, |row| popped.contains(&row.0));
                        }
                    }
                }
            }
            let mut left: BTreeSet<u64> = table.difference(&popped).copied().collect();
            loop {
                if let Some((rows, end)) = reading.take() {
                    w.refilled(rows, end, |row| popped.contains(&row.0));
                }
                match w.pop() {
                    Some(row) => {
                        assert!(left.remove(&row.0), "seed {seed}: row {} is popped, and is not left", row.0);
                        popped.insert(row.0);
                    }
                    None => match w.wants_refill(limits(size)) {
                        Some(refill) => reading = Some(page(&table, refill)),
                        None => break,
                    },
                }
            }
            assert!(left.is_empty(), "seed {seed}, window of {size}: never popped: {left:?}");
            assert_eq!(w.bytes, 0, "seed {seed}: nothing is left in the window");
        }
    }
}
