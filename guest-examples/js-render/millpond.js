// The contract as JavaScript likes it: JSON in and out, exceptions for answers, milliseconds for times.
//
// Both engines that were tried run it: QuickJS (componentize-qjs), whose 64-bit integers are numbers, and StarlingMonkey
// (componentize-js), whose are BigInts; `integer` tells them apart by what the host's calls return. componentize-js 0.23 traps on
// a negative BigInt: there a counter can only go up.

import * as attemptCalls from "millpond:jobs/attempt@0.1.3";
import * as configCalls from "millpond:jobs/config@0.1.3";
import * as enqueueCalls from "millpond:jobs/enqueue@0.1.3";
import * as flowCalls from "millpond:jobs/flow@0.1.3";
import * as logCalls from "millpond:jobs/log@0.1.3";
import * as outcomeCalls from "millpond:jobs/outcome@0.1.3";
import * as progressCalls from "millpond:jobs/progress@0.1.3";
import * as stateCalls from "millpond:jobs/state@0.1.3";
import * as stepsCalls from "millpond:jobs/steps@0.1.3";
import * as streamsCalls from "millpond:jobs/streams@0.1.3";
import * as topicsCalls from "millpond:jobs/topics@0.1.3";

/** Throw it, or any error: try again, when the queue's back-off says or after a time. Uses up an attempt. */
export class Retry extends Error {
  constructor(reason, { afterMs = null } = {}) {
    super(reason);
    this.afterMs = afterMs;
  }
}

/** Throw it: the job is no longer needed and ends as cancelled. */
export class Cancel extends Error {}

/** Throw it: the job can never succeed and becomes a dead letter. */
export class DeadLetter extends Error {}

/** Throw it: come back later. Uses up no attempt. */
export class Snooze extends Error {
  constructor(afterMs) {
    super(`in ${afterMs} ms`);
    this.afterMs = afterMs;
  }
}

/**
 * Throw it: a service has refused a request because there were too many. The jobs of the group wait as well, or of the queue if the job
 * has no group; with `queue`, all jobs of the queue. Without a grant for it, only this job waits. Uses up no attempt.
 */
export class RateLimited extends Snooze {
  constructor(afterMs, { queue = false } = {}) {
    super(afterMs);
    this.queue = queue;
  }
}

/** A step sleeps, or waits for a signal: let it pass. The job leaves memory, and its handler is called again. Uses up no attempt. */
export class Suspended extends Snooze {
  constructor() {
    super(0);
  }
}

/** What to export as `handler`: calls `run` with the payload, read as JSON, and returns its result as JSON. */
export function handler(run) {
  return rawHandler((bytes) => {
    let payload;
    try {
      payload = JSON.parse(toText(bytes));
    } catch (error) {
      throw new DeadLetter(`the payload is no JSON: ${error.message}`);
    }
    const result = run(payload);
    return result === undefined || result === null ? new Uint8Array() : toBytes(JSON.stringify(result));
  });
}

/** What to export as `handler`, for bytes as they are. */
export function rawHandler(run) {
  return {
    handle(bytes) {
      try {
        return run(bytes);
      } catch (error) {
        throw answer(error);
      }
    },
  };
}

function answer(error) {
  const reason = error instanceof Error ? error.message : String(error);
  if (error instanceof RateLimited) sayRateLimited(error);
  if (error instanceof Snooze) return { tag: "snooze", val: nanoseconds(error.afterMs) };
  if (error instanceof Cancel) return { tag: "cancel", val: reason };
  if (error instanceof DeadLetter) return { tag: "dead-letter", val: reason };
  if (error instanceof Retry) {
    const delay = error.afterMs === null ? null : nanoseconds(error.afterMs);
    return { tag: "retry", val: { reason, delay: delay ?? none() } };
  }
  // A mistake of the handler's own, most likely: its place is worth a line.
  logCalls.log("error", `${error?.name ?? "Error"}: ${reason}\n${error?.stack ?? ""}`);
  return { tag: "retry", val: { reason, delay: none() } };
}

function sayRateLimited(error) {
  try {
    error.queue ? outcomeCalls.setRateLimitedQueue() : outcomeCalls.setRateLimited();
  } catch {
    logCalls.log("warn", "the rate limit was refused, so only this job waits");
  }
}

const wide = () => typeof attemptCalls.getTimeLeft() === "bigint";
const integer = (number) => (wide() ? BigInt(Math.trunc(number)) : Math.trunc(number));
const nanoseconds = (ms) => integer(Math.max(0, ms) * 1e6);
// StarlingMonkey's bindings say undefined for nothing, QuickJS's say null.
const none = () => (wide() ? undefined : null);

