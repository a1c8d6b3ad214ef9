//! Checks what plugins keep against the jobs that they have completed: each job is counted once and has left its own
//! mark, and no other job has left one; and a guest reads what was committed at that time.

use std::collections::BTreeMap;

use millpond::{Event, JobInfo, State};
use millpond_testkit::JobSpec;
use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError};

use crate::compare::Moment;
use crate::guest_talk::GuestStart;
use crate::handlers::Act;
use crate::oracle::{Check, History, Job, Oracle, Origin, ever};
use crate::paths::took;
use crate::plan::{KINDS, plugin_name};

const STATE: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("millpond/plugin_state");

/// The rows of all plugins, by plugin and key.
pub type Rows = BTreeMap<(String, String), u64>;

/// Reads what every plugin keeps. `None` if that cannot be read.
pub fn rows(read: &ReadTransaction) -> Option<Rows> {
    let table = match read.open_table(STATE) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Some(Rows::new()),
        Err(_) => return None,
    };
    let mut rows = Rows::new();
    for row in table.iter().ok()? {
        let (key, row) = row.ok()?;
        let (plugin, key) = key.value();
        let value: bytes::Bytes = postcard::from_bytes(&row.value()[5..]).ok()?;
        let value = u64::from_le_bytes(value[..].try_into().ok()?);
        rows.insert((plugin.to_owned(), key.to_owned()), value);
    }
    Some(rows)
}

/// What the plugin of a kind keeps, as far as the events tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The number of jobs completed.
    pub done: u64,
    /// The last of them.
    pub last: Option<u64>,
    /// The last one of each group.
    pub groups: BTreeMap<(usize, u8), u64>,
}

impl Kept {
    fn of(kind: usize, rows: &Rows) -> Result<Self, String> {
        let name = plugin_name(kind);
        let mut kept = Self::default();
        for ((_, key), value) in rows.iter().filter(|((plugin, _), _)| *plugin == name) {
            match key.as_bytes() {
                b"done" => kept.done = *value,
                b"last" => kept.last = Some(*value),
                [b'g', queue, group] => {
                    kept.groups.insert((usize::from(queue - b'0'), group - b'0'), *value);
                }
                [b'j', ..] => {}
                _ => return Err(format!("I2: plugin {name} keeps {key:?}, which no guest has written")),
            }
        }
        Ok(kept)
    }
}

/// The marks that completed jobs have left, by the numbers of the jobs.
fn marks(kind: usize, rows: &Rows) -> BTreeMap<u64, u64> {
    let name = plugin_name(kind);
    let mark = |key: &str| {
        let letters = key.strip_prefix('j')?;
        Some(letters.bytes().rev().fold(0, |number, letter| number << 4 | u64::from(letter - b'A')))
    };
    let own = rows.iter().filter(|((plugin, _), _)| *plugin == name);
    own.filter_map(|((_, key), value)| Some((mark(key)?, *value))).collect()
}

/// A plugin, from one start of its worker on.
#[derive(Clone, Debug)]
pub struct Deployed {
    pub queue: usize,
    pub kind: usize,
    pub versions: History<u64>,
    broken_in_a_row: u32,
    /// Since when it is suspended.
    pub out: Option<u64>,
}

impl Oracle {
    pub fn is_guest(&self, job: &Job) -> bool {
        self.plan.plugins.is_plugin(job.spec.queue, job.spec.kind)
    }

    // --- plugins ------------------------------------------------------------------------------

    /// A worker starts with a plugin of this version.
    #[cfg(feature = "wasm")]
    pub fn deployed(&mut self, queue: usize, kind: usize, version: u64) {
        let versions = vec![(self.mono, version)];
        self.deployed.push(Deployed { queue, kind, versions, broken_in_a_row: 0, out: None });
    }

    /// The plugin has a new version.
    #[cfg(feature = "wasm")]
    pub fn reloaded(&mut self, deployment: u16, version: u64) {
        let mono = self.mono;
        self.deployed[usize::from(deployment)].versions.push((mono, version));
        self.restored(deployment);
    }

    /// The plugin is resumed.
    #[cfg(feature = "wasm")]
    pub fn restored(&mut self, deployment: u16) {
        let deployed = &mut self.deployed[usize::from(deployment)];
        if deployed.out.is_some() {
            took("a plugin was resumed");
        }
        (deployed.broken_in_a_row, deployed.out) = (0, None);
    }

