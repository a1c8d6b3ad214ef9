// What a handler in C needs, in short names, over the bindings that wit-bindgen made of the contract.
//
// Include it in one file and define `handle`. Everything that a handler gets is freed for it; what it answers has to come from
// `malloc`, or be nothing.

#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/job_handler.h"

typedef job_handler_list_u8_t bytes;

typedef struct {
    enum { DONE, RETRY, CANCEL, DEAD_LETTER, SNOOZE } what;
    bytes result;       // DONE
    const char *reason; // RETRY, CANCEL, DEAD_LETTER
    uint64_t delay_ns;  // RETRY: 0 for the queue's back-off; SNOOZE
} answer;

// The handler. The payload is valid until it returns.
answer handle(bytes payload);

static inline job_handler_string_t text(const char *text) {
    return (job_handler_string_t){(uint8_t *)text, strlen(text)};
}

static inline answer done(bytes result) { return (answer){.what = DONE, .result = result}; }
static inline answer retry(const char *reason) { return (answer){.what = RETRY, .reason = reason}; }
// The job is no longer needed: it ends as cancelled.
static inline answer cancel(const char *reason) { return (answer){.what = CANCEL, .reason = reason}; }
// The job can never succeed: it becomes a dead letter.
static inline answer dead_letter(const char *reason) { return (answer){.what = DEAD_LETTER, .reason = reason}; }
static inline answer snooze(uint64_t delay_ns) { return (answer){.what = SNOOZE, .delay_ns = delay_ns}; }
// A service has refused a request because there were too many: the jobs of the group wait as well, or of the queue if the job has no
// group. Return what this returns. Without a grant for it, only this job waits. Needs a host of version 0.1.1 of the contract.
static inline answer rate_limited(uint64_t delay_ns) {
    millpond_jobs_outcome_error_t error;
    if (!millpond_jobs_outcome_set_rate_limited(&error)) millpond_jobs_outcome_error_free(&error);
    return snooze(delay_ns);
}
// The same, and all jobs of the queue wait.
static inline answer rate_limited_queue(uint64_t delay_ns) {
    millpond_jobs_outcome_error_t error;
    if (!millpond_jobs_outcome_set_rate_limited_queue(&error)) millpond_jobs_outcome_error_free(&error);
    return snooze(delay_ns);
}

// Whether the handler should stop, best with `snooze`: the cancel of the job was requested, or the host is stopping.
static inline bool is_cancelled(void) { return millpond_jobs_attempt_is_cancelled(); }

static inline void info(const char *line) {
    job_handler_string_t message = text(line);
    millpond_jobs_log_log(MILLPOND_JOBS_LOG_LEVEL_INFO, &message);
}

// Adds to a counter that commits with this job. False: it was refused.
static inline bool increment(const char *key, int64_t delta) {
    job_handler_string_t name = text(key);
    millpond_jobs_state_error_t error;
    if (millpond_jobs_state_increment(&name, delta, &error)) return true;
    millpond_jobs_state_error_free(&error);
    return false;
}

static inline void reason_of(job_handler_string_t *into, const char *reason) { job_handler_string_dup(into, reason); }

bool exports_millpond_jobs_handler_handle(
    bytes *payload, bytes *result, exports_millpond_jobs_handler_handle_error_t *error) {
    answer given = handle(*payload);
    job_handler_list_u8_free(payload);
    switch (given.what) {
    case DONE:
        *result = given.result;
        return true;
    case RETRY:
        error->tag = MILLPOND_JOBS_TYPES_HANDLE_ERROR_RETRY;
        reason_of(&error->val.retry.reason, given.reason);
        error->val.retry.delay.is_some = given.delay_ns != 0;
        error->val.retry.delay.val = given.delay_ns;
        return false;
    case CANCEL:
        error->tag = MILLPOND_JOBS_TYPES_HANDLE_ERROR_CANCEL;
        reason_of(&error->val.cancel, given.reason);
        return false;
    case DEAD_LETTER:
        error->tag = MILLPOND_JOBS_TYPES_HANDLE_ERROR_DEAD_LETTER;
        reason_of(&error->val.dead_letter, given.reason);
        return false;
    case SNOOZE:
        error->tag = MILLPOND_JOBS_TYPES_HANDLE_ERROR_SNOOZE;
        error->val.snooze = given.delay_ns;
        return false;
    }
    __builtin_unreachable();
}
