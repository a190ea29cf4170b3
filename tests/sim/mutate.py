"""Writes a deliberately broken copy of one server source: mutate.py TABLE NAME SOURCE OUTPUT. Fails when the pattern does not match."""
import re
import sys

table, name, source, output = sys.argv[1:]
for line in open(table):
    if line.startswith("#") or not line.strip():
        continue
    row = [x.strip() for x in line.rstrip("\n").split(" | ")]
    if row[0] == name:
        text, n = re.subn(row[2], row[3].replace("\\&", "&"), open(source).read(), count=1, flags=re.M)
        if n != 1:
            sys.exit(f"mutant {name}: its pattern does not match {source} any more")
        open(output, "w").write(text)
        break
else:
    sys.exit(f"no mutant {name}")
