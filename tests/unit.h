/* tests/unit.h : how a unit test file joins its folder's cmocka binary.
 *
 * A test file includes this header, defines static tests and one exported group named after the file:
 *     const struct unit_group slice_test_group = UNIT_GROUP(tests);
 * tests/unit_main.py generates the main() that runs every group of the folder. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

struct unit_group {
    const char *name;
    const struct CMUnitTest *tests;
    size_t n;
};

#define UNIT_GROUP(tests_)                                                                                             \
    { __FILE__, (tests_), sizeof(tests_) / sizeof((tests_)[0]) }
