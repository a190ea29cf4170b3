/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <time.h>

#define NS_MS UINT64_C(1000000)
#define NS_S UINT64_C(1000000000)
#define NS_MIN (60 * NS_S)
#define NS_H (60 * NS_MIN)
#define NS_D (24 * NS_H)

static struct slice trim(struct slice s) {
    while (s.len && isspace(s.data[0]))
        s = slice_from(s, 1);
    while (s.len && isspace(s.data[s.len - 1]))
        s.len--;
    return s;
}

/* A decimal number with an optional fraction, as whole and billionths. Returns the bytes used, 0: no number, -1: too
 * big. */
static int take_number(struct slice s, uint64_t *whole, uint64_t *frac_e9) {
    uint64_t scale = NS_S / 10;
    size_t i = 0;

    *whole = *frac_e9 = 0;
    for (; i < s.len && isdigit(s.data[i]); i++)
        if (__builtin_mul_overflow(*whole, (uint64_t)10, whole) ||
            __builtin_add_overflow(*whole, (uint64_t)(s.data[i] - '0'), whole))
            return -1;
    if (i == 0 || i + 1 >= s.len || (s.data[i] != '.' && s.data[i] != ',') || !isdigit(s.data[i + 1]))
        return (int)MIN(i, (size_t)1000);
    for (i++; i < s.len && isdigit(s.data[i]) && i < 1000; i++, scale /= 10)
        *frac_e9 += (uint64_t)(s.data[i] - '0') * scale;
    return (int)i;
}

/* sum += (whole + frac) * unit */
static bool add_scaled(uint64_t *sum, uint64_t whole, uint64_t frac_e9, uint64_t unit) {
    unsigned __int128 v = (unsigned __int128)whole * unit + (unsigned __int128)frac_e9 * unit / NS_S + *sum;

    if (v > UINT64_MAX)
        return false;
    *sum = (uint64_t)v;
    return true;
}

struct unit {
    const char *name;
    uint64_t ns;
};

static uint64_t unit_of(const struct unit *units, size_t n, struct slice s) {
    for (size_t i = 0; i < n; i++)
        if (slice_eq_str(s, units[i].name))
            return units[i].ns;
    return 0;
}

static int too_long(struct err *err) {
    return err_set(err, RS_ETOOBIG, "this duration is too long");
}

static int parse_friendly(struct slice s, uint64_t *ret_ns, struct err *err) {
    static const uint64_t year = 365 * NS_D + 6 * NS_H, month = NS_D * 3044 / 100;
    static const struct unit units[] = {{"y", year},
                                        {"yr", year},
                                        {"yrs", year},
                                        {"year", year},
                                        {"years", year},
                                        {"mo", month},
                                        {"mos", month},
                                        {"month", month},
                                        {"months", month},
                                        {"w", 7 * NS_D},
                                        {"wk", 7 * NS_D},
                                        {"wks", 7 * NS_D},
                                        {"week", 7 * NS_D},
                                        {"weeks", 7 * NS_D},
                                        {"d", NS_D},
                                        {"day", NS_D},
                                        {"days", NS_D},
                                        {"h", NS_H},
                                        {"hr", NS_H},
                                        {"hrs", NS_H},
                                        {"hour", NS_H},
                                        {"hours", NS_H},
                                        {"m", NS_MIN},
                                        {"min", NS_MIN},
                                        {"mins", NS_MIN},
                                        {"minute", NS_MIN},
                                        {"minutes", NS_MIN},
                                        {"s", NS_S},
                                        {"sec", NS_S},
                                        {"secs", NS_S},
                                        {"second", NS_S},
                                        {"seconds", NS_S},
                                        {"ms", NS_MS},
                                        {"msec", NS_MS},
                                        {"msecs", NS_MS},
                                        {"millisecond", NS_MS},
                                        {"milliseconds", NS_MS},
                                        {"milli", NS_MS},
                                        {"millis", NS_MS},
                                        {"us", 1000},
                                        {"\302\265s", 1000},
                                        {"\316\274s", 1000},
                                        {"usec", 1000},
                                        {"usecs", 1000},
                                        {"micro", 1000},
                                        {"micros", 1000},
                                        {"microsecond", 1000},
                                        {"microseconds", 1000},
                                        {"ns", 1},
                                        {"nsec", 1},
                                        {"nsecs", 1},
                                        {"nano", 1},
                                        {"nanos", 1},
                                        {"nanosecond", 1},
                                        {"nanoseconds", 1}};
    uint64_t sum = 0, last = UINT64_MAX;

    while (s.len) {
        uint64_t whole, frac, unit;
        int n = take_number(s, &whole, &frac);
        size_t letters = 0;

        if (n < 0)
            return too_long(err);
        if (n == 0)
            return err_set(err, RS_EINVAL, "a number is expected at \"%.*s\"", (int)MIN(s.len, (size_t)20), s.data);
        s = trim(slice_from(s, (size_t)n));
        while (letters < s.len && (isalpha(s.data[letters]) || s.data[letters] >= 0x80))
            letters++;
        if (letters == 0)
            return err_set(err, RS_EINVAL, "a unit (ms, s, m, h, d) is missing");
        unit = unit_of(units, ARRAY_SIZE(units), slice_sub(s, 0, letters));
        if (!unit)
            return err_set(err, RS_EINVAL, "\"%.*s\" is not a unit of time (ms, s, m, h, d)",
                           (int)MIN(letters, (size_t)20), s.data);
        if (unit >= last)
            return err_set(err, RS_EINVAL, "units must go from large to small, each once");
        last = unit;
        if (!add_scaled(&sum, whole, frac, unit))
            return too_long(err);
        s = trim(slice_from(s, letters));
        if (s.len && s.data[0] == ',')
            s = trim(slice_from(s, 1));
    }
    *ret_ns = sum;
    return 0;
}

