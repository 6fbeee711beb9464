import io
import json
import tarfile
from random import Random

import pytest

from airflow_automl.local.models import archive, artifacts
from tests.unit.local.training.running import ELSEWHERE, run_without


def packed(tmp_path, **metadata):
    folder = tmp_path / "files"
    (folder / "deep").mkdir(parents=True, exist_ok=True)
    (folder / "deep" / "weights").write_bytes(b"w" * 1000)
    target = tmp_path / "model.tar.gz"
    document = {"engine": "autogluon", "features": [], "labels": [], "problem_type": "Regression", "libraries": {}}
    artifacts.pack(folder, {**document, **metadata}, target)
    return target


def forged(tmp_path, *members):
    path = tmp_path / "forged.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name, kind=tarfile.REGTYPE, link="", size=1):
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, size if kind == tarfile.REGTYPE else 0
    return made


def test_a_packed_model_is_unpacked_unchanged(tmp_path):
    artifacts.unpack(packed(tmp_path, threshold=0.3), tmp_path / "out")
    assert (tmp_path / "out" / "model" / "deep" / "weights").read_bytes() == b"w" * 1000
    assert artifacts.describe(tmp_path / "out")["threshold"] == 0.3


def test_equal_models_make_equal_archives(tmp_path):
    assert packed(tmp_path).read_bytes() == packed(tmp_path).read_bytes()


