/* SPDX-License-Identifier: Apache-2.0 */
/* Every generated decoder: the first byte chooses the message, the rest is its bytes. What is accepted must be stable
 * after one round. */
#include "base/util.h"
#include "proto/command.gen.h"
#include "proto/service.gen.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROUND(prefix_, name_)                                                                                          \
    static void round_##prefix_##_##name_(struct slice in) {                                                           \
        _cleanup_arena_ struct arena a = {0};                                                                          \
        _cleanup_buf_ struct buf one = {0}, two = {0};                                                                 \
        struct prefix_##_##name_ m;                                                                                    \
                                                                                                                       \
        if (prefix_##_##name_##_decode(&m, in, &a, NULL) < 0)                                                          \
            return;                                                                                                    \
        prefix_##_##name_##_encode(&m, &one);                                                                          \
        ASSERT(prefix_##_##name_##_decode(&m, buf_slice(&one), &a, NULL) == 0);                                        \
        prefix_##_##name_##_encode(&m, &two);                                                                          \
        ASSERT(slice_eq(buf_slice(&one), buf_slice(&two)));                                                            \
    }
#define ROUND_SP(name_) ROUND(sp, name_)
#define ROUND_CMD(name_) ROUND(cmd, name_)
SP_EACH_MESSAGE(ROUND_SP)
CMD_EACH_MESSAGE(ROUND_CMD)

#define ROW_SP(name_) round_sp_##name_,
#define ROW_CMD(name_) round_cmd_##name_,
static void (*const rounds[])(struct slice in) = {SP_EACH_MESSAGE(ROW_SP) CMD_EACH_MESSAGE(ROW_CMD)};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size)
        rounds[data[0] % ARRAY_SIZE(rounds)](slice_of(data + 1, size - 1));
    return 0;
}
