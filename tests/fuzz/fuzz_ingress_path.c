/* SPDX-License-Identifier: Apache-2.0 */
/* Any path: either a fault or slices that lie within the path or the arena. */
#include "ingress/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int keyed(void *arg, struct slice service) {
    return service.len % 3 == 0 ? -1 : (int)(service.len & 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena a = {0};
    struct ingress_path p;
    struct err err;
    volatile uint8_t sum = 0;

    if (ingress_path_parse(ingress_path_trim(slice_of(data, size)), keyed, NULL, &a, &p, &err) == PATH_OK)
        for (size_t i = 0; i < p.key.len; i++)
            sum = (uint8_t)(sum + p.key.data[i]);
    arena_done(&a);
    return 0;
}
