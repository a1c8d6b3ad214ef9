// The CRC-32 of the payload, in hexadecimal; how many bytes were summed is kept in the counter `bytes`.

#include "millpond.h"

static uint32_t crc32(bytes data) {
    uint32_t crc = ~0u;
    for (size_t at = 0; at < data.len; at++) {
        crc ^= data.ptr[at];
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (0xedb88320u & -(crc & 1));
    }
    return ~crc;
}

answer handle(bytes payload) {
    if (payload.len == 0) return dead_letter("there is nothing to sum");
    if (!increment("bytes", (int64_t)payload.len)) return retry("the counter was refused");
    uint8_t *digits = malloc(8);
    if (digits == NULL) return retry("out of memory");
    uint32_t crc = crc32(payload);
    for (int at = 0; at < 8; at++) digits[at] = "0123456789abcdef"[(crc >> (28 - 4 * at)) & 15];
    info("summed");
    return done((bytes){digits, 8});
}
