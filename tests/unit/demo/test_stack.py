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


@pytest.mark.parametrize("given", ["abc", "", "1.5", "29", "-40"])
def test_a_runtime_that_is_not_valid_is_named(given, capsys):
    with pytest.raises(SystemExit):
        main(["demo", f"--max-runtime={given}"])
    assert f"{given!r} is not valid: give whole seconds, 30 or more" in capsys.readouterr().err
