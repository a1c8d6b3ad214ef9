//! Does no harm: it takes the steps and reads the results that its payload says, and tells what came of them.

use std::time::Duration;

use millpond_guest::{Error, OrElse, Raw, Result, attempt, flow, info, steps};

/// A line for each call, its words separated by tabs; a minus sign is a timeout that is not set. `fail` is the number of an attempt, up to
/// which the attempts fail there.
#[millpond_guest::handler]
pub fn steps_as_told(told: Raw) -> Result<Vec<String>> {
    let told = std::str::from_utf8(&told).or_dead_letter()?;
    told.lines().map(call).collect()
}

fn call(line: &str) -> Result<String> {
    let words: Vec<&str> = line.split('\t').collect();
    let number = |word: &str| word.parse::<u64>().expect("a number");
    let time = |word: &str| Duration::from_nanos(number(word));
    match words[..] {
        ["step", name, value] => steps::step(name, || {
            info!("ran {name}");
            Ok::<_, Error>(value.to_owned())
        }),
        ["large", name, bytes] => {
            let result = steps::step_raw(name, || Ok::<_, Error>(vec![b'x'; number(bytes) as usize]))?;
            Ok(result.len().to_string())
        }
        ["many", count] => {
            for step in 0..number(count) {
                steps::step("many", || Ok::<_, Error>(step))?;
            }
            Ok(count.to_owned())
        }
        // Takes no step, so that only names are used up.
        ["failing", count] => {
            let refusals: Vec<bool> = (0..number(count)).map(|step| fails(&step.to_string())).collect();
            Ok(refusals.iter().filter(|has_run| **has_run).count().to_string())
        }
        ["sleep", name, nanoseconds] => steps::sleep(name, time(nanoseconds)).map(|()| "slept".to_owned()),
        ["wait", name, timeout] => {
            let timeout = (timeout != "-").then(|| time(timeout));
            Ok(steps::wait_for::<String>(name, timeout)?.unwrap_or_else(|| "timeout".to_owned()))
        }
        ["result", name] => Ok(match flow::result::<String>(name)? {
            Some(result) => result,
            None => "none".to_owned(),
        }),
        ["refused", name] => Ok(format!("{:?}", flow::result_raw(name).unwrap_err())),
        ["ignored-sleep", name, nanoseconds] => {
            let slept = steps::sleep(name, time(nanoseconds));
            Ok(if slept.is_ok() { "slept" } else { "suspended" }.to_owned())
        }
        ["retry"] => Err(Error::retry("as told")),
        ["dead-letter"] => Err(Error::dead_letter("as told")),
        ["fail", until] if u64::from(attempt::number()) <= number(until) => Err(Error::retry("failed as told")),
        ["fail", _] => Ok("passed".to_owned()),
        _ => panic!("{line:?}"),
    }
}

/// Begins a step whose work fails. Returns whether the work ran.
fn fails(name: &str) -> bool {
    let mut has_run = false;
    let failed = steps::step_raw(name, || {
        has_run = true;
        Err(Error::retry("as told"))
    });
    assert!(failed.is_err());
    has_run
}
