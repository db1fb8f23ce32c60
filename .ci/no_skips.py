"""Fails if a test was skipped because a package is not there. Reads pytest's junit report.

Further arguments are packages whose name in a reason counts too.
"""

import sys
import xml.etree.ElementTree as ElementTree

skipped = [
    (case.get("classname"), case.get("name"), skip.get("message") or "")
    for case in ElementTree.parse(sys.argv[1]).iter("testcase")
    for skip in case.iter("skipped")
]
words = ["import", "install", *sys.argv[2:]]
missing = [s for s in skipped if any(word in s[2] for word in words)]
for where, name, why in skipped:
    print(f"skipped: {where}::{name}: {why}")
if missing:
    sys.exit(f"{len(missing)} tests were skipped for a missing package")
