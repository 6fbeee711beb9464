import subprocess
import sys

import pytest

from airflow_automl.contract import patterns
from airflow_automl.contract.model import shapes
from airflow_automl.contract.patterns import describe_pattern, matches

TAG = r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)"


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("[a-z]+", "abc", True),
        ("[a-z]+", "abc\n", False),
        ("a|ab", "ab", True),
        (r"\d{2}", "12", True),
        (r"\d{2}", "٣٤", False),
        (r"\w+", "é", False),
        (r"[\S]+", "a b", False),
        (r"(^p[1-9]\d?$)", "p10", True),
        (r"(^p[1-9]\d?$)", "p10\n", False),
        (TAG, "Team: größe/λ=中文 ٣", True),
        (TAG, "", True),
        (TAG, "tab\t", False),
        (TAG, "é!", False),
        (TAG, "é\n", False),
        (r"\p{L}\d", "é1", True),
        (r"\p{L}\d", "é٣", False),
        (r"\p{L}[\d\w]", "é_", True),
        (r"\p{L}\D", "é1", False),
        (r"\p{L}+", "abc", True),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\t]*", "a\t😀", True),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\t]*", "\x01", False),
        (r"([\p{L}\p{Z}\p{N}_.:\/=+\-@]*)${1,128}", "abc", True),
        (r"([\p{L}\p{Z}\p{N}_.:\/=+\-@]*)${1,128}", "a!c", False),
    ],
)
def test_patterns_are_javas_and_match_whole_values(pattern, value, expected):
    assert matches(pattern, value) is expected


def test_the_shortcut_for_ascii_agrees_with_the_pattern():
    for code in range(128):
        assert matches(TAG, chr(code)) is (patterns._compile(TAG).fullmatch(chr(code)) is not None)


def test_every_pattern_of_the_whole_service_can_be_read():
    from botocore.loaders import Loader

    model = Loader().load_service_model("sagemaker", "service-2")
    found = {shape["pattern"] for shape in model["shapes"].values() if "pattern" in shape}
    assert len(found) > 100
    for pattern in found:
        matches(pattern, "value")
        matches(pattern, "vålue")


def test_the_patterns_of_requests_are_explained_in_words():
    pattern = shapes()["AutoMLJobName"]["pattern"]
    assert describe_pattern(pattern).startswith("letters, digits and hyphens")
    assert pattern in describe_pattern(pattern)
    assert describe_pattern("[x]") == "a match of the pattern [x]"


def test_regex_is_not_imported_for_ascii():
    code = (
        "import sys; from airflow_automl.contract.patterns import matches; "
        f"assert matches({TAG!r}, 'team'); assert 'regex' not in sys.modules; "
        f"assert matches({TAG!r}, 'größe'); assert 'regex' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
