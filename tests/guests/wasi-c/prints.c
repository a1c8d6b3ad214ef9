// What programs in C do besides: prints, gives up with a message, looks for what a process would have.

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "../../../guest-examples/c-crc32/millpond.h"

static bool is(bytes payload, const char *word) {
    return payload.len == strlen(word) && memcmp(payload.ptr, word, payload.len) == 0;
}

static answer said(const char *text) {
    size_t len = strlen(text);
    uint8_t *copy = malloc(len);
    memcpy(copy, text, len);
    return done((bytes){copy, len});
}

static answer look(void) {
    static char found[200];
    const char *path = getenv("PATH");
    FILE *file = fopen("/etc/passwd", "r");
    unsigned char random[8] = {0};
    int drawn = getentropy(random, sizeof random);
    snprintf(found, sizeof found, "path %s, file %s, input %d, time %s, random %d", path ? path : "none",
        file ? "open" : "none", getchar(), time(NULL) > 1000 ? "yes" : "no", drawn);
    return said(found);
}

answer handle(bytes payload) {
    if (is(payload, "print")) {
        printf("one\ntwo\x1b[2J\n\n");
        fprintf(stderr, "three\n");
        printf("not ended");
        fflush(stdout);
        return said("printed");
    }
    if (is(payload, "flood")) {
        for (int n = 0; n < 5000; n++) printf("%d: %0100d\n", n, n);
        fflush(stdout);
        return said("printed");
    }
    if (is(payload, "look")) return look();
    if (is(payload, "sleep")) {
        nanosleep(&(struct timespec){.tv_sec = 3600}, NULL);
        return said("slept");
    }
    if (is(payload, "exit")) exit(3);
    if (is(payload, "long")) {
        for (int n = 0; n < 1000; n++) fprintf(stderr, "line %04d of a long story\n", n);
        abort();
    }
    fprintf(stderr, "assertion failed: \x1b[31mwidth > 0\x1b[0m, at prints.c");
    abort();
}
