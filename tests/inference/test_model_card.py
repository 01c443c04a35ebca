"""The model card has the accuracies, and keeps the user's text."""

import pytest
import yaml

from slowfast_ac.errors import InputError
from slowfast_ac.inference.load import load_model
from slowfast_ac.inference.model_card import (
    check_accuracy,
    parse_accuracy,
    read_accuracy,
    write_card,
)

BAD = ["top1", "top1=", "top1=x", "top1=101", "top1=nan", "a=1", "", "top2=3,data=x"]
BAD += ["top1=70", "data=UCF101"]


@pytest.mark.parametrize("text", BAD)
def test_bad_accuracy_is_named(text):
    with pytest.raises(InputError, match="^accuracy: "):
        check_accuracy(parse_accuracy(text))


def test_accuracy_of_a_run_is_that_of_its_last_test(tmp_path):
    log = tmp_path / "stdout.log"
    with pytest.raises(InputError, match=r"stdout\.log: there is no such log"):
        read_accuracy(tmp_path)
    log.write_text('[INFO] json_stats: {"_type": "val_epoch", "top1_err": 3.0}\n')
    with pytest.raises(InputError, match=r"stdout\.log: no finished test in it"):
        read_accuracy(tmp_path)
    line = '[INFO] json_stats: {"split": "test_final", "top1_acc": "%s", "top5_acc": "91.00"}\n'
    log.write_text(line % "60.00" + line % "71.25")
    assert read_accuracy(tmp_path) == {"top1": "71.25", "top5": "91.00"}
    # As upstream logs the test of videos with several labels.
    several = '[INFO] json_stats: {"split": "test_final", "map": "23.4", "top1_acc": "23.4"}\n'
    log.write_text(line % "60.00" + several)
    with pytest.raises(InputError, match=r"stdout\.log: the test's videos have several labels"):
        read_accuracy(tmp_path)


def front_matter(text):
    _, metadata, body = text.split("---\n", 2)
    return yaml.safe_load(metadata), body


def test_the_card_has_an_index_where_accuracies_are_given(trained, tmp_path):
    pytest.importorskip("huggingface_hub")
    model = load_model(trained("SlowFastAC")[2], device="cpu")
    write_card(tmp_path, model, {})
    metadata, body = front_matter((tmp_path / "README.md").read_text())
    assert metadata["pipeline_tag"] == "video-classification" and "model-index" not in metadata
    assert "| Model | SlowFastAC, 7 classes |" in body and "alpha 4" in body
    (tmp_path / "README.md").write_text((tmp_path / "README.md").read_text() + "My words.\n")
    accuracy = {"top1": "71.5", "top5": 90, "data": "UCF101 split 1"}
    write_card(tmp_path, model, accuracy)
    metadata, body = front_matter((tmp_path / "README.md").read_text())
    assert body.endswith("My words.\n"), "what users write stays"
    [entry] = metadata["model-index"]
    [result] = entry["results"]
    assert result["dataset"] == {"name": "UCF101 split 1", "type": "ucf101-split-1"}
    assert [metric["value"] for metric in result["metrics"]] == [71.5, 90.0]
    write_card(tmp_path, model, {}, is_new=False)
    assert front_matter((tmp_path / "README.md").read_text())[0] == metadata


def test_another_network_gets_its_own_facts_and_loses_the_accuracies(trained, tmp_path):
    pytest.importorskip("huggingface_hub")
    first = load_model(trained("SlowFastAC")[2], device="cpu")
    write_card(tmp_path, first, {"top1": 71.5, "data": "UCF101"})
    card = tmp_path / "README.md"
    card.write_text(card.read_text().replace("```bash", "My words.\n\n```bash"))
    write_card(tmp_path, load_model(trained("Slow")[2], device="cpu"), {})
    metadata, body = front_matter(card.read_text())
    assert "model-index" not in metadata and "71.5" not in card.read_text()
    assert "| Model | ResNet, 7 classes |" in body and "SlowFastAC, 7 classes" not in body
    assert "My words." in body and body.count("| Cost |") == 1