static int parse_iso(struct slice s, uint64_t *ret_ns, struct err *err) {
    static const struct unit dates[] = {
        {"Y", 365 * NS_D + 6 * NS_H}, {"M", NS_D * 3044 / 100}, {"W", 7 * NS_D}, {"D", NS_D}};
    static const struct unit times[] = {{"H", NS_H}, {"M", NS_MIN}, {"S", NS_S}};
    uint64_t sum = 0, last = UINT64_MAX;
    bool in_time = false, any = false;

    s = slice_from(s, 1);
    while (s.len) {
        uint64_t whole, frac, unit;
        char letter;
        int n;

        if (!in_time && (s.data[0] == 'T' || s.data[0] == 't')) {
            in_time = true;
            any = false;
            s = slice_from(s, 1);
            continue;
        }
        n = take_number(s, &whole, &frac);
        if (n < 0)
            return too_long(err);
        if (n == 0 || (size_t)n >= s.len)
            return err_set(err, RS_EINVAL, "not an ISO-8601 duration such as PT1M");
        letter = (char)toupper(s.data[n]);
        unit = in_time ? unit_of(times, ARRAY_SIZE(times), slice_of(&letter, 1))
                       : unit_of(dates, ARRAY_SIZE(dates), slice_of(&letter, 1));
        if (!unit || unit >= last)
            return err_set(err, RS_EINVAL, "not an ISO-8601 duration such as PT1M");
        last = unit;
        any = true;
        if (!add_scaled(&sum, whole, frac, unit))
            return too_long(err);
        s = slice_from(s, (size_t)n + 1);
    }
    if (!any)
        return err_set(err, RS_EINVAL, "not an ISO-8601 duration such as PT1M");
    *ret_ns = sum;
    return 0;
}

int text_parse_duration(struct slice s, uint64_t *ret_ns, struct err *err) {
    s = trim(s);
    if (s.len && s.data[0] == '+')
        s = slice_from(s, 1);
    if (s.len == 0)
        return err_set(err, RS_EINVAL, "a duration is expected, such as 500ms or 1h 30m");
    if (s.data[0] == '-')
        return err_set(err, RS_EINVAL, "a duration must not be negative");
    if (slice_eq_str(s, "0")) {
        *ret_ns = 0;
        return 0;
    }
    return s.data[0] == 'P' || s.data[0] == 'p' ? parse_iso(s, ret_ns, err) : parse_friendly(s, ret_ns, err);
}

int text_parse_duration_signed(struct slice s, int64_t *ret_ns, struct err *err) {
    bool negative;
    uint64_t ns;
    int r;

    s = trim(s);
    negative = s.len && s.data[0] == '-';
    r = text_parse_duration(negative ? slice_from(s, 1) : s, &ns, err);
    if (r < 0)
        return r;
    if (ns > INT64_MAX)
        return too_long(err);
    *ret_ns = negative ? -(int64_t)ns : (int64_t)ns;
    return 0;
}

void text_put_duration(struct buf *b, uint64_t ns) {
    static const struct unit units[] = {{"d", NS_D},   {"h", NS_H},         {"m", NS_MIN}, {"s", NS_S},
                                        {"ms", NS_MS}, {"\302\265s", 1000}, {"ns", 1}};
    bool first = true;

    if (ns == 0) {
        buf_put_str(b, "0s");
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        uint64_t v = ns / units[i].ns;

        if (!v)
            continue;
        ns %= units[i].ns;
        buf_putf(b, "%s%llu%s", first ? "" : " ", (unsigned long long)v, units[i].name);
        first = false;
    }
}

