"""Names of classes in the forms that people have them in."""

import json

import pytest

from slowfast_ac.data.class_map import class_names, read_class_map, write_class_map
from slowfast_ac.errors import InputError

CLASSES = {"apply eye makeup": 0, "jump (child's)": 1, "Überschlag": 2}


def test_class_map_survives_writing_and_reading(tmp_path):
    classes = {"jump": 1, "apply eye makeup": 0, "Überschlag": 2}
    write_class_map(tmp_path / "classes.json", classes)
    assert read_class_map(tmp_path / "classes.json") == classes
    assert class_names(classes) == ("apply eye makeup", "jump", "Überschlag")


FORMS = {
    "PySlowFast": json.dumps(CLASSES),
    "labels as text": json.dumps({name: str(label) for name, label in CLASSES.items()}),
    # kinetics_classnames.json of PyTorchVideo's tutorial quotes the names with spaces.
    "quoted": json.dumps({f'"{n}"' if " " in n else n: label for n, label in CLASSES.items()}),
    "the other way round": json.dumps({str(label): name for name, label in CLASSES.items()}),
    "id2label": json.dumps({"model": "x", "id2label": {str(v): k for k, v in CLASSES.items()}}),
    "label2id": json.dumps({"model": "x", "label2id": CLASSES}),
    "list": json.dumps(list(CLASSES)),
    "lines": "\n".join(CLASSES) + "\n\n",
    "lines of Windows": "\r\n".join(CLASSES),
    "numbered from 0": "".join(f"{label} {name}\n" for name, label in CLASSES.items()),
    "numbered from 1 (UCF101)": "".join(f"{v + 1} {k}\n" for k, v in CLASSES.items()),
    "label last": "".join(f"{name} {label}\n" for name, label in CLASSES.items()),
    "csv": "id,name\n" + "".join(f'{v},"{k}"\n' for k, v in reversed(CLASSES.items())),
    "csv, other names": "class_id,class_name\n" + "".join(f"{v},{k}\n" for k, v in CLASSES.items()),
    "tsv from 1": "name\tlabel\n" + "".join(f"{k}\t{v + 1}\n" for k, v in CLASSES.items()),
    "pbtxt": "".join(f'item {{\n  name: "{k}"\n  id: {v + 1}\n}}\n' for k, v in CLASSES.items()),
    "pbtxt of AVA": "".join(
        f'label {{\n  name: "{k}"\n  label_id: {v + 1}\n  label_type: PERSON_MOVEMENT\n}}\n'
        for k, v in CLASSES.items()
    ),
    "csv, name first": "name,id\n" + "".join(f"{k},{v}\n" for k, v in CLASSES.items()),
}


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "BOM"])
@pytest.mark.parametrize("form", FORMS)
def test_every_usual_form_says_the_same(tmp_path, form, mark):
    path = tmp_path / "classes.x"
    path.write_text(mark + FORMS[form], encoding="utf-8", newline="")
    assert read_class_map(path) == CLASSES


def test_names_that_contain_numbers_stay_whole(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("3 point shot\nhigh five 5\n100 metres\n")
    assert list(read_class_map(path)) == ["3 point shot", "high five 5", "100 metres"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 0, "b": 2}', "labels must be 0 to 1"),
        ('{"a": 1, "b": 1}', "labels must be 0 to 1"),
        ('{"a": 1, "b": 2}', "labels must be 0 to 1"),
        ('{"a": "x"}', "label of 'a' is 'x'"),
        ('{"a": false}', "label of 'a' is False"),
        ('{"a": 0, "a": 1}', "the name 'a' appears twice"),
        ('["a", "a"]', "the name 'a' appears twice"),
        ('["a", 3]', "3 is not a class name"),
        ("{}", "not a class map"),
        ("[]", "no classes in it"),
        ("", "no classes in it"),
        ("{", "not a JSON class map"),
        ("id,name\n0,a\n2,b\n", "labels must be 0 to 1"),
        ('item { name: "a" id: 1 }\nitem { name: "b" id: 3 }', "labels must be 0 to 1"),
        ('item { name: "a" }', "label of 'a' is ''"),
    ],
)
def test_bad_class_map_is_refused(tmp_path, text, message):
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(InputError, match=rf"classes\.json: .*{message}"):
        read_class_map(tmp_path / "classes.json")


@pytest.mark.parametrize("content", [None, "\xff"])
def test_unreadable_class_map_is_named(content, tmp_path):
    if content is not None:
        (tmp_path / "classes.json").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"classes\.json: (cannot read|not UTF-8)"):
        read_class_map(tmp_path / "classes.json")
