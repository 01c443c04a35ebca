"""The configs that come with the package are listed, and a copy works by itself."""

from pathlib import Path

import pytest

from slowfast_ac.cli import main
from slowfast_ac.cli.configs import FOLDER, copy_config
from slowfast_ac.errors import InputError
from slowfast_ac.experiments.suite import load_suite
from slowfast_ac.pyslowfast.config_file import load_config

ROOT = Path(__file__).resolve().parents[2]


def test_the_folder_at_the_top_is_the_packages(capsys):
    assert (ROOT / "configs").resolve() == FOLDER.resolve()
    assert main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [path.relative_to(FOLDER).as_posix() for path in sorted(FOLDER.rglob("*.yaml"))]
    assert [line.split()[0] for line in lines] == names
    assert all(len(line.split()) > 3 for line in lines)


def test_a_copied_config_is_the_shipped_one_wherever_it_is(tmp_path, upstream, capsys):
    assert main(["configs", "UCF101/SLOWFASTAC_4x16_R50_split1", "--output", str(tmp_path)]) == 0
    name = "UCF101/SLOWFASTAC_4x16_R50_split1.yaml"
    assert load_config(tmp_path / name) == load_config(FOLDER / name)
    written = {line.removeprefix("wrote ") for line in capsys.readouterr().out.splitlines()}
    assert written == {str(path) for path in tmp_path.rglob("*.yaml")}


def test_a_copied_suite_brings_its_base(tmp_path):
    copy_config("configs/suites/table3.yaml", tmp_path)
    suite, shipped = (
        load_suite(tmp_path / "suites/table3.yaml"),
        load_suite(FOLDER / "suites/table3.yaml"),
    )
    assert suite.variants == shipped.variants
    assert suite.base.is_relative_to(tmp_path)


def test_an_edited_copy_is_not_overwritten(tmp_path):
    written = copy_config("Kinetics/SLOWFASTAC_4x16_R50.yaml", tmp_path)
    assert copy_config("Kinetics/SLOWFASTAC_4x16_R50.yaml", tmp_path) == []
    written[1].write_text("# mine\n")
    written[0].unlink()
    with pytest.raises(InputError, match="exists and differs"):
        copy_config("Kinetics/SLOWFASTAC_4x16_R50.yaml", tmp_path)
    assert not written[0].exists() and written[1].read_text() == "# mine\n"


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(InputError, match="did you mean Kinetics/SLOWFASTAC_4x16_R50.yaml"):
        copy_config("Kinetics/SLOWFASTAC_4x16_R5", "out")
