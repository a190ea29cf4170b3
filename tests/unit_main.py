"""Generate the main() of one folder's unit test binary from the names of its test files."""
import os
import sys

out, sources = sys.argv[1], sys.argv[2:]
names = [os.path.splitext(os.path.basename(s))[0] for s in sources if s.endswith("_test.c")]
with open(out, "w") as f:
    f.write('#include "unit.h"\n#include <stdlib.h>\n\n')
    for n in names:
        f.write(f"extern const struct unit_group {n}_group;\n")
    f.write("\nint main(void) {\n    int failed = 0;\n")
    for n in names:
        f.write(f"    failed += _cmocka_run_group_tests({n}_group.name, {n}_group.tests, {n}_group.n, NULL, NULL);\n")
    f.write("    return failed ? EXIT_FAILURE : EXIT_SUCCESS;\n}\n")
