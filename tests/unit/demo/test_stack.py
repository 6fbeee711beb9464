import signal
import sys

import pytest

from airflow_automl.cli import main
from airflow_automl.demo.stack import DemoFailed, Stack


def test_a_second_demo_in_the_same_folder_touches_nothing_and_says_what_to_do(tmp_path):
    with Stack(tmp_path) as first:
        log = first.folder / "autopilot.log"
        log.write_text("of the running service")
        with pytest.raises(DemoFailed, match=r"another demo runs in .*--folder FOLDER"), Stack(tmp_path):
            pass
        assert log.read_text() == "of the running service"
    with Stack(tmp_path):
        pass


def test_a_command_that_is_waited_for_is_asked_to_end_at_ctrl_c(tmp_path):
    waits = """
import time
try:
    print("runs", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    print("asked")
"""

    def interrupt(*_):
        del process.popen.wait
        while "runs" not in process.log.read_text():
            pass
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Stack(tmp_path) as stack:
        process = stack.start("waits", [sys.executable, "-c", waits], stop=signal.SIGINT)
        process.popen.wait = interrupt
        stack.finish("waits")
    assert process.log.read_text().split() == ["runs", "asked"]


def test_a_process_that_has_ended_by_itself_is_named_with_its_log(tmp_path):
    with Stack(tmp_path) as stack:
        process = stack.start("ends", [sys.executable, "-c", "raise SystemExit('no luck')"], stop=signal.SIGINT)
        process.popen.wait()
        with pytest.raises(DemoFailed, match=r"(?s)ends ended with exit code 1:.*no luck"):
            stack.check()


@pytest.mark.parametrize("given", ["abc", "", "1.5", "29", "-40"])
def test_a_runtime_that_is_not_valid_is_named(given, capsys):
    with pytest.raises(SystemExit):
        main(["demo", f"--max-runtime={given}"])
    assert f"{given!r} is not valid: give whole seconds, 30 or more" in capsys.readouterr().err
