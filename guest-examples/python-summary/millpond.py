"""The contract as Python likes it: JSON in and out, exceptions for answers, seconds for times."""

import json
import traceback

from componentize_py_types import Err
from wit_world.imports import attempt, config, enqueue as _enqueue, flow as _flow, log as _log, outcome as _outcome, progress as _progress, state as _state, steps as _steps, streams as _streams, topics as _topics
from wit_world.imports.types import HandleError_Cancel, HandleError_DeadLetter, HandleError_Retry, HandleError_Snooze, RetryRequest

__all__ = ["Retry", "Cancel", "DeadLetter", "Snooze", "RateLimited", "Suspended", "handler", "attempt", "setting", "info", "warn", "error", "state", "enqueue", "enqueue_many", "append", "publish", "entry", "progress", "steps", "flow_result"]


class Retry(Exception):
    """Raise it, or any exception: try again, when the queue's back-off says or after a time. Uses up an attempt."""

    def __init__(self, reason, after=None):
        super().__init__(reason)
        self.after = after


class Cancel(Exception):
    """Raise it: the job is no longer needed and ends as cancelled."""


class DeadLetter(Exception):
    """Raise it: the job can never succeed and becomes a dead letter."""


class Snooze(Exception):
    """Raise it: come back after so many seconds. Uses up no attempt."""

    def __init__(self, after):
        super().__init__(f"in {after} s")
        self.after = after


class RateLimited(Snooze):
    """Raise it: a service has refused a request because there were too many. The jobs of the group wait as well, or of the queue if the
    job has no group; with `queue`, all jobs of the queue. Without a grant for it, only this job waits. Uses up no attempt."""

    def __init__(self, after, queue=False):
        super().__init__(after)
        self.queue = queue


class Suspended(Snooze):
    """A step sleeps, or waits for a signal: let it pass. The job leaves memory, and its handler is called again. Uses up no attempt."""

    def __init__(self):
        super().__init__(0)


def handler(run):
    """What to assign to `Handler`: calls `run` with the payload, read as JSON, and returns its result as JSON."""

    class Handler:
        def handle(self, payload: bytes) -> bytes:
            try:
                try:
                    job = json.loads(payload)
                except ValueError as wrong:
                    raise DeadLetter(f"the payload is no JSON: {wrong}") from None
                result = run(job)
                return b"" if result is None else json.dumps(result).encode()
            except Exception as wrong:
                raise Err(_answer(wrong)) from None

    return Handler


def _nanoseconds(seconds):
    return min(max(0, int(seconds * 1_000_000_000)), 2**64 - 1)


def _answer(wrong):
    if isinstance(wrong, RateLimited):
        try:
            _outcome.set_rate_limited_queue() if wrong.queue else _outcome.set_rate_limited()
        except Err:
            warn("the rate limit was refused, so only this job waits")
    if isinstance(wrong, Snooze):
        return HandleError_Snooze(_nanoseconds(wrong.after))
    if isinstance(wrong, Cancel):
        return HandleError_Cancel(str(wrong))
    if isinstance(wrong, DeadLetter):
        return HandleError_DeadLetter(str(wrong))
    if isinstance(wrong, Retry):
        return HandleError_Retry(RetryRequest(str(wrong), None if wrong.after is None else _nanoseconds(wrong.after)))
    # A mistake of the handler's own, most likely: its place is worth a line.
    what = f"{type(wrong).__name__}: {wrong}"
    error("\n".join([what, *_places(wrong)]))
    return HandleError_Retry(RetryRequest(what, None))


def _places(wrong):
    # Not traceback.format_exception: it would look for the source, and there are no files.
    for frame, line in traceback.walk_tb(wrong.__traceback__):
        yield f"  at {frame.f_code.co_qualname} ({frame.f_code.co_filename}:{line})"


def setting(key, default=None):
    """A setting of the operator."""
    value = config.get(key)
    return default if value is None else value


def info(line):
    _log.log(_log.Level.INFO, str(line))


def warn(line):
    _log.log(_log.Level.WARN, str(line))


def error(line):
    _log.log(_log.Level.ERROR, str(line))


def _refused_as(what, call, *arguments):
    try:
        return call(*arguments)
    except Err as refusal:
        value = refusal.value
        # Of `enqueue_many`: which job was refused, and why.
        if hasattr(value, "index"):
            what, value = f"{what} of the job at index {value.index}", value.error
        name = type(value).__name__.removeprefix("Error_")
        if name == "Suspended":
            raise Suspended() from None
        if name == "Changed":
            raise DeadLetter(value.value) from None
        raise Retry(f"{what} was refused: {getattr(value, 'value', None) or name}") from None


