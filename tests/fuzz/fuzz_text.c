/* SPDX-License-Identifier: Apache-2.0 */
/* Durations, sizes, times, addresses: whatever is read can be written, and what was written reads back the same. */
#include "base/address.h"
#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice s = slice_of(data, size);
    char *text = xstrndup(data, size), uri[600];
    _cleanup_buf_ struct buf b = {0}, c = {0};
    struct address a, again;
    uint64_t v, back;
    int64_t i;

    if (text_parse_duration(s, &v, NULL) == 0) {
        text_put_duration(&b, v);
        ASSERT(text_parse_duration(buf_slice(&b), &back, NULL) == 0 && back == v);
    }
    (void)!text_parse_duration_signed(s, &i, NULL);
    (void)!text_parse_size(s, &v, NULL);
    buf_clear(&b);
    if (text_parse_rfc3339(s, &v, NULL) == 0) {
        text_put_rfc3339(&b, v, 9, "Z");
        ASSERT(text_parse_rfc3339(buf_slice(&b), &back, NULL) == 0 && back == v);
    }
    if (address_parse(text, &a, NULL) == 0) {
        (void)address_uri(&a, uri, sizeof uri);
        ASSERT(address_parse(uri, &again, NULL) == 0 && again.port == a.port);
    }
    buf_clear(&b);
    (void)!text_percent_decode(s, true, &b);
    buf_clear(&b);
    text_put_percent(&b, s);
    ASSERT(text_percent_decode(buf_slice(&b), false, &c) == 0 && slice_eq(buf_slice(&c), s));
    free(text);
    return 0;
}
