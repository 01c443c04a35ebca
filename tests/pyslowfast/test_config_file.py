"""Loading configs: PySlowFast's rules, and one clear line for each way to get it wrong."""

import pytest

from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.config_file import load_config

pytestmark = pytest.mark.usefixtures("upstream")


@pytest.fixture
def write(tmp_path):
    """A function that writes a yaml file and returns its path."""

    def make(content, name="given.yaml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def refusal(path, opts=()):
    with pytest.raises(InputError) as error:
        load_config(path, opts)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_file_over_defaults_and_options_over_file(write):
    path = write("AC: {LAMBDA: 0.5, CLASSES: label}\nMODEL: {NUM_CLASSES: 7}\n")
    cfg = load_config(path, ["AC.LAMBDA", "2.5", "SCAM.SCALES", "[1.0, 0.75]"])
    assert (cfg.AC.LAMBDA, cfg.AC.CLASSES, cfg.MODEL.NUM_CLASSES) == (2.5, "label", 7)
    assert cfg.SCAM.SCALES == [1.0, 0.75]
    assert cfg.AC.TEMPORAL_CAM == "weighted"


def test_file_is_loaded_as_pyslowfast_loads_it(write):
    from slowfast.config.defaults import get_cfg

    path = write("MODEL: {NUM_CLASSES: 7}\nSOLVER: {BASE_LR: 0.3}\n")
    theirs = get_cfg()
    theirs.merge_from_file(str(path))
    assert load_config(path) == theirs


def test_loading_leaves_the_defaults_alone(write):
    from slowfast.config.defaults import get_cfg

    before = get_cfg()
    load_config(write("MODEL: {NUM_CLASSES: 7}\n"), ["AC.LAMBDA", "9.0"])
    assert get_cfg() == before


def test_base_is_relative_to_the_file_that_names_it(write, tmp_path, monkeypatch):
    write("MODEL: {NUM_CLASSES: 3}\nAC: {LAMBDA: 0.25}\n", "base.yaml")
    write("_BASE_: ../base.yaml\nAC: {LAMBDA: 0.75}\n", "children/child.yaml")
    grandchild = write("_BASE_: child.yaml\nAC: {CLASSES: all}\n", "children/grandchild.yaml")
    monkeypatch.chdir("/")
    cfg = load_config(grandchild)
    assert (cfg.MODEL.NUM_CLASSES, cfg.AC.LAMBDA, cfg.AC.CLASSES) == (3, 0.75, "all")


def test_text_that_looks_like_code_stays_text(write, tmp_path):
    trace = tmp_path / "trace"
    call = f"__import__('pathlib').Path('{trace}').touch()"
    cfg = load_config(write(f'OUTPUT_DIR: "{call}"\n'), ["DATA.PATH_TO_DATA_DIR", call])
    assert cfg.OUTPUT_DIR == cfg.DATA.PATH_TO_DATA_DIR == call
    assert not trace.exists()


def test_yaml_that_would_run_code_is_refused(write, tmp_path):
    # PySlowFast's own default loads it.
    trace = tmp_path / "trace"
    path = write(f"OUTPUT_DIR: !!python/object/apply:os.system ['touch {trace}']\n")
    assert refusal(path).startswith(f"{path}: not a yaml config: could not determine a")
    assert not trace.exists()


@pytest.mark.parametrize("name", ["nothing.yaml", "."])
def test_missing_file_is_named(tmp_path, name):
    assert refusal(tmp_path / name) == f"{tmp_path / name}: there is no such config"


@pytest.mark.parametrize("content", ["MODEL: [1\n", "MODEL:\n\tARCH: slow\n", "a: b: c\n"])
def test_malformed_yaml_names_the_file_and_the_line(write, content):
    path = write(content)
    message = refusal(path)
    assert message.startswith(f"{path}: not a yaml config: ")
    assert "line " in message


def test_missing_base_names_both_files(write, tmp_path):
    path = write("_BASE_: nowhere.yaml\n")
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert str(tmp_path / "nowhere.yaml") in message


@pytest.mark.parametrize(
    "content, key, near",
    [
        ("AC: {LAMDA: 0.5}\n", "AC.LAMDA", "AC.LAMBDA"),
        ("SCAM: {SCALE: [1.0]}\n", "SCAM.SCALE", "SCAM.SCALES"),
        ("MODEL: {NUM_CLASS: 5}\n", "MODEL.NUM_CLASS", "MODEL.NUM_CLASSES"),
    ],
)
def test_unknown_key_comes_with_the_nearest_known_one(write, content, key, near):
    path = write(content)
    assert refusal(path) == f"{path}: unknown config key {key}; did you mean {near}?"


def test_unknown_key_of_the_options_comes_with_the_nearest_known_one(write):
    message = refusal(write("NUM_GPUS: 0\n"), ["SCAM.SCALE", "[1.0]"])
    assert message == "--opts: unknown config key SCAM.SCALE; did you mean SCAM.SCALES?"


def test_unknown_key_like_no_other_names_the_file_of_all_keys(write):
    message = refusal(write("NUM_GPUS: 0\n"), ["QQQ.ZZZ", "1"])
    assert message == "--opts: unknown config key QQQ.ZZZ; see slowfast/config/defaults.py"


@pytest.mark.parametrize(
    "key, value, kinds",
    [
        ("AC.LAMBDA", "much", "text, not a number"),
        ("SCAM.SCALES", "0.5", "a number, not a list"),
        ("AC.DETACH_SPATIAL", "1", "an integer, not True or False"),
        ("MODEL.NUM_CLASSES", "[4]", "a list, not an integer"),
    ],
)
def test_value_of_the_wrong_type_names_the_key(write, key, value, kinds):
    message = f"{key}: {value} is {kinds}"
    assert refusal(write("NUM_GPUS: 0\n"), [key, value]) == f"--opts: {message}"
    node, name = key.split(".")
    path = write(f"{node}: {{{name}: {value}}}\n")
    assert refusal(path) == f"{path}: {message}"


@pytest.mark.parametrize(
    "content, message",
    [
        ("AC: 3\n", "AC: 3 is an integer, not a section of keys"),
        ("NUM_GPUS: {A: 3}\n", "NUM_GPUS: A: 3 is a section of keys, not an integer"),
        ("AC: {3: 0.5}\n", "not a config: the key 3 is not text"),
        ("on: 1\n", "not a config: the key True is not text"),
        ("OUTPUT_DIR: 2026-01-01\n", "OUTPUT_DIR: 2026-01-01 is a date; quote it"),
        (b"\xff\xfe\x00", "not a yaml config, it is not text"),
    ],
)
def test_the_line_says_what_is_wrong(write, content, message):
    path = write(content)
    assert refusal(path) == f"{path}: {message}"


def test_option_without_a_value_is_named(write):
    message = refusal(write("NUM_GPUS: 0\n"), ["AC.LAMBDA", "0.5", "NUM_GPUS"])
    assert message == "--opts: NUM_GPUS has no value; give KEY VALUE pairs"


def test_file_that_is_no_text_is_refused(write):
    path = write(b"\x00\xff\xfe\x80" * 20)
    assert refusal(path).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("# only a comment\n", id="comment"),
        pytest.param("- a\n- b\n", id="list"),
        pytest.param("text\n", id="text"),
        pytest.param("AC: {3: 0.5}\n", id="key is a number"),
        pytest.param("_BASE_: given.yaml\n", id="base is itself"),
        pytest.param("_BASE_: 3\n", id="base is a number"),
        pytest.param("_BASE_:\n", id="base is empty"),
    ],
)
def test_yaml_that_is_no_config_is_refused(write, content):
    path = write(content)
    assert refusal(path).startswith(f"{path}: ")


def test_option_below_a_value_is_an_unknown_key(write):
    message = refusal(write("NUM_GPUS: 0\n"), ["NUM_GPUS.X", "1"])
    assert message.startswith("--opts: unknown config key NUM_GPUS.X")


@pytest.mark.parametrize("value", ["1", 1, "1.0", 1.0])
def test_whole_number_for_a_float_is_taken(write, value):
    cfg = load_config(write("NUM_GPUS: 0\n"), ["AC.LAMBDA", value])
    assert cfg.AC.LAMBDA == 1.0
    assert isinstance(cfg.AC.LAMBDA, float)