int text_parse_size(struct slice s, uint64_t *ret_bytes, struct err *err) {
    static const char letters[] = "kmgtpe";
    uint64_t whole, frac, unit = 1, sum = 0;
    const char *at;
    int n;

    s = trim(s);
    n = take_number(s, &whole, &frac);
    if (n == 0)
        return err_set(err, RS_EINVAL, "a size is expected, such as 64MB or 32 MiB");
    if (n < 0)
        return err_set(err, RS_ETOOBIG, "this size is too big");
    s = trim(slice_from(s, (size_t)n));
    if (s.len && (at = memchr(letters, tolower(s.data[0]), sizeof letters - 1))) {
        bool binary = s.len > 1 && tolower(s.data[1]) == 'i';

        for (int power = (int)(at - letters) + 1; power > 0; power--)
            unit *= binary ? 1024 : 1000;
        s = slice_from(s, binary ? 2 : 1);
    }
    if (s.len > 1 || (s.len == 1 && tolower(s.data[0]) != 'b'))
        return err_set(err, RS_EINVAL, "\"%.*s\" is not a unit of size (KB, MB, GB, KiB, MiB, GiB)",
                       (int)MIN(s.len, (size_t)20), s.data);
    if (!add_scaled(&sum, whole, frac, unit))
        return err_set(err, RS_ETOOBIG, "this size is too big");
    *ret_bytes = sum;
    return 0;
}

void text_put_size(struct buf *b, uint64_t bytes) {
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    uint64_t unit = 1024;
    size_t i = 0;

    if (bytes < 1024) {
        buf_putf(b, "%llu B", (unsigned long long)bytes);
        return;
    }
    for (; i + 1 < ARRAY_SIZE(units) && bytes / unit >= 1024; i++)
        unit *= 1024;
    buf_putf(b, "%.1f %s", (double)bytes / (double)unit, units[i]);
}

void text_put_rfc3339(struct buf *b, uint64_t wall_ns, unsigned digits, const char *zone) {
    time_t t = (time_t)(wall_ns / NS_S);
    char text[40], frac[16];
    struct tm tm;

    (void)gmtime_r(&t, &tm);
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(frac, sizeof frac, ".%09llu", (unsigned long long)(wall_ns % NS_S));
    buf_put_str(b, text);
    if (digits)
        buf_put(b, frac, 1 + MIN(digits, 9u));
    buf_put_str(b, zone);
}

/* Exactly @n digits at @at. */
static bool digits_at(struct slice s, size_t at, size_t n, unsigned *ret) {
    *ret = 0;
    if (at > s.len || s.len - at < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isdigit(s.data[at + i]))
            return false;
        *ret = *ret * 10 + (unsigned)(s.data[at + i] - '0');
    }
    return true;
}

static int64_t days_from_civil(int64_t y, unsigned m, unsigned d) {
    int64_t era, yoe, doy;

    y -= m <= 2;
    era = (y >= 0 ? y : y - 399) / 400;
    yoe = y - era * 400;
    doy = (153 * ((int64_t)m + (m > 2 ? -3 : 9)) + 2) / 5 + (int64_t)d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static bool parse_offset(struct slice s, int64_t *ret_seconds) {
    unsigned h, m;

    if (s.len == 1 && toupper(s.data[0]) == 'Z') {
        *ret_seconds = 0;
        return true;
    }
    if (s.len != 6 || (s.data[0] != '+' && s.data[0] != '-') || s.data[3] != ':' || !digits_at(s, 1, 2, &h) ||
        !digits_at(s, 4, 2, &m) || h > 23 || m > 59)
        return false;
    *ret_seconds = ((int64_t)h * 3600 + (int64_t)m * 60) * (s.data[0] == '-' ? -1 : 1);
    return true;
}

int text_parse_rfc3339(struct slice s, uint64_t *ret_wall_ns, struct err *err) {
    static const unsigned char month_days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned year, month, day, h, m, sec;
    uint64_t ns = 0, scale = NS_S / 10;
    int64_t offset, total;
    size_t i = 19;

    s = trim(s);
    if (s.len < 20 || s.data[4] != '-' || s.data[7] != '-' || !strchr("Tt ", s.data[10]) || s.data[10] == 0 ||
        s.data[13] != ':' || s.data[16] != ':' || !digits_at(s, 0, 4, &year) || !digits_at(s, 5, 2, &month) ||
        !digits_at(s, 8, 2, &day) || !digits_at(s, 11, 2, &h) || !digits_at(s, 14, 2, &m) ||
        !digits_at(s, 17, 2, &sec) || month < 1 || month > 12 || day < 1 || day > month_days[month - 1] || h > 23 ||
        m > 59 || sec > 60)
        return err_set(err, RS_EINVAL, "not an RFC 3339 time such as 2026-11-22T20:16:19Z");
    if (s.data[i] == '.') {
        if (i + 1 >= s.len || !isdigit(s.data[i + 1]))
            return err_set(err, RS_EINVAL, "not an RFC 3339 time such as 2026-11-22T20:16:19Z");
        for (i++; i < s.len && isdigit(s.data[i]); i++, scale /= 10)
            ns += (uint64_t)(s.data[i] - '0') * scale;
    }
    if (!parse_offset(slice_from(s, i), &offset))
        return err_set(err, RS_EINVAL, "an RFC 3339 time ends with Z or an offset such as +00:00");
    total = days_from_civil(year, month, day) * 86400 + (int64_t)h * 3600 + (int64_t)m * 60 + (int64_t)sec - offset;
    if (total < 0 || total > 18446744072)
        return err_set(err, RS_EINVAL, "times before 1970 or after 2554 are not supported");
    *ret_wall_ns = (uint64_t)total * NS_S + ns;
    return 0;
}

int text_parse_u64(struct slice s, uint64_t *ret) {
    uint64_t v = 0;

    if (s.len == 0)
        return RS_EINVAL;
    for (size_t i = 0; i < s.len; i++)
        if (!isdigit(s.data[i]))
            return RS_EINVAL;
    for (size_t i = 0; i < s.len; i++)
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, (uint64_t)(s.data[i] - '0'), &v))
            return RS_ETOOBIG;
    *ret = v;
    return 0;
}