export const log = Object.fromEntries(
  ["trace", "debug", "info", "warn", "error", "critical"].map((level) => [
    level,
    (line) => logCalls.log(level, String(line)),
  ]),
);

/** A setting of the operator, or null. */
export const config = (key) => configCalls.get(key) ?? null;

export const attempt = {
  get jobId() { return attemptCalls.getJobId(); },
  get kind() { return attemptCalls.getKind(); },
  get queue() { return attemptCalls.getQueue(); },
  get number() { return attemptCalls.getNumber(); },
  get maxNumber() { return attemptCalls.getMaxNumber(); },
  get timeLeftMs() { return Number(attemptCalls.getTimeLeft()) / 1e6; },
  /** Whether to stop, best with `Snooze`: the cancel of the job was requested, or the host is stopping. */
  get isCancelled() { return attemptCalls.isCancelled(); },
  get group() { return attemptCalls.getGroup() ?? null; },
  get priority() { return attemptCalls.getPriority(); },
  get tags() { return attemptCalls.getTags(); },
  header(name) { return attemptCalls.getHeader(name) ?? null; },
  get headers() { return Object.fromEntries(attemptCalls.getHeaders()); },
  get runId() { return attemptCalls.getRunId(); },
  get schedule() { return attemptCalls.getSchedule() ?? null; },
  /** Which entry of a stream it is, `{ stream, offset, key }`, or null. The key is null if there is none. */
  get entry() {
    const stream = attemptCalls.getStream() ?? null;
    if (stream === null) return null;
    return { stream, offset: Number(attemptCalls.getOffset()), key: attemptCalls.getKey() ?? null };
  },
};

/** Durable values as JSON; what is written commits with the job. */
export const state = {
  get(key) {
    const bytes = refusedAs("state", () => stateCalls.get(key));
    return bytes === null || bytes === undefined ? null : JSON.parse(toText(bytes));
  },
  set: (key, value) => refusedAs("state", () => stateCalls.set(key, toBytes(JSON.stringify(value)))),
  delete: (key) => refusedAs("state", () => stateCalls.delete(key)),
  increment: (key, delta = 1) => refusedAs("state", () => stateCalls.increment(key, integer(delta))),
};

/**
 * Enqueues a follow-up job with the job's completion. It gets its id then; this returns what it is known as until then, the running
 * job's id with its place behind it, such as `7+1`: for the log, not for finding it again.
 *
 * Options: `queue`, `delayMs`, `expiryMs`, `timeoutMs`, `priority`, `maxAttempts`, `weight`, `group`, `tags` (a list), `headers` (an
 * object), `uniqueKey`, and how the key is held: `uniqueForMs`, `uniqueUntilStarted`, `uniqueThrottleMs`, `uniqueKeepLatest`,
 * `uniqueReplace`, `uniqueDebounceMs` (a pair: the quiet time, and the longest wait). Unique keys and groups are any text of 1 to 1,024
 * bytes.
 */
export function enqueue(kind, payload, options = {}) {
  return refusedAs("enqueue", () => enqueueCalls.enqueue(newJob(kind, payload, options)));
}

/** Enqueues all of these jobs, `[kind, payload, options]` each, or none of them if one is refused. */
export function enqueueMany(jobs) {
  return refusedAs("enqueue", () => enqueueCalls.enqueueMany(jobs.map((job) => newJob(...job))));
}

/**
 * Appends an entry to a stream with the job's completion. Options: `group`, which is its key, `tags` and `headers`. Needs a grant.
 */
export function append(stream, kind, payload, options = {}) {
  refusedAs("append", () => streamsCalls.append(stream, newJob(kind, payload, options)));
}

/** Publishes a message to a topic with the job's completion. Options: those of `enqueue`, without `queue`. Needs a grant. */
export function publish(topic, routingKey, kind, payload, options = {}) {
  refusedAs("publish", () => topicsCalls.publish(topic, routingKey, newJob(kind, payload, options)));
}

