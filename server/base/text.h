/* SPDX-License-Identifier: Apache-2.0 */
/* base/text.h : text forms of durations, sizes and times; small text tools. All pure; never asserts on its input. */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

/* text_parse_duration() - friendly ("500ms", "1h 30m", "1 hour, 30 minutes", "2 days") or ISO-8601 ("PT1M", "P1DT2H").
 * A year is 365.25 days, a month 30.44 days. Surrounding space is ignored; a plain "0" is accepted, any other number
 * without a unit is not. The signed form accepts a leading '-' (and "ago" is not known). RS_EINVAL names what is wrong;
 * RS_ETOOBIG beyond the range. */
int text_parse_duration(struct slice s, uint64_t *ret_ns, struct err *err) RS_WARN_UNUSED;
int text_parse_duration_signed(struct slice s, int64_t *ret_ns, struct err *err) RS_WARN_UNUSED;
/* text_put_duration() - "1d 2h 3m 4s 5ms 6µs 7ns", parts that are 0 left out; "0s". Appends to @b. */
void text_put_duration(struct buf *b, uint64_t ns);

/* text_parse_size() - "64MB" (decimal), "64 MiB" (binary), "1.5GiB", "4096" (bytes), "10 B"; unit letters in any case.
 */
int text_parse_size(struct slice s, uint64_t *ret_bytes, struct err *err) RS_WARN_UNUSED;
/* text_put_size() - "32.0 MiB", "50.0 KiB", "12 B". */
void text_put_size(struct buf *b, uint64_t bytes);

/* text_put_rfc3339() - unix time in UTC with @digits (0, 3, 6, 9) of fraction, cut off, and @zone behind: "Z" or
 * "+00:00". */
void text_put_rfc3339(struct buf *b, uint64_t wall_ns, unsigned digits, const char *zone);
/* text_parse_rfc3339() - any offset; times before 1970 or after 2554 are RS_EINVAL. */
int text_parse_rfc3339(struct slice s, uint64_t *ret_wall_ns, struct err *err) RS_WARN_UNUSED;

/* Whole decimal number, nothing else around it. RS_EINVAL, RS_ETOOBIG. */
int text_parse_u64(struct slice s, uint64_t *ret) RS_WARN_UNUSED;

/* text_distance() - Levenshtein distance, at most @limit + 1 is returned. Texts over 64 bytes count as far apart. */
unsigned text_distance(struct slice a, struct slice b, unsigned limit);
/* text_nearest() - the name nearest to @s, NULL when none is near enough (a third of its length, at least 2). */
const char *text_nearest(struct slice s, const char *const *names, size_t n);

void text_put_hex(struct buf *b, struct slice s);
int text_parse_hex(struct slice s,
                   struct buf *ret) RS_WARN_UNUSED; /* appends; odd length or other characters: RS_EINVAL */
/* text_percent_decode() - appends; a bad escape is RS_EINVAL. @form: '+' means space. */
int text_percent_decode(struct slice s, bool form, struct buf *ret) RS_WARN_UNUSED;
void text_put_percent(struct buf *b, struct slice s); /* everything but unreserved characters is escaped */
/* text_put_shown() - @s as people may see it: of a URL the password and the query are masked, and a name without a
 * password too, it may be a token. What is no URL is put as it is. */
#define TEXT_MASK "***"
void text_put_shown(struct buf *b, const char *s);
