//! I11: rates. In no span of time do more jobs start than the burst and the rate allow.

use super::{Check, Oracle};

impl Oracle {
    pub(super) fn within_rate(&mut self, n: u64, taken: u64) -> Check {
        let job = &self.jobs[&n];
        let (queue, group) = (job.spec.queue, job.spec.group);
        let plan = &self.plan.queues[queue];
        let keys = [((queue, None), plan.rate), ((queue, group), group.and(plan.group_rate))];
        for (key, rate) in keys {
            let Some((rate, burst)) = rate else { continue };
            let log = self.rated.entry(key).or_default();
            log.push(taken);
            log.sort_unstable();
            for (at, from) in log.iter().enumerate() {
                for (count, to) in log[at..].iter().enumerate() {
                    let most = f64::from(burst) + rate.tokens_per_second() * (to - from) as f64 / 1e9;
                    if (count + 1) as f64 > most + 1e-3 {
                        return Err(format!(
                            "I11: {} starts of {key:?} from {from} to {to}, at most {most}",
                            count + 1
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}