    /// An attempt has ended as its guest said, or because the guest broke.
    fn judged(&mut self, deployment: u16, act: Act) {
        let (mono, most) = (self.mono, self.plan.plugins.traps_in_a_row);
        let deployed = &mut self.deployed[usize::from(deployment)];
        if act != Act::Broke {
            deployed.broken_in_a_row = 0;
            return;
        }
        deployed.broken_in_a_row += 1;
        if deployed.broken_in_a_row >= most && deployed.out.is_none() {
            deployed.out = Some(mono);
        }
    }

    pub fn out_of_service(&self, event: &Event) -> Check {
        if let Event::PluginSuspended { plugin, failures, .. } = event {
            took("a plugin was suspended");
            let (failures, most) = (u64::from(*failures), u64::from(self.plan.plugins.traps_in_a_row));
            if failures < most {
                return Err(format!("I10: plugin {plugin} is suspended after {failures} of {most}"));
            }
        }
        Ok(())
    }

    // --- what guests do -----------------------------------------------------------------------

    pub fn guest_started(&mut self, n: u64, taken: Option<u64>, guest: GuestStart) -> Check {
        let kept = self.kept[self.jobs[&n].spec.kind].done;
        let job = self.job(n);
        (job.guest, job.children, job.done_before) = (Some(guest), 0, kept);
        let job = &self.jobs[&n];
        let deployed = &self.deployed[usize::from(guest.deployment)];
        if (deployed.queue, deployed.kind) != (job.spec.queue, job.spec.kind) {
            return Err(format!("I15: a plugin of another worker runs it: {deployed:?}, {job:?}"));
        }
        let Some(taken) = taken else { return Ok(()) };
        if deployed.out.is_some_and(|out| taken > out) {
            return Err(format!("I15: its plugin is suspended and runs it: {deployed:?}, {job:?} at {taken}"));
        }
        let since = deployed.versions.iter().filter(|(since, _)| *since >= taken).map(|(_, version)| *version);
        if !ever(&deployed.versions, taken).chain(since).any(|version| version == guest.version) {
            return Err(format!("I15: version {} of its plugin runs it: {deployed:?}, {job:?}", guest.version));
        }
        if guest.version != deployed.versions[0].1 {
            took("a guest of a new version ran");
        }
        Ok(())
    }

    pub fn reused(&self, n: u64, calls: u64) -> Check {
        took("an instance of a guest was used again");
        match calls <= u64::from(self.plan.plugins.reuse) {
            true => Ok(()),
            false => Err(format!("I15: this is call {calls} of an instance: {:?}", self.jobs[&n])),
        }
    }

    /// An attempt reads what was committed before it began, or later; and in a group, everything that the jobs before it
    /// have written.
    pub fn read(&mut self, n: u64, seen: u64, before: u64) -> Check {
        let job = &self.jobs[&n];
        if self.blind || self.degraded_since.is_some() {
            return Ok(());
        }
        let kept = &self.kept[job.spec.kind];
        if !(job.done_before..=kept.done).contains(&seen) {
            let from = job.done_before;
            return Err(format!("I2: it has read {seen}, and {from} to {} jobs were completed: {job:?}", kept.done));
        }
        let Some(group) = job.spec.group else { return Ok(()) };
        let last = kept.groups.get(&(job.spec.queue, group)).copied();
        if last.unwrap_or(0) != before {
            return Err(format!("I9: it finds that {before} was the last of its group, and it was {last:?}: {job:?}"));
        }
        if last.is_some() {
            took("a guest read what the job before it in its group had written");
        }
        Ok(())
    }

    pub fn fanned_out(&mut self, n: u64, run: u32, child: &JobSpec, accepted: bool) -> Check {
        let limits = &self.plan.plugins;
        let job = &self.jobs[&n];
        let within = job.generation < limits.generations && job.children < limits.follow_ups;
        if within != accepted {
            return Err(format!("I10: its follow-up job was accepted: {accepted}, within limits: {within}: {job:?}"));
        }
        if !accepted {
            took("a follow-up job was refused");
            return Ok(());
        }
        self.job(n).children += 1;
        self.make(child, Origin::Parent { n, run });
        Ok(())
    }

    /// The attempt ended without a log line of its guest: the plugin was suspended, or the time was over before the guest began.
    pub fn unseen(&mut self, id: u64) {
        let least = self.line.least;
        if let Some(n) = self.by_id.get(&id).copied() {
            let job = self.job(n);
            (job.unseen, job.put_off, job.taken_by) = (Some(least), true, None);
        }
    }

