import io
import json

import pytest

from airflow_automl.cli import main
from airflow_automl.exceptions import DOCS
from tests.unit.contract.samples import TAB, v1, v2


@pytest.fixture
def check_file(tmp_path, capsys):
    """Write a file, check it, and return the exit code with what was printed."""

    def run(content, name="request.json", *options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        code = main(["check", str(path), *options])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


class TestExitCodes:
    def test_a_valid_request_is_0(self, check_file):
        code, out, err = check_file(json.dumps(v2()))
        assert (code, err) == (0, "")
        assert out.endswith("request.json: CreateAutoMLJobV2 request with 0 errors and 0 warnings\n")

    def test_warnings_are_shown_and_allowed(self, check_file):
        code, out, _ = check_file(json.dumps(v1(ProblemType="Regression")))
        assert code == 0
        assert out.startswith("warning  AutoMLJobObjective: is missing")
        assert out.endswith("CreateAutoMLJob request with 0 errors and 1 warning\n")

    def test_errors_are_1_and_all_shown(self, check_file):
        code, out, err = check_file(json.dumps(v2(AutoMLJobName="bad_name", DataSplitConfig={"ValidationFraction": 0})))
        assert (code, err) == (1, f"What to do: {DOCS}/reference/rules.md\n")
        lines = out.splitlines()
        assert [line.split(":")[0] for line in lines[:2]] == [
            "error    AutoMLJobName",
            "error    DataSplitConfig.ValidationFraction",
        ]
        assert [line[line.rindex("[") :] for line in lines[:2]] == ["[shape]", "[R68]"]
        assert lines[-1].endswith("with 2 errors and 0 warnings")

    @pytest.mark.parametrize(
        ("content", "name"),
        [
            ("{", "request.json"),
            ("a: 1", "request.json"),
            ("a: [", "request.yaml"),
            ("{a: [", "request.txt"),
            (b"\xff\xfe\x00", "request.json"),
            ("!!python/object/apply:os.system ['true']", "request.yaml"),
            ("[" * 100_000, "request.json"),
        ],
    )
    def test_a_file_that_is_neither_json_nor_yaml_is_2(self, check_file, content, name):
        code, out, err = check_file(content, name)
        assert (code, out) == (2, "")
        assert err.startswith("airflow-automl check: ")
        assert name in err

    def test_a_missing_file_is_2(self, tmp_path, capsys):
        assert main(["check", str(tmp_path / "none.json")]) == 2
        assert "No such file" in capsys.readouterr().err
        assert main(["check", str(tmp_path)]) == 2

    def test_a_wrong_option_is_2(self):
        with pytest.raises(SystemExit) as caught:
            main(["check", "x.json", "--api", "V3"])
        assert caught.value.code == 2

    @pytest.mark.parametrize("content", ["[]", "7", "null", '"text"'])
    def test_a_file_without_an_object_exits_with_1(self, check_file, content):
        code, out, _ = check_file(content)
        assert code == 1
        assert out.startswith("error    request: received")


class TestForms:
    def test_yaml(self, check_file):
        text = """
        AutoMLJobName: job
        InputDataConfig:
          - DataSource: {S3DataSource: {S3DataType: S3Prefix, S3Uri: s3://b/t/}}
            TargetAttributeName: y
        OutputDataConfig: {S3OutputPath: s3://b/o/}
        RoleArn: arn:aws:iam::123456789012:role/AutoML
        """
        for name in ("request.yaml", "request.yml", "request"):
            code, out, _ = check_file(text, name)
            assert code == 0
            assert "CreateAutoMLJob request" in out

    def test_standard_input(self, monkeypatch, capsys):
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(v2())))
        assert main(["check", "-"]) == 0
        assert capsys.readouterr().out.startswith("-: CreateAutoMLJobV2")

    def test_the_api_version_can_be_chosen(self, check_file):
        code, out, _ = check_file(json.dumps(v2()), "request.json", "--api", "V1")
        assert code == 1
        assert "AutoMLProblemTypeConfig: unknown field" in out

    def test_not_a_number_is_found(self, check_file):
        code, out, _ = check_file(json.dumps(v2(DataSplitConfig={"ValidationFraction": float("nan")})))
        assert code == 1
        assert "received nan; must be a finite number" in out


class TestOperatorConfigs:
    def test_templates_are_left_to_the_run(self, check_file):
        request = v2(
            config={"Mode": "{{ params.mode }}"}, AutoMLJobName="{{ ds_nodash }}", Tags="{% if x %}{% endif %}"
        )
        code, out, _ = check_file(json.dumps(request))
        assert code == 0
        assert f"note     3 templated values not checked: AutoMLJobName, {TAB}.Mode, Tags" in out

    def test_members_that_the_operator_fills_in_may_be_missing(self, check_file):
        request = v2()
        for name in ("AutoMLJobName", "OutputDataConfig", "RoleArn"):
            del request[name]
        assert check_file(json.dumps(request))[0] == 1
        assert check_file(json.dumps(request), "request.json", "--config")[0] == 0
        request["OutputDataConfig"] = {"KmsKeyId": "key"}
        assert check_file(json.dumps(request), "request.json", "--config")[0] == 0

    def test_present_members_are_still_checked(self, check_file):
        request = v2(RoleArn="nobody", AutoMLJobName=None, OutputDataConfig=7)
        code, out, _ = check_file(json.dumps(request), "request.json", "--config")
        assert code == 1
        assert "with 3 errors" in out