class state:
    """Durable values as JSON; what is written commits with the job."""

    @staticmethod
    def get(key, default=None):
        value = _refused_as("state", _state.get, key)
        return default if value is None else json.loads(value)

    @staticmethod
    def set(key, value):
        _refused_as("state", _state.set, key, json.dumps(value).encode())

    @staticmethod
    def delete(key):
        _refused_as("state", _state.delete, key)

    @staticmethod
    def increment(key, delta=1):
        _refused_as("state", _state.increment, key, delta)


def enqueue(kind, payload, **options):
    """Enqueues a follow-up job with the job's completion. Times are in seconds.

    It gets its id then. This returns what it is known as until then, the running job's id with its place behind it, such as `7+1`: for
    the log, not for finding it again.

    Options: `queue`, `delay`, `expiry`, `timeout`, `priority`, `max_attempts`, `weight`, `group`, `tags` (a list), `headers` (a dict),
    `unique_key`, and how the key is held: `unique_for`, `unique_until_started`, `unique_throttle`, `unique_keep_latest`,
    `unique_replace`, `unique_debounce` (a pair: the quiet time, and the longest wait). Unique keys and groups are any text of 1 to 1,024
    bytes.
    """
    return _refused_as("enqueue", _enqueue.enqueue, _new_job(kind, payload, options))


def enqueue_many(jobs):
    """Enqueues all of these jobs, `(kind, payload, options)` each, or none of them if one is refused."""
    return _refused_as("enqueue", _enqueue.enqueue_many, [_new_job(*job) for job in jobs])


def append(stream, kind, payload, **options):
    """Appends an entry to a stream with the job's completion. Options: `group`, which is its key, `tags` and `headers`. Needs a grant."""
    _refused_as("append", _streams.append, stream, _new_job(kind, payload, options))


def publish(topic, routing_key, kind, payload, **options):
    """Publishes a message to a topic with the job's completion. Options: those of `enqueue`, without `queue`. Needs a grant."""
    _refused_as("publish", _topics.publish, topic, routing_key, _new_job(kind, payload, options))


def entry():
    """Which entry of a stream the job is, as its stream, its offset and its key, or None. The key is None if there is none."""
    stream = attempt.get_stream()
    return None if stream is None else (stream, attempt.get_offset(), attempt.get_key())


_TIMES = ["delay", "expiry", "timeout", "unique_for", "unique_throttle"]
_VALUES = ["queue", "priority", "max_attempts", "weight", "group", "unique_key"]
_FLAGS = ["unique_until_started", "unique_keep_latest", "unique_replace"]


def _new_job(kind, payload, options=None):
    options = {name: value for name, value in (options or {}).items() if value is not None}
    job = _enqueue.NewJob(kind, json.dumps(payload).encode())
    for tag in options.pop("tags", []):
        job.add_tag(tag)
    for name, value in options.pop("headers", {}).items():
        job.set_header(name, value)
    if "unique_debounce" in options:
        job.set_unique_debounce(*map(_nanoseconds, options.pop("unique_debounce")))
    for name, value in options.items():
        set_option = getattr(job, f"set_{name}", None)
        if name in _TIMES:
            set_option(_nanoseconds(value))
        elif name in _VALUES:
            set_option(value)
        elif name in _FLAGS:
            if value:
                set_option()
        else:
            raise TypeError(f"a job has no option {name!r}")
    return job


def progress(done, total=None, message=None):
    _progress.report(done, total, message)


class steps:
    """Parts of the work whose results are stored before the handler goes on, as JSON. The next attempt of the job gets what is stored,
    and does not do them again. A name that is used again in an attempt gets a number, so ask for steps in the same order in each
    attempt. Times are in seconds."""

    @staticmethod
    def step(name, run):
        """What `run` returns, which is called only if nothing is stored under the name."""
        begun = _refused_as("step", _steps.begin, name)
        if begun.stored is not None:
            return json.loads(begun.stored)
        return json.loads(_refused_as("step", _steps.finish, begun.name, json.dumps(run()).encode()))

    @staticmethod
    def sleep(name, time):
        """Lets the job sleep. Raises `Suspended` until the time is over."""
        _refused_as("step", _steps.sleep, name, _nanoseconds(time))

    @staticmethod
    def wait_for(name, timeout=None):
        """What was sent with the signal of this name, or None after the timeout. Raises `Suspended` until then."""
        signal = _refused_as("step", _steps.wait_for, name, None if timeout is None else _nanoseconds(timeout))
        return None if signal is None else json.loads(signal)


def flow_result(name):
    """What the job or signal of this name in the job's flow has returned, read from JSON, or None. Needs a grant."""
    result = _refused_as("flow result", _flow.get_result, name)
    return None if result is None else json.loads(result)
