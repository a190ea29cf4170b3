/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz_state_machine.c : arbitrary commands on top of a small random world. Input: one byte of seed, one of
 * steps, then pieces: kind u8, length u16 little-endian, payload. Nothing may crash, no table may get damaged. */
#include <stdio.h>
#include "base/logging.h"
#include "worker/sm_random.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sm_random r = {.last_key = UINT64_MAX / 4 * 3};
    struct fixture f;
    char why[256];
    const char *wrong;

    if (size < 2)
        return 0;
    logging_set_level(RS_LOG_ERROR - 1);
    r.state = data[0] * 0x9e3779b97f4a7c15u + 1;
    fixture_init(&f, 0, r.last_key);
    for (unsigned i = 0; i < data[1] % 32; i++)
        if (sm_random_step(&r, &f) < 0)
            abort();
    for (data += 2, size -= 2; size >= 3;) {
        size_t n = get_u16le(data + 1);
        int rc;

        n = n < size - 3 ? n : size - 3;
        rc = fixture_apply(&f, data[0], slice_of(data + 3, n));
        if (rc < 0 && rc != RS_EUNSUPPORTED)
            abort();
        data += 3 + n;
        size -= 3 + n;
    }
    wrong = f.lsn ? fixture_check(&f, why) : NULL;
    if (wrong) {
        (void)fprintf(stderr, "%s\n", wrong);
        abort();
    }
    fixture_done(&f);
    return 0;
}
