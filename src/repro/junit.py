"""Verdicts as a JUnit file, which CI systems show as tests: one test case per claim."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as Xml

from repro.judge import Verdict
from repro.known_exceptions import excuse
from repro.records import write_atomically

# What XML 1.0 cannot hold even when escaped, such as the colours of a traceback.
FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(path: Path, verdicts: Sequence[Verdict], exceptions: Mapping[str, str]) -> None:
    """Write the verdicts: contradicted is a failure, error an error, what was not settled is skipped.

    Args:
        path: of the file.
        verdicts: of any number of papers; a test suite each.
        exceptions: claims whose contradiction is known, with the reason; they are skipped.
    """
    root = Xml.Element("testsuites", name="claims")
    for paper in dict.fromkeys(v.paper for v in verdicts):
        cases = [v for v in verdicts if v.paper == paper]
        suite = Xml.SubElement(root, "testsuite", name=paper, tests=str(len(cases)))
        counts = {"failures": 0, "errors": 0, "skipped": 0}
        for verdict in cases:
            case = Xml.SubElement(suite, "testcase", classname=paper, name=verdict.claim)
            text = FORBIDDEN.sub("", "; ".join(verdict.reasons))
            if known := excuse(verdict, exceptions):
                Xml.SubElement(case, "skipped", message=f"known exception: {known}")
                counts["skipped"] += 1
            elif verdict.outcome == "contradicted":
                Xml.SubElement(case, "failure", message=text)
                counts["failures"] += 1
            elif verdict.outcome == "error":
                Xml.SubElement(case, "error", message=text)
                counts["errors"] += 1
            elif verdict.outcome not in ("reproduced", "better"):
                Xml.SubElement(case, "skipped", message=f"{verdict.outcome}: {text}")
                counts["skipped"] += 1
        suite.attrib.update({name: str(count) for name, count in counts.items()})
    write_atomically(path, Xml.tostring(root, encoding="utf-8", xml_declaration=True))