@pytest.mark.parametrize(
    "evil",
    [
        member("../outside"),
        member("/tmp/absolute-from-an-archive"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard", tarfile.LNKTYPE, "metadata.json"),
        member("pipe", tarfile.FIFOTYPE),
        member("disk", tarfile.BLKTYPE),
    ],
)
def test_nothing_leaves_the_folder(tmp_path, evil):
    target = tmp_path / "target"
    path = forged(tmp_path, evil)
    with pytest.raises(artifacts.ArtifactError):
        artifacts.unpack(path, target)
    assert not (tmp_path / "outside").exists()
    assert all(path.is_file() or path.is_dir() for path in target.rglob("*"))
    assert not any(path.is_symlink() for path in target.rglob("*"))


def test_an_artefact_is_unpacked_by_a_python_without_filters(tmp_path, monkeypatch):
    # CPython 3.11.0 to 3.11.3, such as Debian 12 has.
    before = {name: getattr(tarfile.TarFile, name) for name in ("extract", "extractall")}
    for name, method in before.items():
        monkeypatch.setattr(tarfile.TarFile, name, lambda self, *given, method=method: method(self, *given))
    artifacts.unpack(packed(tmp_path), tmp_path / "out")
    assert (tmp_path / "out" / "model" / "deep" / "weights").is_file()


def test_a_bomb_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_BYTES", 100)
    with pytest.raises(artifacts.ArtifactError, match="unpacks to more than"):
        artifacts.unpack(packed(tmp_path), tmp_path / "out")
    monkeypatch.setattr(archive, "MAX_FILES", 1)
    with pytest.raises(artifacts.ArtifactError, match="unpacks to more than"):
        artifacts.unpack(packed(tmp_path), tmp_path / "out")


def test_a_cut_archive_is_damaged(tmp_path):
    path = packed(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(artifacts.ArtifactError, match="damaged"):
        artifacts.unpack(path, tmp_path / "out")


@pytest.mark.parametrize("seed", range(5))
def test_an_archive_with_altered_bytes_is_damaged(tmp_path, seed):
    folder, path, random = tmp_path / "model", tmp_path / "model.tar.gz", Random(seed)
    folder.mkdir()
    (folder / "weights").write_text("".join(f"{number},{number * number % 977}\n" for number in range(200_000)))
    artifacts.pack(folder, {}, path)
    content = bytearray(path.read_bytes())
    begin = random.randrange(1000, len(content) - 1000)
    content[begin : begin + 20] = random.randbytes(20)
    path.write_bytes(content)
    with pytest.raises(artifacts.ArtifactError, match="damaged"):
        artifacts.unpack(path, tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"text", b"\x1f\x8b"])
def test_a_file_that_is_not_an_artefact_is_refused(tmp_path, content):
    path = tmp_path / "model.tar.gz"
    path.write_bytes(content)
    with pytest.raises(artifacts.ArtifactError, match="is not a model artefact of airflow-automl"):
        artifacts.load(path)


def test_a_folder_without_metadata_is_refused(tmp_path):
    with pytest.raises(artifacts.ArtifactError, match="is not a model artefact"):
        artifacts.load(tmp_path)
    (tmp_path / "metadata.json").write_text(json.dumps({"some": "json"}))
    with pytest.raises(artifacts.ArtifactError, match="has no format_version"):
        artifacts.load(tmp_path)


def test_other_versions_of_libraries_are_named(tmp_path):
    libraries = {**artifacts.versions(["numpy"]), "pandas": "0.1.0", "no-such-library": "1.0"}
    with pytest.raises(
        artifacts.ArtifactError, match=r"pandas 0.1.0 \(here .*no-such-library 1.0 \(not installed here\)"
    ):
        artifacts.load(packed(tmp_path, libraries=libraries))


def test_another_format_or_engine_is_refused(tmp_path):
    with pytest.raises(artifacts.ArtifactError, match="has format 99"):
        artifacts.load(packed(tmp_path, format_version=99))
    with pytest.raises(artifacts.ArtifactError, match="unknown engine 'os'"):
        artifacts.load(packed(tmp_path, engine="os"))


def test_a_part_of_a_candidate_is_not_a_candidate(tmp_path):
    with pytest.raises(artifacts.ArtifactError, match="3 containers make this candidate, not 1"):
        artifacts.load(packed(tmp_path, containers=3))


def test_versions_name_what_is_installed():
    found = artifacts.versions(["numpy", "xgboost", "no-such-library"])
    assert set(found) == {"python", "numpy", "xgboost"}


def test_the_containers_of_a_candidate_are_loaded_in_one_call(tmp_path, monkeypatch):
    opened = []

    class Loader:
        @staticmethod
        def load_stage(folder, metadata, environment, threads):
            opened.append(((folder / "deep" / "weights").read_bytes(), metadata["threshold"], environment))

    monkeypatch.setattr(artifacts.importlib, "import_module", lambda name: Loader)
    paths = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        paths.append(packed(tmp_path / str(number), containers=2, threshold=number))
    environments = [{"AUTOML_TRANSFORM_MODE": "feature"}, {}]
    found = [
        {"ModelDataUrl": path, "Environment": env} for path, env in zip(map(str, paths), environments, strict=True)
    ]
    for source, told in ((paths, [{}, {}]), (found, environments)):
        opened.clear()
        assert isinstance(artifacts.load(source), artifacts.Predictor)
        assert opened == [(b"w" * 1000, number, told[number]) for number in range(2)]
    with pytest.raises(artifacts.ArtifactError, match="2 containers make this candidate, not 1"):
        artifacts.load(paths[0])
    with pytest.raises(artifacts.ArtifactError, match="2 containers make this candidate, not 1"):
        artifacts.load(found[0])


@pytest.mark.parametrize("lacking", ["numpy", "pandas", "pyarrow"])
def test_a_missing_package_of_the_loader_is_named_with_the_command_that_installs_it(lacking):
    done = run_without([lacking], "from airflow_automl.local.models import archive, artifacts")
    assert f"{lacking} is not installed. Install: pip install numpy pandas pyarrow" in done.stderr


def test_the_loader_does_not_import_serving_modules():
    code = "import json, sys\nfrom airflow_automl.local.models import archive, artifacts\n"
    code += "[artifacts.importlib.import_module(name) for name in artifacts._LOADERS.values()]\n"
    code += "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules if sys.modules[name]})))"
    done = run_without(ELSEWHERE, code)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "pandas" in found
    assert not {*ELSEWHERE, "boto3", "botocore", "starlette"} & set(found)


def test_the_first_versions_import_still_works():
    from airflow_automl.local import artifacts as as_before

    assert as_before is artifacts


def test_a_missing_library_of_a_model_is_named_with_the_command_that_installs_it(tmp_path):
    path = packed(tmp_path, libraries={"no-such-library": "1.2.3", "numpy": "0.9.1", "python": "2.7.1"})
    with pytest.raises(artifacts.ArtifactError, match=r"pip install 'no-such-library==1.2.3' 'numpy==0.9.1'\n"):
        artifacts.load(path)