unsigned text_distance(struct slice a, struct slice b, unsigned limit) {
    unsigned row[65];

    if (a.len > 64 || b.len > 64)
        return limit + 1;
    for (size_t j = 0; j <= b.len; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= a.len; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            unsigned above = row[j], best = diagonal + (a.data[i - 1] != b.data[j - 1]);

            best = MIN(best, above + 1);
            row[j] = MIN(best, row[j - 1] + 1);
            diagonal = above;
        }
    }
    return MIN(row[b.len], limit + 1);
}

const char *text_nearest(struct slice s, const char *const *names, size_t n) {
    unsigned limit = (unsigned)MAX(s.len / 3, (size_t)2), best = limit + 1;
    const char *ret = NULL;

    for (size_t i = 0; i < n; i++) {
        unsigned d = text_distance(s, slice_str(names[i]), limit);

        if (d < best) {
            best = d;
            ret = names[i];
        }
    }
    return ret;
}

void text_put_hex(struct buf *b, struct slice s) {
    static const char digits[] = "0123456789abcdef";
    uint8_t *p = buf_add(b, s.len * 2);

    for (size_t i = 0; i < s.len; i++) {
        p[2 * i] = (uint8_t)digits[s.data[i] >> 4];
        p[2 * i + 1] = (uint8_t)digits[s.data[i] & 15];
    }
}

static int hex_digit(uint8_t c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

int text_parse_hex(struct slice s, struct buf *ret) {
    if (s.len % 2)
        return RS_EINVAL;
    for (size_t i = 0; i < s.len; i++)
        if (hex_digit(s.data[i]) < 0)
            return RS_EINVAL;
    for (size_t i = 0; i < s.len; i += 2)
        buf_put_u8(ret, (uint8_t)(hex_digit(s.data[i]) << 4 | hex_digit(s.data[i + 1])));
    return 0;
}

int text_percent_decode(struct slice s, bool form, struct buf *ret) {
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i];

        if (c == '%') {
            if (s.len - i < 3 || hex_digit(s.data[i + 1]) < 0 || hex_digit(s.data[i + 2]) < 0)
                return RS_EINVAL;
            c = (uint8_t)(hex_digit(s.data[i + 1]) << 4 | hex_digit(s.data[i + 2]));
            i += 2;
        } else if (c == '+' && form) {
            c = ' ';
        }
        buf_put_u8(ret, c);
    }
    return 0;
}

void text_put_percent(struct buf *b, struct slice s) {
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i];

        if (isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~')
            buf_put_u8(b, c);
        else
            buf_putf(b, "%%%02X", c);
    }
}

void text_put_shown(struct buf *b, const char *s) {
    const char *host = strstr(s, "://"), *query = host ? strchr(host, '?') : NULL, *at = NULL, *colon;

    if (host) {
        host += 3;
        for (const char *p = host; *p && !strchr("/?#", *p); p++)
            at = *p == '@' ? p : at;
    }
    if (at) {
        buf_put(b, s, (size_t)(host - s));
        colon = memchr(host, ':', (size_t)(at - host));
        if (colon && colon + 1 < at)
            buf_put(b, host, (size_t)(colon + 1 - host));
        buf_put_str(b, TEXT_MASK);
        s = at;
    }
    buf_put(b, s, query ? (size_t)(query + 1 - s) : strlen(s));
    buf_put_str(b, query ? TEXT_MASK : "");
}