function newJob(kind, payload, options = {}) {
  const job = new enqueueCalls.NewJob(kind, toBytes(JSON.stringify(payload)));
  if (options.queue !== undefined) job.setQueue(options.queue);
  if (options.delayMs !== undefined) job.setDelay(nanoseconds(options.delayMs));
  if (options.expiryMs !== undefined) job.setExpiry(nanoseconds(options.expiryMs));
  if (options.timeoutMs !== undefined) job.setTimeout(nanoseconds(options.timeoutMs));
  if (options.priority !== undefined) job.setPriority(options.priority);
  if (options.maxAttempts !== undefined) job.setMaxAttempts(options.maxAttempts);
  if (options.weight !== undefined) job.setWeight(options.weight);
  if (options.group !== undefined) job.setGroup(options.group);
  for (const tag of options.tags ?? []) job.addTag(tag);
  for (const [name, value] of Object.entries(options.headers ?? {})) job.setHeader(name, value);
  if (options.uniqueKey !== undefined) job.setUniqueKey(options.uniqueKey);
  if (options.uniqueForMs !== undefined) job.setUniqueFor(nanoseconds(options.uniqueForMs));
  if (options.uniqueUntilStarted) job.setUniqueUntilStarted();
  if (options.uniqueThrottleMs !== undefined) job.setUniqueThrottle(nanoseconds(options.uniqueThrottleMs));
  if (options.uniqueKeepLatest) job.setUniqueKeepLatest();
  if (options.uniqueReplace) job.setUniqueReplace();
  if (options.uniqueDebounceMs !== undefined) job.setUniqueDebounce(...options.uniqueDebounceMs.map(nanoseconds));
  return job;
}

/** A name for a text: each byte that a name may not have becomes a colon with its two hexadecimal digits. */
export function nameFor(text) {
  const bytes = Array.from(toBytes(text));
  const isDots = bytes.every((byte) => byte === 0x2e);
  const isPlain = (byte) => !isDots && /[A-Za-z0-9._-]/.test(String.fromCharCode(byte));
  return bytes.map((byte) => (isPlain(byte) ? String.fromCharCode(byte) : `:${byte.toString(16).padStart(2, "0")}`)).join("");
}

export function progress(done, total = null, message = null) {
  progressCalls.report(integer(done), total === null ? none() : integer(total), message ?? none());
}

/**
 * Parts of the work whose results are stored before the handler goes on, as JSON. The next attempt of the job gets what is stored, and
 * does not do them again. A name that is used again in an attempt gets a number, so ask for steps in the same order in each attempt.
 */
export const steps = {
  /** What `run` returns, which is called only if nothing is stored under the name. */
  step(name, run) {
    const begun = refusedAs("step", () => stepsCalls.begin(name));
    const stored = begun.stored ?? null;
    if (stored !== null) return JSON.parse(toText(stored));
    const result = toBytes(JSON.stringify(run() ?? null));
    return JSON.parse(toText(refusedAs("step", () => stepsCalls.finish(begun.name, result))));
  },
  /** Lets the job sleep. Throws `Suspended` until the time is over. */
  sleep: (name, ms) => refusedAs("step", () => stepsCalls.sleep(name, nanoseconds(ms))),
  /** What was sent with the signal of this name, or null after the timeout. Throws `Suspended` until then. */
  waitFor(name, { timeoutMs = null } = {}) {
    const timeout = timeoutMs === null ? none() : nanoseconds(timeoutMs);
    const signal = refusedAs("step", () => stepsCalls.waitFor(name, timeout)) ?? null;
    return signal === null ? null : JSON.parse(toText(signal));
  },
};

/** What the job or signal of this name in the job's flow has returned, read from JSON, or null. Needs a grant. */
export function flowResult(name) {
  const bytes = refusedAs("flow result", () => flowCalls.getResult(name)) ?? null;
  return bytes === null ? null : JSON.parse(toText(bytes));
}

/** The host's refusals are values such as `{ tag: "quota-exceeded" }`: an error with words is worth more. */
function refusedAs(what, call) {
  try {
    return call();
  } catch (error) {
    if (error instanceof Error && error.payload === undefined) throw error;
    let refusal = error.payload ?? error;
    // Of `enqueueMany`: which job was refused, and why.
    if (refusal.index !== undefined) {
      what = `${what} of the job at index ${refusal.index}`;
      refusal = refusal.error;
    }
    if (refusal.tag === "suspended") throw new Suspended();
    if (refusal.tag === "changed") throw new DeadLetter(refusal.val);
    throw new Retry(`${what} was refused: ${refusal.val ?? refusal.tag ?? refusal}`);
  }
}

// Neither engine without its stubs has TextEncoder and TextDecoder.

export function toText(bytes) {
  let escaped = "";
  for (const byte of bytes) escaped += byte < 0x80 && byte !== 0x25 ? String.fromCharCode(byte) : `%${byte.toString(16).padStart(2, "0")}`;
  return decodeURIComponent(escaped);
}

export function toBytes(text) {
  const escaped = encodeURIComponent(text);
  const bytes = [];
  for (let at = 0; at < escaped.length; at++) {
    if (escaped[at] === "%") {
      bytes.push(parseInt(escaped.slice(at + 1, at + 3), 16));
      at += 2;
    } else {
      bytes.push(escaped.charCodeAt(at));
    }
  }
  return new Uint8Array(bytes);
}