    pub fn guest_ended(&mut self, n: u64, act: Option<Act>) {
        match (self.jobs[&n].guest, act) {
            (Some(guest), Some(act)) => self.judged(guest.deployment, act),
            (Some(_), None) => took("a guest was stopped while it ran"),
            (None, _) => {}
        }
    }

    /// The job was reported as completed.
    pub fn kept_by(&mut self, n: u64) {
        let job = &self.jobs[&n];
        if !self.is_guest(job) {
            return;
        }
        let (kind, group) = (job.spec.kind, job.spec.group.map(|group| (job.spec.queue, group)));
        let kept = &mut self.kept[kind];
        (kept.done, kept.last) = (kept.done + 1, Some(n));
        if let Some(group) = group {
            kept.groups.insert(group, n);
        }
    }

    // --- comparing ----------------------------------------------------------------------------

    pub fn keeps(&mut self, moment: Moment, rows: &Rows) -> Check {
        for kind in 0..KINDS.len() {
            let kept = Kept::of(kind, rows)?;
            let marks = marks(kind, rows);
            if marks.len() as u64 != kept.done {
                return Err(format!(
                    "I7: plugin {} counts {}, and {} jobs have completed",
                    plugin_name(kind),
                    kept.done,
                    marks.len()
                ));
            }
            if moment == Moment::Running && kept != self.kept[kind] {
                return Err(format!("I2: the plugin keeps {kept:?}, expected {:?}", self.kept[kind]));
            }
            let named = kept.last.iter().chain(kept.groups.values());
            if let Some(n) = named.clone().find(|n| !marks.contains_key(n)) {
                return Err(format!("I2: job {n} has not completed, and what it wrote is stored: {kept:?}"));
            }
            if let Some((key, n)) = kept.groups.iter().find(|((queue, group), n)| {
                let spec = &self.jobs[n].spec;
                (spec.queue, spec.group) != (*queue, Some(*group))
            }) {
                return Err(format!("I2: job {n} is not of group {key:?}, and is the last of it: {kept:?}"));
            }
            self.marked(kind, &marks)?;
            if kept.done > 0 {
                match moment {
                    Moment::Crashed => took("what plugins keep was there after a crash"),
                    _ => took("what plugins keep was compared"),
                }
            }
            self.kept[kind] = kept;
        }
        Ok(())
    }

    /// Each completed job has left the mark of the attempt that completed it, and no other job has left one.
    fn marked(&self, kind: usize, marks: &BTreeMap<u64, u64>) -> Check {
        for (n, mark) in marks {
            let job = self.jobs.get(n).ok_or(format!("I2: job {n} is unknown, and has left a mark"))?;
            if job.spec.kind != kind || !self.is_guest(job) {
                return Err(format!("I2: the job is not this plugin's, and has left a mark: {job:?}"));
            }
            if job.ended != Some(State::Completed) {
                return Err(format!("I2: the job has not completed, and has left a mark: {job:?}"));
            }
            if let Some(act) = job.last_act
                && act != Act::Kept(*mark)
            {
                return Err(format!("I2: the mark {mark} is not of the attempt that has completed it: {job:?}"));
            }
        }
        // How the job ended is unknown if that was not reported and the job is not kept.
        let lacks = |job: &&Job| {
            let completed = job.ended == Some(State::Completed) && job.last_act.is_some();
            job.spec.kind == kind && completed && self.is_guest(job) && !marks.contains_key(&job.spec.n)
        };
        match self.jobs.values().find(lacks) {
            Some(job) => Err(format!("I2: the job has completed, and what it wrote is missing: {job:?}")),
            None => Ok(()),
        }
    }

    /// Checks what a job's record says about the plugins that ran it.
    pub fn lineage(&self, job: &Job, info: &JobInfo) -> Check {
        if info.generation != job.generation {
            return Err(format!("I4: it is of generation {}: {job:?}", info.generation));
        }
        if info.state != State::Completed || !self.is_guest(job) {
            return Ok(());
        }
        let (Some(guest), Some(Act::Kept(_))) = (job.guest, job.last_act) else { return Ok(()) };
        let hash = info.plugins.last().map(|(_, hash)| *hash);
        match self.hashes.iter().find(|(_, known)| Some(**known) == hash) {
            Some((version, _)) if *version == guest.version => Ok(()),
            _ => Err(format!("I4: version {} has completed it, not {:?}: {job:?}", guest.version, info.plugins)),
        }
    }
}
